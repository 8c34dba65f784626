"""The Slurm engine against an interface that lies, dawdles or babbles, and against what lies in the shared folder.

The interface is a server of this file's own: a real slurmrestd does none of this on request.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from sekisho_agent import clock
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines import rest
from sekisho_agent.engines.handoff import Handoff, Orders, State
from sekisho_agent.engines.slurm import Slurm
from sekisho_agent.engines.wrapped import WrappedEngine
from sekisho_agent.errors import EngineError
from sekisho_verify import canonical
from sekisho_wire.messages import Ended
from tests.agent import control as fake
from tests.agent.engine_suite import make_task
from tests.agent.support import agent_process, make_offer, needs_bubblewrap, until

V = "/slurm/v0.0.38/"
PATHS = {"paths": {f"{V}job/submit": {}}}
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
