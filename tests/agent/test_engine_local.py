from __future__ import annotations

import pytest

from sekisho_agent.engines.local import LocalEngine
from tests.agent.engine_suite import EngineSuite

pytestmark = pytest.mark.wall


class TestLocalEngine(EngineSuite):
    @pytest.fixture
    def engine(self, local_engine: LocalEngine) -> LocalEngine:
        return local_engine
