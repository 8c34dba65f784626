"""Whole attempts: a real agent process, a real wall, a control plane over loopback that can misbehave."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

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
    Progress,
    Refused,
    Staged,
    Started,
)
from sekisho_wire.signing import open_sealed
from sekisho_wire.trees import TreeFile, decode_tree, encode_tree
from tests.agent import control as fake
from tests.agent.control import ControlPlane, make_id
from tests.agent.support import AgentProcess, agent_process, make_offer, processes_with, until

pytestmark = pytest.mark.wall

WAITS = "echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def root_agent(control: ControlPlane, needs_bwrap: None) -> Iterator[AgentProcess]:
    """One agent with the rights of these tests."""
    with agent_process(control) as process:
        yield process


def wait_ready(control: ControlPlane, attempt: str, text: bytes = b"ready") -> None:
    control.until(lambda: text in control.log_text(attempt), seconds=20, what=f"{text!r} in the log")


def test_a_job_runs_from_offer_to_outputs(control: ControlPlane, agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("echo hello; printf result > /out/model.txt"))
    started = control.wait_for(Started, attempt)
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status) == ("finished", 0)
    kinds = [kind for kind in control.kinds(attempt) if kind != "Renew"]
    assert kinds == ["Accept", "Staged", "Started", "Ended"]
    unproven = {"raw"} if agent.plain else set()
    unproven |= set() if host_address() else {"tcp_host"}
    assert {route for route, result in started.canaries.items() if result == "unproven"} == unproven
    assert "open" not in started.canaries.values()
    assert started.wall.startswith("bubblewrap ")
    assert control.log_text(attempt) == b"hello\n"
    assert ended.log is not None
    assert ended.log.bytes == len(b"hello\n")
    assert [(output.name, output.size_bytes) for output in ended.outputs] == [("out", 6)]
    until(lambda: not list((agent.folder / "state" / "attempts").iterdir()), what="the attempt's folder gone")


def test_data_comes_from_the_control_plane_and_outputs_go_back(
    control: ControlPlane, agent: AgentProcess
) -> None:
    text, tool = b"input text\n" * 1000, b"#!/bin/sh\nwc -c < /data/text.txt\n"
    files = [
        TreeFile(path="bin/count", size_bytes=len(tool), digest=control.store(tool), mode=0o755),
        TreeFile(path="note", size_bytes=0, digest=control.store(b""), mode=0o644),
    ]
    tree, ticket = control.store(encode_tree(files)), control.ticket()
    workdir = ObjectRef(object=tree, kind="tree", size_bytes=len(tool), source="control", ticket=ticket)
    data = DataMount(
        mount="/data/text.txt",
        object=control.store(text),
        kind="file",
        size_bytes=len(text),
        source="control",
        ticket=ticket,
    )
    run = "bin/count > /out/answer; ln -s /etc/passwd /out/link; mkfifo /out/pipe; ls"
    outputs = [OutputMount(name="out", mount="/out", upload=True)]
    attempt = control.offer(make_offer(run, data=[data], workdir=workdir, outputs=outputs))
    assert control.wait_for(Staged, attempt).size_bytes == len(text) + len(tool) + len(encode_tree(files))
    ended = control.wait_for(Ended, attempt)
    assert ended.reason == "finished"
    (output,) = ended.outputs
    assert sorted(output.refused) == ["link (link)", "pipe (pipe)"]
    (answer,) = decode_tree(control.objects[output.object])
    assert control.objects[answer.digest] == b"11000\n"
    assert control.log_text(attempt) == b"bin\nnote\n"
    again = control.offer(make_offer("true", data=[data]))
    assert control.wait_for(Staged, again).size_bytes == 0, "what the site has is not fetched twice"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"size_bytes": 3}, "object.too_large"),
        ({"size_bytes": 500}, "object.size_mismatch"),
        ({"ticket": "stolen"}, "object.not_found"),
        ({"object": "sha256:" + "0" * 64}, "object.not_found"),
        ({"source": "local"}, "object.missing"),
        ({"size_bytes": 1 << 52}, "stage.no_space"),
        ({"kind": "tree"}, "canonical"),
    ],
)
def test_inputs_that_are_not_what_the_offer_says(
    control: ControlPlane,
    root_agent: AgentProcess,
    change: dict[str, object],
    code: str,
) -> None:
    values = {
        "mount": "/data/in",
        "object": control.store(b"content"),
        "kind": "file",
        "size_bytes": 7,
        "source": "control",
        "ticket": control.ticket(),
    }
    attempt = control.offer(make_offer("true", data=[msgspec.convert({**values, **change}, DataMount)]))
    ended = control.wait_for(Ended, attempt)
    assert ended.reason == "stage.failed"
    assert code in ended.detail or "tree.malformed" in ended.detail
    assert "stolen" not in ended.detail


def test_bytes_changed_on_the_way_are_refused(control: ControlPlane, root_agent: AgentProcess) -> None:
    digest = control.store(b"content")
    control.objects[digest] = b"c0ntent"
    data = DataMount(
        mount="/data/in",
        object=digest,
        kind="file",
        size_bytes=7,
        source="control",
        ticket=control.ticket(),
    )
    attempt = control.offer(make_offer("true", data=[data]))
    assert "object.digest_mismatch" in control.wait_for(Ended, attempt).detail


def test_secrets_reach_the_payload_and_nothing_else(control: ControlPlane, root_agent: AgentProcess) -> None:
    control.secrets["token"] = b"very secret value"
    attempt = control.offer(make_offer("wc -c < /run/secrets/token", secrets=["token"]))
    assert control.wait_for(Ended, attempt).reason == "finished"
    assert control.log_text(attempt) == b"17\n"
    for path in root_agent.folder.rglob("*"):
        if path.is_file():
            assert b"very secret value" not in path.read_bytes(), path


def test_progress_is_reported(control: ControlPlane, root_agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("""echo '{"event":"progress","step":1,"loss":2.25}'"""))
    assert control.wait_for(Progress, attempt).line == {"event": "progress", "step": 1, "loss": "2.25"}


def test_checkpoints_are_taken_and_restored(control: ControlPlane, agent: AgentProcess) -> None:
    run = """
if [ -f /ckpt/step ]; then echo resumed from $(cat /ckpt/step); exit 0; fi
trap 'echo 2 > /ckpt/.new; mv /ckpt/.new /ckpt/step; exit 75' TERM
echo 1 > /ckpt/step.tmp; mv /ckpt/step.tmp /ckpt/step; echo half > /ckpt/next.tmp
while :; do sleep 0.1; done
"""
    plan = CheckpointPlan(every_s=1, upload=True)
    attempt = control.offer(make_offer(run, checkpoint=plan))
    first = control.wait_for(CheckpointSaved, attempt)
    assert [file.path for file in decode_tree(control.objects[first.object])] == ["step"]
    control.cancel(attempt)
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status) == ("job.cancelled", 75)
    last = [m.body for m in control.messages if isinstance(m.body, CheckpointSaved)][-1]
    assert last.object != first.object
    resume = ObjectRef(object=last.object, kind="tree", size_bytes=last.size_bytes)
    second = control.offer(make_offer(run, checkpoint=plan, resume=resume), token=2)
    assert control.wait_for(Ended, second).reason == "finished"
    assert control.log_text(second) == b"resumed from 2\n"


def test_cancel_reaches_a_running_payload(control: ControlPlane, root_agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("trap 'exit 9' TERM; " + WAITS))
    wait_ready(control, attempt)
    control.cancel(attempt)
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status) == ("job.cancelled", 9)


def test_an_offer_beyond_the_capacity_is_refused(control: ControlPlane, root_agent: AgentProcess) -> None:
    running = [control.offer(make_offer(WAITS)) for _ in range(2)]
    for attempt in running:
        wait_ready(control, attempt)
    third = control.offer(make_offer("true"))
    assert control.wait_for(Refused, third).reason == "engine.full"
    assert "Accept" not in control.kinds(third)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"run": "", "argv": []}, "offer.malformed"),
        ({"argv": ["/bin/true"]}, "offer.malformed"),
        ({"outputs": [OutputMount(name="a", mount="/usr/x")]}, "wall.mount"),
        (
            {"outputs": [OutputMount(name="a", mount="/out"), OutputMount(name="a", mount="/b")]},
            "offer.malformed",
        ),
        ({"level": 2}, "offer.unsealed"),
        ({"level": 2, "outputs": [], "checkpoint": CheckpointPlan()}, "offer.unsealed"),
        ({"level": 0, "outputs": [], "sealed": ["sha256:" + "1" * 64]}, "offer.unsealed"),
    ],
)
def test_an_offer_that_contradicts_itself_is_refused(
    control: ControlPlane,
    root_agent: AgentProcess,
    changes: dict[str, Any],
    reason: str,
) -> None:
    attempt = control.offer(make_offer(changes.pop("run", "true"), **changes))
    assert control.wait_for(Refused, attempt).reason == reason


def test_what_would_have_to_be_sealed_and_cannot_be_is_kept_nowhere(
    control: ControlPlane, root_agent: AgentProcess
) -> None:
    """It leaves nothing but a log, and there is no key for that: so it leaves nothing."""
    attempt = control.offer(make_offer("echo a secret", level=2, outputs=[]))
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status, ended.log) == ("finished", 0, None)
    assert control.log_text(attempt) == b""
    until(
        lambda: not list((root_agent.folder / "state" / "attempts").iterdir()),
        what="the attempt's folder gone",
    )
    kept = [path for path in root_agent.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not any(b"a secret" in path.read_bytes() for path in kept)


def test_an_unknown_image_ends_before_anything_runs(control: ControlPlane, root_agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("true", image="sha256:" + "1" * 64))
    ended = control.wait_for(Ended, attempt)
    assert ended.reason == "stage.failed"
    assert "image.unknown" in ended.detail
    assert ended.exit_status is None


# --- a network and a control plane that misbehave


def test_lost_requests_and_answers_change_nothing(control: ControlPlane, root_agent: AgentProcess) -> None:
    path = "/agent/v1/message"
    control.faults.lose_request[path] = 2
    control.faults.lose_answer[path] = 2
    control.faults.fail[path] = 1
    attempt = control.offer(make_offer("echo fine"))
    assert control.wait_for(Ended, attempt, seconds=30).reason == "finished"
    kinds = [kind for kind in control.kinds(attempt) if kind != "Renew"]
    assert kinds == ["Accept", "Staged", "Started", "Ended"]
    assert control.replayed == 0


def test_transfers_that_break_off_are_begun_again(control: ControlPlane, root_agent: AgentProcess) -> None:
    text = b"input text\n" * 1000
    data = DataMount(
        mount="/data/text.txt",
        object=control.store(text),
        kind="file",
        size_bytes=len(text),
        source="control",
        ticket=control.ticket(),
    )
    control.faults.lose_request[fake.OBJECTS] = 2
    control.faults.fail[fake.OBJECTS] = 1
    outputs = [OutputMount(name="out", mount="/out", upload=True)]
    run = "sleep 1; wc -c < /data/text.txt > /out/answer"
    attempt = control.offer(make_offer(run, data=[data], outputs=outputs))
    assert control.wait_for(Staged, attempt, seconds=30).size_bytes == len(text)
    control.faults.lose_request[fake.OBJECTS] = 2
    control.faults.fail[fake.OBJECTS] = 1
    ended = control.wait_for(Ended, attempt, seconds=30)
    assert (ended.reason, [output.name for output in ended.outputs]) == ("finished", ["out"])
    (answer,) = decode_tree(control.objects[ended.outputs[0].object])
    assert control.objects[answer.digest] == b"11000\n"


def test_a_result_waits_for_a_control_plane_that_is_away(
    control: ControlPlane, root_agent: AgentProcess
) -> None:
    outputs = [OutputMount(name="out", mount="/out", upload=True)]
    attempt = control.offer(make_offer("echo ready; sleep 1; echo late > /out/file", outputs=outputs))
    wait_ready(control, attempt)
    control.faults.silent = True
    until(lambda: not processes_with("echo late"), seconds=10, what="the payload's end")
    time.sleep(2)  # the absence itself: sending is tried meanwhile, and fails
    assert "Ended" not in control.kinds(attempt)
    control.faults.silent = False
    ended = control.wait_for(Ended, attempt, seconds=30)
    (output,) = ended.outputs
    (file,) = decode_tree(control.objects[output.object])
    assert (ended.reason, control.objects[file.digest]) == ("finished", b"late\n")
    assert control.kinds(attempt).count("Ended") == 1


def test_an_order_given_twice_runs_once(control: ControlPlane, root_agent: AgentProcess) -> None:
    """The same sealed order again, also after the attempt has ended and after a restart of the agent."""
    attempt = make_id("att")
    control.tokens[attempt] = 1
    text = control.order(attempt, 1, make_offer("echo once"))
    control.repeat_order(text)
    control.wait_for(Ended, attempt)
    control.repeat_order(text)
    control.wait_for(Ended, control.offer(make_offer("true")))
    root_agent.stop()
    root_agent.start()
    control.repeat_order(text)
    control.wait_for(Ended, control.offer(make_offer("true")))
    assert control.kinds(attempt).count("Accept") == 1
    assert control.kinds(attempt).count("Ended") == 1
    assert control.log_text(attempt) == b"once\n"


def test_offers_that_come_together_are_all_held(control: ControlPlane, needs_bwrap: None) -> None:
    with agent_process(control, attempts=4):
        # The first acceptance goes lost: those behind it are still only offered when leases are looked at.
        control.faults.lose_request = {"/agent/v1/message": 2}
        attempts = [control.offer(make_offer("echo done")) for _ in range(4)]
        assert [control.wait_for(Ended, attempt).reason for attempt in attempts] == ["finished"] * 4
        assert [control.kinds(attempt).count("Accept") for attempt in attempts] == [1] * 4


def test_orders_of_a_foreign_key_are_ignored(control: ControlPlane, root_agent: AgentProcess) -> None:
    with fake.running() as stranger:
        stranger._agents = control._agents
        foreign = stranger.order("att_" + "0" * 26, 1, make_offer("echo foreign"))
    control.repeat_order(foreign)
    attempt = control.offer(make_offer("echo mine"))
    assert control.wait_for(Ended, attempt).reason == "finished"
    assert not control.kinds("att_" + "0" * 26)


def test_a_fenced_token_ends_the_payload_and_registers_nothing(needs_bwrap: None) -> None:
    with fake.running(lease_seconds=2) as control, agent_process(control) as agent:
        mark = f"sekisho-fenced-{time.monotonic_ns()}"
        attempt = control.offer(make_offer(f"echo x > /out/x; : {mark}; trap '' TERM; {WAITS}", lease_s=2))
        wait_ready(control, attempt)
        control.tokens[attempt] = 2
        until(lambda: not processes_with(mark), seconds=10, what="the payload's end")
        until(
            lambda: not list((agent.folder / "state" / "attempts").iterdir()),
            what="the attempt's folder gone",
        )
        assert "Ended" not in control.kinds(attempt)


def test_a_silent_control_plane_ends_the_payload_at_the_end_of_its_lease(needs_bwrap: None) -> None:
    with fake.running(lease_seconds=3) as control, agent_process(control):
        mark = f"sekisho-silent-{time.monotonic_ns()}"
        attempt = control.offer(make_offer(f": {mark}; {WAITS}", lease_s=3))
        wait_ready(control, attempt)
        control.faults.silent = True
        began = time.monotonic()
        until(lambda: not processes_with(mark), seconds=12, what="the payload's end")
        assert 1 < time.monotonic() - began < 9
        control.tokens[attempt] = 2
        control.faults.silent = False
        until(lambda: "Ended" not in control.kinds(attempt), what="no end under the old token")


def test_a_payload_outlives_a_short_silence(needs_bwrap: None) -> None:
    with fake.running(lease_seconds=6) as control, agent_process(control):
        attempt = control.offer(make_offer("echo ready; sleep 5; echo done", lease_s=6))
        wait_ready(control, attempt)
        control.faults.silent = True
        time.sleep(2)  # the silence itself, well inside the lease
        control.faults.silent = False
        assert control.wait_for(Ended, attempt, seconds=30).reason == "finished"


# --- an agent that dies


def test_a_killed_agent_takes_its_payload_with_it(control: ControlPlane, agent: AgentProcess) -> None:
    mark = f"sekisho-killed-{time.monotonic_ns()}"
    attempt = control.offer(make_offer(f": {mark}; trap '' TERM; {WAITS}"))
    wait_ready(control, attempt)
    assert processes_with(mark)
    agent.kill()
    until(lambda: not processes_with(mark), seconds=5, what="the payload's end")
    agent.start()
    assert control.wait_for(Ended, attempt).reason == "agent.restarted"
    again = control.offer(make_offer("echo works again"))
    assert control.wait_for(Ended, again).reason == "finished"


def test_a_frozen_agent_loses_its_payload_at_the_end_of_the_lease(needs_bwrap: None) -> None:
    with fake.running(lease_seconds=3) as control, agent_process(control) as agent:
        mark = f"sekisho-frozen-{time.monotonic_ns()}"
        attempt = control.offer(make_offer(f": {mark}; trap '' TERM; {WAITS}", lease_s=3))
        wait_ready(control, attempt)
        agent.signal(signal.SIGSTOP)
        until(lambda: not processes_with(mark), seconds=12, what="the payload's end")
        agent.signal(signal.SIGCONT)
        assert control.wait_for(Ended, attempt).reason == "lease.lost"


def test_a_stopped_agent_says_so_and_goes(control: ControlPlane, root_agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("trap 'exit 4' TERM; " + WAITS))
    wait_ready(control, attempt)
    assert root_agent.stop() == 0
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status) == ("agent.stopped", 4)


def test_an_end_that_was_not_delivered_is_delivered_after_a_restart(
    control: ControlPlane,
    root_agent: AgentProcess,
) -> None:
    attempt = control.offer(make_offer("echo ready; sleep 1; exit 6"))
    wait_ready(control, attempt)
    control.faults.silent = True
    ended_file = root_agent.folder / "state" / "attempts" / attempt / "ended.json"
    until(ended_file.exists, seconds=20, what="the end written down")
    root_agent.kill()
    control.faults.silent = False
    root_agent.start()
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status) == ("failed", 6)


def test_an_end_that_no_disk_takes_is_delivered_all_the_same(
    control: ControlPlane,
    root_agent: AgentProcess,
) -> None:
    attempt = control.offer(make_offer("echo ready; sleep 1; exit 6"))
    wait_ready(control, attempt)
    (root_agent.folder / "state" / "attempts" / attempt / "ended.json").mkdir()
    ended = control.wait_for(Ended, attempt)
    assert (ended.reason, ended.exit_status) == ("failed", 6)


def test_every_message_is_evidence(control: ControlPlane, root_agent: AgentProcess) -> None:
    """What the control plane kept opens under the agent's key, with sequence numbers that only grow per lane."""
    attempt = control.offer(make_offer("echo x"))
    control.wait_for(Ended, attempt)
    (key,) = control._agents.values()
    last: dict[str, int] = {}
    for sealed in control.sealed:
        envelope = open_sealed(key, sealed)
        assert envelope.seq > last.get(envelope.lane, 0)
        last[envelope.lane] = envelope.seq
    assert set(last) == {"main", "lease", "log"}
    assert isinstance(control.wait_for(Accept, attempt), Accept)
