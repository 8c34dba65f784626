from __future__ import annotations

import os
import signal
import time

import msgspec
import pytest
from sekisho_agent.listeners import host_address
from sekisho_wire.messages import (
    Accept,
    CheckpointPlan,
    CheckpointSaved,
    DataMount,
    Ended,
    ObjectRef,
    OutputMount,
    Staged,
    Started,
)
from sekisho_wire.trees import TreeFile, encode_tree

from tests.agent.control import ControlPlane
from tests.agent.support import LIMITS, AgentProcess, agent_process, make_offer, processes_with, until

pytestmark = pytest.mark.wall


def test_a_job_runs_from_offer_to_outputs(control: ControlPlane, agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("echo hello; printf result > /out/model.txt"))
    started = control.wait_for(Started, attempt)
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status) == ("finished", 0)
    assert control.kinds(attempt)[:1] == ["Accept"] or "Accept" in control.kinds(attempt)
    unproven = {"raw"} if agent.plain else set()
    unproven |= set() if host_address() else {"tcp_host"}
    assert {route for route, result in started.canaries.items() if result == "unproven"} == unproven
    assert "open" not in started.canaries.values()
    assert control.log_text(attempt) == b"hello\n"
    assert ended.log is not None
    assert ended.log.bytes == len(b"hello\n")
    assert [(output.name, output.size_bytes) for output in ended.outputs] == [("out", 6)]
