"""Whole attempts on DOK: a real agent process, a control plane over loopback, the stand-in as the site's service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho_wire.messages import DataMount, Ended, Started
from tests.agent import control as fake
from tests.agent.control import ControlPlane
from tests.agent.dok_site import service, table
from tests.agent.support import AgentProcess, agent_process, make_offer, until
from tests.support import dok

__all__ = ["service"]
pytestmark = pytest.mark.wall


@pytest.fixture
def control() -> Iterator[ControlPlane]:
    with fake.running(lease_seconds=6) as running:
        yield running


@pytest.fixture
def agent(control: ControlPlane, service: dok.Service, tmp_path: Path) -> Iterator[AgentProcess]:
    with agent_process(control, engine="dok", dok=table(service, tmp_path)) as process:
        until(lambda: "GET /tasks/" in service.asked, what="the service asked")
        time.sleep(0.2)
        yield process


def test_a_job_runs_from_offer_to_outputs(
    control: ControlPlane, agent: AgentProcess, service: dok.Service
) -> None:
    text = DataMount(
        mount="/data/text",
        object=control.store(b"input\n"),
        kind="file",
        size_bytes=6,
        source="control",
        ticket=control.ticket(),
    )
    offer = make_offer("cat /data/text; printf result > /out/model.txt", data=[text])
    attempt = control.offer(offer)
    started = control.wait_for(Started, attempt)
    assert (started.wall, started.canaries, started.image) == ("none", {}, "sha256:" + "a" * 64)
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status) == ("finished", 0)
    assert [(output.name, output.size_bytes) for output in ended.outputs] == [("out", 6)]
    assert control.log_text(attempt) == b"input\n"
    until(lambda: not list((agent.folder / "state" / "attempts").iterdir()), what="the attempt's folder gone")
    assert service.starts == [attempt]


def test_an_agent_that_is_killed_and_back_takes_its_attempt_up_again(
    control: ControlPlane, agent: AgentProcess, service: dok.Service
) -> None:
    attempt = control.offer(make_offer("echo ready; sleep 4; printf result > /out/model.txt; echo done"))
    control.until(lambda: b"ready" in control.log_text(attempt), seconds=20, what="the payload")
    agent.kill()
    time.sleep(1)
    agent.start()
    ended = control.wait_for(Ended, attempt, seconds=30)
    assert (ended.reason, [output.size_bytes for output in ended.outputs]) == ("finished", [6])
    assert (service.starts, control.kinds(attempt).count("Ended")) == ([attempt], 1)


def test_a_payload_whose_agent_comes_back_too_late_is_ended_then(
    control: ControlPlane, agent: AgentProcess, service: dok.Service
) -> None:
    attempt = control.offer(make_offer("echo ready; sleep 60"))
    control.until(lambda: b"ready" in control.log_text(attempt), seconds=20, what="the payload")
    agent.kill()
    time.sleep(7)
    assert service.of(attempt)[0]["status"] == "running", "nobody holds the lease there"
    control.tokens[attempt] = 2
    agent.start()
    until(lambda: service.of(attempt)[0]["status"] == "canceled", seconds=20, what="the task cancelled")
    until(lambda: not list((agent.folder / "state" / "attempts").iterdir()), what="the attempt's folder gone")


def test_what_may_not_run_there_is_told_with_its_code(
    control: ControlPlane, agent: AgentProcess, service: dok.Service
) -> None:
    attempt = control.offer(make_offer("true", level=2, outputs=[]))
    ended = control.wait_for(Ended, attempt)
    assert ended.reason == "stage.failed"
    assert "[wall.missing]" in ended.detail
    assert service.starts == []
