from __future__ import annotations

import pytest

from sekisho_agent.engines.local import LocalEngine
from tests.agent.engine_suite import WalledSuite

pytestmark = pytest.mark.wall


class TestLocalEngine(WalledSuite):
    @pytest.fixture
    def engine(self, local_engine: LocalEngine) -> LocalEngine:
        return local_engine
