"""T9: egress is proven, not configured. A job's evidence holds the ways out that were tried, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.app import initialise, opened
from sekisho.http import serving
from sekisho.kernel import config
from sekisho.server.service import application, started
from sekisho_agent import clock, wall
from sekisho_agent.config import AgentConfig
from sekisho_agent.config import ListenerConfig as ListenerAddress
from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.observer import Observer
from sekisho_guarantor.listener import Listener
from sekisho_guarantor.listener_config import AgentConfig as KnownAgent
from sekisho_guarantor.listener_config import ListenerConfig
from sekisho_guarantor.listener_door import ListenerServer
from sekisho_verify.canonical import from_base64url, to_base64url
from sekisho_verify.observation import Observation, read_observation
from sekisho_wire.messages import CANARY_ROUTES
from tests.agent import support
from tests.agent.engine_suite import make_task, wait_end
from tests.journeys import system, world

pytestmark = pytest.mark.wall

ROUTES_MIN = 7
NAME = "listener.example/outside"
KEY = Ed25519PrivateKey.from_private_bytes(bytes([5] * 32))
AGENT = Ed25519PrivateKey.from_private_bytes(bytes([6] * 32))
PUBLIC = to_base64url(KEY.public_key().public_bytes_raw())


class Outside:
    """A listener on real sockets, run by nobody of the site."""

    def __init__(self, folder: Path) -> None:
        agent = to_base64url(AGENT.public_key().public_bytes_raw())
        config = ListenerConfig(
            folder=str(folder), name=NAME, agents=[KnownAgent("site", agent)], tcp=0, udp=0, dns=0
        )
        self.listener = Listener(NAME, KEY, config.keys(), clock.now_ms)
        self.server = ListenerServer(self.listener, config)
        self.server.start()
        tcp, udp, dns = self.server.ports
        self.address = ListenerAddress("127.0.0.1", PUBLIC, tcp, udp, dns)

    def as_toml(self) -> str:
        """The agent's settings of it."""
        fields = msgspec.to_builtins(self.address)
        return "[listener]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())

    def know(self, folder: Path) -> None:
        """Its operator enters the agent's key."""
        identity = json.loads((folder / "state" / "identity.json").read_text())
        private = Ed25519PrivateKey.from_private_bytes(from_base64url(identity["private_key"]))
        self.listener._agents = frozenset({private.public_key().public_bytes_raw()})


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    support.needs_bubblewrap()
    opened = Outside(tmp_path / "listener")
    yield opened
    opened.server.close()


class _Store(BaseHTTPRequestHandler):
    """The destination that the job names."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"stock")

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's names
        """Nothing."""


@pytest.fixture
def store() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Store)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@contextmanager
def house_with_an_agent(folder: Path, db_url: str, outside: Outside) -> Iterator[world.House]:
    """A control plane that knows the listener, served by HTTP; and a real agent, a process of its own, that uses it."""
    bare = world.settings_in(folder, db_url)
    genesis = initialise(bare, world.founding())
    known = config.Compute(listeners=(config.Listener(name=NAME, key=PUBLIC),))
    with ExitStack() as stack:
        control = stack.enter_context(opened(msgspec.structs.replace(bare, compute=known)))
        stack.enter_context(started(control))
        url = stack.enter_context(serving(application(control))).url
        house = world.House(control, genesis, url, stack)
        agent = system.Program(["sekisho_agent"], folder / "agent.log")
        settings = folder / "agent.toml"
        settings.write_text(
            f'control_url = "{url}"\nstate_dir = "{folder / "state"}"\negress_private = true\n{outside.as_toml()}'
        )
        site = house.site("tokyo", house.organisation("Provider"), "JP")
        code = house.administrator.call("identity.agent.invite", site=site)["code"]
        words = ("register", "--config", str(settings), "--name", "tokyo", "--code", "-")
        agent.once(*words, text=f"{code}\n")
        outside.know(folder)
        agent.start("run", "--config", str(settings))
        stack.callback(agent.end, signal.SIGTERM)
        yield house


def test_t09_the_bundle_of_a_job_shows_the_routes_that_were_tried(
    tmp_path: Path, db_url: str, outside: Outside, store: int
) -> None:
    """A real control plane, a real agent, a real listener: what the auditor's verifier prints of one job."""
    fetch = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{store}/x').read())"
    file = (
        f'name: fetch\nresources: {{cpus: 1, memory: 256MB}}\nrun: |\n  /usr/bin/python3 -c "{fetch}"\n'
        f"charter:\n  egress: ['127.0.0.1:{store}']\n"
    )
    bundle = tmp_path / "bundle.zip"
    with house_with_an_agent(tmp_path, db_url, outside) as house:
        engineer = house.account("engineer", house.organisation("Laboratory"), "engineer")
        job = str(engineer.call("compute.job.submit", file=file)["id"])
        world.until(lambda: house.closed(job), seconds=60, what="the end of the job's evidence")
        shown = engineer.call("compute.job.show", job=job)["attempts"][0]
        world.export(engineer, job, bundle)
    assert shown["state"] == "succeeded", shown
    closed = [route for route, result in shown["canaries"].items() if result == "closed"]
    assert (len(closed) >= ROUTES_MIN, set(shown["canaries"])) == (True, set(CANARY_ROUTES)), shown[
        "canaries"
    ]
    assert shown["egress"]["mechanism"] == "network namespace + proxy"
    assert [one["destination"] for one in shown["egress"]["reached"]] == [f"127.0.0.1:{store}"]
    assert shown["observed"] == [
        {"listener": NAME, "known": True, "results": dict.fromkeys(("tcp", "udp", "dns"), "closed")}
    ]
    assert shown["limits"]["seccomp"].startswith("filter ")
    trust, known = json.loads((tmp_path / "data" / "trust.json").read_text()), tmp_path / "known.json"
    known.write_text(json.dumps(trust | {"listeners": [{"name": NAME, "key": PUBLIC}]}))
    verdict = world.verify(bundle, known)
    assert verdict.status == 0, verdict.answer
    lines = {line["code"]: line for line in verdict.answer["lines"] if line["part"] in {"wall", "egress"}}
    wall_line = lines.get("wall.closed") or lines["wall.partly"]
    assert (wall_line["fields"]["closed"] >= ROUTES_MIN, wall_line["grade"]) == (True, "D")
    assert (lines["egress.listed"]["fields"]["connections"], lines["egress.listed"]["grade"]) == (1, "D")
    assert (lines["observed.closed"]["state"], lines["observed.closed"]["grade"]) == ("ok", "M")
    codes = [line["code"] for line in world.verify(bundle, tmp_path / "data" / "trust.json").answer["lines"]]
    assert "observed.unknown" in codes, "whose key it is, only the auditor's own file says"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    """The tests' own process may use loopback only, so the route to another host stays unproven here."""
    monkeypatch.setattr("sekisho_agent.listeners.host_address", lambda: None)
    values = {"control_url": "https://control.invalid", "state_dir": str(tmp_path / "engine")}
    (tmp_path / "engine").mkdir()
    running = LocalEngine(msgspec.convert(values, AgentConfig))
    yield running
    running.close()


def watched(engine: LocalEngine, outside: Outside, folder: Path, level: int) -> tuple[Task, Observation]:
    """A task with canaries for the listener, run to its end, and the listener's report of it."""
    observer = Observer(outside.address, AGENT)
    task = make_task(folder, "echo ran > /out/ran", level=level)
    task = msgspec.structs.replace(task, watch=observer.open(task.attempt, 1))
    assert task.watch is not None
    engine.submit(task)
    wait_end(engine, task)
    return task, read_observation(from_base64url(observer.close(task.attempt, 1)))


@pytest.fixture
def holed(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> LocalEngine:
    """Its walls have no network namespace."""
    whole = wall.NAMESPACES
    monkeypatch.setattr(wall, "NAMESPACES", tuple(each for each in whole if each != "--unshare-net"))
    return engine


@pytest.mark.parametrize(("level", "reason"), [(1, "finished"), (2, "wall.canary_open")])
def test_t09_a_deliberately_opened_route_is_caught(
    holed: LocalEngine, outside: Outside, tmp_path: Path, *, level: int, reason: str
) -> None:
    """The agent finds it, the listener outside signs it, and nothing protected runs."""
    engine = holed
    task, seen = watched(engine, outside, tmp_path, level)
    report = engine.wall(task.attempt)
    assert report is not None
    opened = {route for route, result in report.canaries.items() if result == "open"}
    assert {"tcp_loopback", "tcp_host", "udp", "dns", "unix_abstract"} <= opened
    assert seen.results == dict.fromkeys(("tcp", "udp", "dns"), "open")
    assert engine.reason(task.attempt) == reason
    assert (task.folder / "out" / "ran").exists() == (reason == "finished")


def test_t09_the_same_wall_whole_is_heard_of_by_nobody(
    engine: LocalEngine, outside: Outside, tmp_path: Path
) -> None:
    task, seen = watched(engine, outside, tmp_path, 2)
    report = engine.wall(task.attempt)
    assert report is not None
    closed = [route for route, result in report.canaries.items() if result == "closed"]
    assert len(closed) >= ROUTES_MIN - (os.geteuid() != 0), report.canaries
    assert seen.results == dict.fromkeys(("tcp", "udp", "dns"), "closed")
    assert engine.reason(task.attempt) == "finished"
