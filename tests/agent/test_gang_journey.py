"""An offer of several nodes through the whole of an agent, with root's rights and with a plain user's."""

from __future__ import annotations

import pytest

from sekisho_agent.engines import keeping
from sekisho_wire.messages import CANARY_ROUTES, WALL_PEERS, Ended, Refused, Started
from tests.agent.control import ControlPlane
from tests.agent.support import AgentProcess, make_offer

pytestmark = pytest.mark.wall
ANYBODY = 0o006


def may_have_interfaces(agent: AgentProcess) -> bool:
    return keeping.DEVICE.exists() and (not agent.plain or keeping.DEVICE.stat().st_mode & ANYBODY == ANYBODY)


def test_a_gang_runs_from_offer_to_outputs_or_is_refused(control: ControlPlane, agent: AgentProcess) -> None:
    offer = make_offer("echo $RANK of $NNODES; printf $RANK > /out/rank", nodes=2)
    attempt = control.offer(offer)
    if not may_have_interfaces(agent):
        assert control.wait_for(Refused, attempt).reason == "engine.refused"
        return
    started = control.wait_for(Started, attempt)
    assert started.wall.endswith(WALL_PEERS)
    assert set(started.canaries) == set(CANARY_ROUTES)
    assert "open" not in started.canaries.values()
    ended = control.wait_for(Ended, attempt, seconds=60)
    assert (ended.reason, ended.exit_status, ended.detail) == ("finished", 0, "")
    assert [(output.name, output.size_bytes) for output in ended.outputs] == [("out", 1)]
    assert sorted(control.log_text(attempt).splitlines()) == [b"0 of 2", b"[1] 1 of 2"]


def test_a_gang_larger_than_the_engine_starts_is_refused(control: ControlPlane, agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("true", nodes=1000))
    refused = control.wait_for(Refused, attempt)
    assert refused.reason == "engine.refused"


def test_a_gang_that_does_not_fit_is_refused(control: ControlPlane, agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("true", nodes=100))
    refused = control.wait_for(Refused, attempt)
    assert refused.reason == ("engine.full" if may_have_interfaces(agent) else "engine.refused")
