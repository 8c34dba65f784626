from __future__ import annotations

import pytest

from sekisho_agent.engines.local import LocalEngine
from tests.agent.engine_suite import WalledSuite
from tests.agent.gang_suite import GangSuite

pytestmark = pytest.mark.wall


class TestLocalEngine(WalledSuite):
    @pytest.fixture
    def engine(self, local_engine: LocalEngine) -> LocalEngine:
        return local_engine


class TestLocalGangs(GangSuite):
    @pytest.fixture
    def engine(self, local_engine: LocalEngine) -> LocalEngine:
        return local_engine
