"""The Slurm engine against an interface that lies, dawdles or babbles, and against what lies in the shared folder.

The interface is a server of this file's own: a real slurmrestd does none of this on request.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from typing_extensions import override

from sekisho_agent import clock
from sekisho_agent.attempt import Attempt
from sekisho_agent.client import ControlClient
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines import rest
from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.handoff import Handoff, Orders, State
from sekisho_agent.engines.slurm import Slurm
from sekisho_agent.engines.wrapped import WrappedEngine
from sekisho_agent.errors import AttemptStoppedError, EngineError
from sekisho_agent.folders import remove_tree
from sekisho_agent.logsender import LogSender
from sekisho_agent.site import Site
from sekisho_verify import canonical
from sekisho_wire.messages import Ended
from sekisho_wire.objects import ObjectsByDigest
from tests.agent import control as fake
from tests.agent.engine_suite import make_task
from tests.agent.support import SOURCE, agent_process, make_offer, needs_bubblewrap, until

V = "/slurm/v0.0.38/"
PATHS: dict[str, Any] = {"paths": {f"{V}job/submit": {}}}
NODES = {"nodes": [{"partitions": ["batch"], "state": "idle", "cpus": 16, "real_memory": 64_000}]}
BAD_TOKEN = (500, b"Authentication failure")


class Interface(ThreadingHTTPServer):
    """Answers as told: by method and path, the last of several answers again and again; notes what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {"GET /openapi/v3": [PATHS], f"GET {V}nodes": [NODES]}
        self.asked: list[str] = []
        self.hold_seconds: dict[str, float] = {}
        self.drip_seconds = 0.0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def say(self, question: str, *answers: Any) -> None:
        self.answers[question] = list(answers)

    def count(self, question: str) -> int:
        return self.asked.count(question)

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is an everyday thing here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, Interface)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        question = f"{self.command} {self.path}"
        server.asked.append(question)
        time.sleep(server.hold_seconds.pop(question, 0))
        known = server.answers.get(question) or [(404, {})]
        found = known.pop(0) if len(known) > 1 else known[0]
        status, body = found if isinstance(found, tuple) else (200, found)
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        for number in range(len(content)) if server.drip_seconds else ():
            self.wfile.write(content[number : number + 1])
            time.sleep(server.drip_seconds)
        if not server.drip_seconds:
            self.wfile.write(content)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()


@pytest.fixture
def interface() -> Iterator[Interface]:
    server = Interface()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def settings(interface: Interface, folder: Path) -> dict[str, Any]:
    token = folder / "token"
    token.write_text("t0ken")
    table = {"url": interface.url, "user": "root", "token_file": str(token), "partition": "batch"}
    return {"engine": "slurm", "slurm": table}


def config(interface: Interface, folder: Path) -> AgentConfig:
    values = {"control_url": "http://127.0.0.1:1", "state_dir": str(folder), "capacity": {"attempts": 8}}
    return msgspec.convert(values | settings(interface, folder), AgentConfig)


@pytest.fixture
def native(interface: Interface, tmp_path: Path) -> Iterator[Slurm]:
    table = config(interface, tmp_path).slurm
    assert table is not None
    opened = Slurm(table)
    yield opened
    opened.close()


@pytest.fixture
def engine(interface: Interface, native: Slurm, tmp_path: Path) -> Iterator[WrappedEngine]:
    opened = WrappedEngine(config(interface, tmp_path), native)
    yield opened
    opened.close()


def job(native: int, name: str, state: str, **fields: Any) -> dict[str, Any]:
    return {"jobs": [{"job_id": native, "name": name, "job_state": state, "user_name": "root", **fields}]}


# --- an interface that answers wrongly


@pytest.mark.parametrize(
    "native_id", [True, "7", -1, 0, 1.5, None, [7], {"set": False, "number": 7}, 1 << 40]
)
def test_an_id_that_is_none_is_no_submission(
    interface: Interface, native: Slurm, tmp_path: Path, native_id: object
) -> None:
    interface.say(f"POST {V}job/submit", {"job_id": native_id})
    with pytest.raises(EngineError) as caught:
        native.submit(make_task(tmp_path, "true"))
    assert caught.value.code == "engine.unavailable"


@pytest.mark.parametrize(
    "document",
    [
        {"paths": {f"/slurm/v0.0.{'9' * 5000}/job/submit": {}}},
        {"paths": ["/slurm/v0.0.38/job/submit"]},
        {"paths": {}},
        [],
        b'{"paths": {"\\ud800": {}}}',
        b"[" * 100_000,
        BAD_TOKEN,
    ],
)
def test_an_interface_that_nobody_can_speak_is_away(
    interface: Interface, native: Slurm, tmp_path: Path, document: object
) -> None:
    interface.say("GET /openapi/v3", document)
    with pytest.raises(EngineError) as caught:
        native.submit(make_task(tmp_path, "true"))
    assert caught.value.code == "engine.unavailable"


@pytest.mark.parametrize(
    "node",
    [
        {"cpus": 1 << 62, "real_memory": (1 << 32) - 3, "gres": f"gpu:{'9' * 5000}"},
        {"cpus": (1 << 32) - 3, "real_memory": (1 << 32) - 3, "gres": "gpu:h100:999999"},
        {"cpus": "16", "real_memory": None, "gres": ["gpu:8"]},
        {"cpus": -1, "real_memory": True, "gres": "gpu:" + "x" * 500 + ":8"},
    ],
)
def test_nodes_of_any_size_make_a_capacity_that_can_be_sent(
    interface: Interface, native: Slurm, node: dict[str, Any]
) -> None:
    nodes = [{"partitions": ["batch"], "state": "idle", **node}] * 3
    interface.say(f"GET {V}nodes", {"nodes": nodes})
    found = native.total()
    canonical.encode(msgspec.to_builtins(found))
    assert len(found.gpu_type) <= 64


def test_only_what_was_asked_for_is_taken_from_an_answer(interface: Interface, native: Slurm) -> None:
    entries = [
        {"job_id": 8, "job_state": "COMPLETED"},
        {"job_id": "7", "job_state": "COMPLETED"},
        {"job_id": True, "job_state": "COMPLETED"},
        "7",
        None,
    ]
    interface.say(f"GET {V}job/7", {"jobs": entries})
    assert native.look(["7"]) == {}


def test_a_state_that_nobody_knows_is_not_a_sure_end(interface: Interface, native: Slurm) -> None:
    interface.say(f"GET {V}job/7", job(7, "att", "MELTED", state_reason="x" * 100_000))
    found = native.look(["7"])["7"]
    assert (found.phase, found.sure) == ("gone", False)
    assert len(found.said) <= 200


def test_an_answer_that_trickles_is_given_up(
    interface: Interface, native: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "ANSWER_SECONDS_MAX", 0.5)
    native.total()
    interface.say(f"GET {V}job/7", job(7, "att", "RUNNING", state_reason="x" * 1000))
    interface.drip_seconds = 0.02
    begun = time.monotonic()
    with pytest.raises(EngineError) as caught:
        native.look(["7"])
    assert caught.value.code == "engine.unavailable"
    assert time.monotonic() - begun < 3


def test_a_job_that_was_queued_in_spite_of_an_error_is_known(
    interface: Interface, native: Slurm, tmp_path: Path
) -> None:
    """As Slurm answers while it knows of no node that is up."""
    doubts = [{"error_code": 2068, "error": "Required node not available (down, drained or reserved)"}]
    interface.say(f"POST {V}job/submit", (500, {"errors": doubts, "job_id": 7}))
    assert native.submit(make_task(tmp_path, "true")) == "7"


# --- an id that is somebody else's


def test_a_job_that_got_the_id_of_ours_is_left_alone(
    interface: Interface, engine: WrappedEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "true")
    interface.say(f"POST {V}job/submit", {"job_id": 7})
    interface.say(f"GET {V}job/7", job(7, "another", "RUNNING"))
    interface.say(f"DELETE {V}job/7", {})
    engine.submit(task)
    engine.cancel(task.attempt, "job.cancelled", 0)
    seen = engine.observe(task.attempt, known="starting", timeout_seconds=10)
    assert seen.end is not None
    assert seen.end.reason == "job.cancelled"
    looks = interface.count(f"GET {V}job/7")
    until(lambda: interface.count(f"GET {V}job/7") > looks or not engine._leaving, what="another look")
    assert interface.count(f"DELETE {V}job/7") == 0


# --- an answer that was lost, and one that came twice


def test_a_submission_whose_answer_was_lost_is_found_with_its_secrets(
    interface: Interface, engine: WrappedEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "true", secrets={"key": b"s3cret"})
    interface.say(f"POST {V}job/submit", (502, b"gateway"))
    with pytest.raises(EngineError) as caught:
        engine.submit(task)
    assert caught.value.code == "engine.unavailable"
    interface.say(f"GET {V}jobs", job(7, task.attempt, "PENDING"))
    interface.say(f"GET {V}job/7", job(7, task.attempt, "PENDING"))
    engine.submit(task)
    assert interface.count(f"POST {V}job/submit") == 1
    handoff = Handoff(task.folder)
    assert handoff.claim()
    assert handoff.take().secrets == {"key": b"s3cret"}
    assert not list(task.folder.rglob("secrets.json"))


def test_a_job_that_began_before_its_answer_was_lost_keeps_no_secrets_on_the_disk(
    interface: Interface, engine: WrappedEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "true", secrets={"key": b"s3cret"})
    interface.say(f"POST {V}job/submit", (502, b"gateway"))
    with pytest.raises(EngineError):
        engine.submit(task)
    handoff = Handoff(task.folder)
    assert handoff.claim()
    handoff.take()
    interface.say(f"GET {V}jobs", job(7, task.attempt, "RUNNING"))
    interface.say(f"GET {V}job/7", job(7, task.attempt, "RUNNING"))
    engine.submit(task)
    assert not list(task.folder.rglob("secrets.json"))


def test_a_wrapper_that_speaks_is_alive_whatever_its_second_job_says(
    interface: Interface, engine: WrappedEngine, tmp_path: Path
) -> None:
    """Two jobs of one attempt: the first has claimed the task, the agent knows the second, which ended at once."""
    task = make_task(tmp_path, "true")
    interface.say(f"POST {V}job/submit", {"job_id": 8})
    interface.say(f"GET {V}job/8", job(8, task.attempt, "FAILED"))
    handoff = Handoff(task.folder)
    handoff.give(task)
    assert handoff.claim()
    interface.say(f"GET {V}jobs", {"jobs": []})
    engine.submit(task)
    until_at = time.monotonic() + 5
    asks = 0
    while time.monotonic() < until_at:
        asks += 1
        handoff.tell(State(phase="running", asks=asks))
        time.sleep(0.2)
    assert engine.observe(task.attempt).end is None
    seen = engine.observe(task.attempt, known="running", timeout_seconds=10)
    assert seen.end is not None
    assert seen.end.reason == "wall.broken"


# --- what lies in the shared folder


def test_pipes_and_links_in_the_folder_are_no_words(tmp_path: Path, engine: WrappedEngine) -> None:
    secret = tmp_path / "identity.json"
    secret.write_bytes(msgspec.json.encode(State(phase="running")))
    handoff = Handoff(tmp_path)
    handoff.folder.mkdir()
    state = handoff.folder / "state.json"
    os.mkfifo(state)
    assert handoff.told() is None
    state.unlink()
    state.symlink_to(secret)
    assert handoff.told() is None
    assert handoff.ordered() == Orders()


def test_a_log_that_became_a_link_is_not_read(
    interface: Interface, engine: WrappedEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "true")
    interface.say(f"POST {V}job/submit", {"job_id": 7})
    interface.say(f"GET {V}job/7", job(7, task.attempt, "RUNNING"))
    engine.submit(task)
    (task.folder / "log").symlink_to(tmp_path / "token")
    with pytest.raises(OSError, match="symbolic"):
        engine.logs(task.attempt, 0, 100)


def test_one_folder_that_takes_no_orders_does_not_hold_up_the_others(
    interface: Interface, engine: WrappedEngine, tmp_path: Path
) -> None:
    """A full disk takes nothing new; what was written before is still heard."""
    tasks = [make_task(tmp_path, "true") for _ in range(2)]
    for number, task in enumerate(tasks):
        interface.say(f"POST {V}job/submit", {"job_id": 7 + number})
        interface.say(f"GET {V}job/{7 + number}", job(7 + number, task.attempt, "RUNNING"))
        engine.submit(task)
        assert Handoff(task.folder).claim()
    stuck, other = (Handoff(task.folder) for task in tasks)
    blocked = stuck.folder / ".orders.json.new"
    blocked.mkdir()
    stuck.tell(State(phase="running", asks=1))
    other.tell(State(phase="running", asks=1))
    until(lambda: other.ordered().answers == 1, what="an answer for the other")
    engine.cancel(tasks[0].attempt, "job.cancelled", 5)
    blocked.rmdir()
    stuck.tell(State(phase="running", asks=2))
    until(lambda: stuck.ordered().cancel == "job.cancelled", what="the order, with the next answer")


def test_a_folder_that_takes_nothing_refuses_the_task(engine: WrappedEngine, tmp_path: Path) -> None:
    task = make_task(tmp_path, "true", secrets={"key": b"s3cret"})
    (task.folder / "handoff").mkdir()
    (task.folder / "handoff" / ".task.json.new").mkdir()
    with pytest.raises(EngineError) as caught:
        Handoff(task.folder).give(task)
    assert caught.value.code == "engine.handoff"
    assert not list(task.folder.rglob("*secrets.json"))


def test_an_id_that_cannot_be_written_down_loses_no_job(
    interface: Interface, engine: WrappedEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "true")
    handoff = Handoff(task.folder)
    handoff.give(task)
    (handoff.folder / ".native.json.new").mkdir()
    interface.say(f"GET {V}jobs", {"jobs": []})
    interface.say(f"POST {V}job/submit", {"job_id": 7})
    interface.say(f"GET {V}job/7", job(7, task.attempt, "PENDING", state_reason="Resources"))
    engine.submit(task)
    until(lambda: engine.observe(task.attempt).queued == "Resources", what="Slurm's word")
    interface.say(f"GET {V}jobs", job(7, task.attempt, "PENDING"))
    assert engine.adopt(task.folder, clock.monotonic() + 60) is not None


def test_an_attempt_whose_task_was_forgotten_can_still_be_told_things(
    interface: Interface, engine: WrappedEngine, tmp_path: Path
) -> None:
    """Renewals and cancels come from threads that serve all attempts: one that ended just now must not break them."""
    site = Site(
        config=config(interface, tmp_path),
        client=cast("ControlClient", None),
        engine=engine,
        store=cast("ObjectsByDigest", None),
        logs=cast("LogSender", None),
    )
    attempt = Attempt(fake.make_id("att"), 1, make_offer("true"), site)
    attempt._submitted = True
    attempt.renewed(clock.monotonic() + 60)
    attempt.fence()
    with pytest.raises(AttemptStoppedError) as caught:
        attempt.check()
    assert caught.value.code == "attempt.fenced"


# --- a wrapper of its own


@contextmanager
def wrapper(task: Task) -> Iterator[subprocess.Popen[bytes]]:
    """The process that a job of Slurm runs, without Slurm."""
    Handoff(task.folder).give(task)
    command = [sys.executable, "-m", "sekisho_agent.wrapper", str(task.folder)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_wrapper_whose_attempt_was_cleared_away_ends(tmp_path: Path) -> None:
    task = make_task(tmp_path, "true")
    with wrapper(task) as process:
        until(lambda: Handoff(task.folder).told() is not None, what="the wrapper's first word")
        remove_tree(task.folder)
        assert process.wait(10) == 0


def test_a_wrapper_that_cannot_write_goes_on(tmp_path: Path) -> None:
    task = make_task(tmp_path, "true")
    handoff = Handoff(task.folder)
    (handoff.folder / ".state.json.new").mkdir(parents=True)
    with wrapper(task) as process:
        until(handoff.claimed, what="the claim")
        time.sleep(1.5)
        (handoff.folder / ".state.json.new").rmdir()
        until(lambda: handoff.told() is not None, what="the wrapper's word")
        assert process.poll() is None


# --- a whole agent


@pytest.mark.wall
def test_an_interface_that_is_late_and_away_costs_no_attempt(interface: Interface, tmp_path: Path) -> None:
    """One submission hangs for longer than the lease, the next fail; the lease is renewed all the while."""
    needs_bubblewrap()
    submit = f"POST {V}job/submit"
    interface.hold_seconds[submit] = 4.0
    interface.say(submit, (503, b"busy"), BAD_TOKEN, (200, {"job_id": 7}))
    interface.say(f"GET {V}jobs", {"jobs": []})
    with fake.running(lease_seconds=2) as control, agent_process(control, **settings(interface, tmp_path)):
        attempt = control.offer(make_offer("true", lease_s=2))
        interface.say(f"GET {V}job/7", job(7, attempt, "CANCELLED"))
        ended = control.wait_for(Ended, attempt, seconds=30)
        assert (ended.reason, ended.log) == ("engine.cancelled", None)
        assert interface.count(submit) == 3
        assert control.kinds(attempt).count("Ended") == 1


@pytest.mark.wall
def test_an_offer_that_is_taken_late_is_not_fenced(interface: Interface, tmp_path: Path) -> None:
    """What may be taken is asked of Slurm first; renewing before the acceptance would be answered as fenced."""
    needs_bubblewrap()
    unsure = {"nodes": [{**NODES["nodes"][0], "cpus": 0}]}
    interface.say(f"GET {V}nodes", unsure, NODES)
    interface.say(f"POST {V}job/submit", {"job_id": 7})
    with fake.running(lease_seconds=4) as control, agent_process(control, **settings(interface, tmp_path)):
        control.until(lambda: bool(control.polls), seconds=20, what="a poll")
        interface.hold_seconds[f"GET {V}nodes"] = 1.0
        attempt = control.offer(make_offer("true", lease_s=4))
        interface.say(f"GET {V}job/7", job(7, attempt, "CANCELLED"))
        assert control.wait_for(Ended, attempt, seconds=20).reason == "engine.cancelled"
