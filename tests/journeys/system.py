"""The whole system as processes: `sekishod serve` and one `sekisho-agent`, killed and started again at will.

A watch over this machine's process list says which payloads ran: each names its job and attempt in its command line,
which nothing inside the wall can keep from the machine outside.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from sekisho_client.client import Client
from sekisho_client.refusals import ProblemError, Refused
from tests.journeys.world import until

SOURCE = Path(__file__).resolve().parents[2] / "src"
LEASE_SECONDS = 3
ENDED = frozenset({"succeeded", "failed", "cancelled"})
WATCH_SECONDS = 0.02
_ID = "[0-9a-hjkmnp-tv-z]{26}"
_PAYLOAD = re.compile(f"payload-(job_{_ID})-(att_{_ID})".encode())


class Payload(NamedTuple):
    """One process that runs a job's commands; the start time tells it from a later one of the same number."""

    job: str
    attempt: str
    process: int
    started: bytes
    parent: int


class Watch:
    """Looks at the process list all the time: `seen` is every payload there was, `doubled` each job caught with two."""

    def __init__(self) -> None:
        self.seen: set[Payload] = set()
        self.alive: list[Payload] = []
        self.doubled: list[list[Payload]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(WATCH_SECONDS):
            self.alive = _payloads()
            self.seen.update(self.alive)
            jobs = [payload.job for payload in self.alive]
            if len(jobs) != len(set(jobs)):
                # One that died between two reads of the list is no double: both must still be there.
                again = [payload for payload in _payloads() if payload in self.alive]
                if len(again) != len({payload.job for payload in again}):
                    self.doubled.append(again)

    def twice(self) -> list[str]:
        """Attempts that were started more than once: one token, two payloads."""
        attempts = [payload.attempt for payload in _without_children(self.seen)]
        return sorted({attempt for attempt in attempts if attempts.count(attempt) > 1})


def _payloads() -> list[Payload]:
    return _without_children(list(_named()))


def _without_children(payloads: Collection[Payload]) -> list[Payload]:
    """A shell's child bears its parent's command line until it becomes another program."""
    known = {(payload.attempt, payload.process) for payload in payloads}
    return [payload for payload in payloads if (payload.attempt, payload.parent) not in known]


def _named() -> Iterator[Payload]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            found = _PAYLOAD.search((entry / "cmdline").read_bytes())
            if found:
                fields = (entry / "stat").read_bytes().rpartition(b") ")[2].split()
                if fields[0] not in {b"Z", b"X"}:
                    yield Payload(
                        found[1].decode(), found[2].decode(), int(entry.name), fields[19], int(fields[1])
                    )
        except OSError:
            continue


class Place(NamedTuple):
    """The system's one site: how many jobs of one CPU it takes at once, and Slurm's settings where Slurm runs them."""

    slots: int = 2
    slurm: dict[str, str] | None = None

    def settings(self) -> str:
        """What its agent is configured with, as TOML."""
        engine = 'engine = "slurm"\n' if self.slurm else ""
        capacity = f"attempts = {self.slots}\ncpus = {self.slots}\nmemory_bytes = {self.memory_bytes}\n"
        table = "".join(f'{name} = "{value}"\n' for name, value in (self.slurm or {}).items())
        return f"{engine}[capacity]\n{capacity}" + (f"[slurm]\n{table}" if table else "")

    @property
    def memory_bytes(self) -> int:
        return self.slots << 30


HERE = Place()


class Program:
    """One program that can be killed and started again; everything it says goes to a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.command = [sys.executable, "-m", *command]
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def once(self, *words: str, text: str = "") -> str:
        """Run to the end with other words; answers standard output."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                [*self.command, *words],
                input=text,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=True,
                timeout=120,
                env=_environment(),
            )
        return done.stdout

    def start(self, *words: str) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *words], stdout=log, stderr=log, env=_environment(), start_new_session=True
            )

    def send(self, how: signal.Signals) -> None:
        """Stop it or let it go on; it stays this program's process."""
        if self._process is not None:
            self._process.send_signal(how)

    def end(self, how: signal.Signals) -> int:
        """Send a signal and wait; answers the exit status. KILL is a power cut: nothing is said or cleaned up."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # one that stands still hears nothing else
        return process.wait(60)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEKISHO_")}
    return kept | {"PYTHONPATH": str(SOURCE), "LC_ALL": "C.UTF-8"}


class System:
    """Control plane and agent on one machine, with an engineer who submits to them."""

    def __init__(self, folder: Path, db_url: str, place: Place) -> None:
        self.data = folder / "data"
        self.place = place
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "sekisho.toml"
        config.write_text(
            f'data = "{self.data}"\n[server]\nport = {self.port}\n[database]\nurl = "{db_url}"\n'
            f"[compute]\nlease_seconds = {LEASE_SECONDS}\n[ledger]\ninterval_ms = 20\n",
            encoding="utf-8",
        )
        self.control = Program(["sekisho.server", "--config", str(config)], folder / "control.log")
        self.agent_config = folder / "agent.toml"
        self.agent_config.write_text(
            f'control_url = "{self.url}"\nstate_dir = "{folder / "state"}"\n{place.settings()}',
            encoding="utf-8",
        )
        self.agent = Program(["sekisho_agent"], folder / "agent.log")
        words = ("--json", "init", "--organisation", "Office", "--admin", "First", "--admin", "Second")
        self._token = json.loads(self.control.once(*words))["administrators"][0]["token"]
        self.client = Client(self.url, self._token, timeout_seconds=10)

    def start_control(self) -> None:
        """Serve, and return once somebody answers."""
        self.control.start("serve")
        until(self._answers, seconds=60, what="the control plane's first answer")

    def start_agent(self) -> None:
        self.agent.start("run", "--config", str(self.agent_config))

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def heard(self) -> bool:
        """Whether the site may be offered something."""
        return any(
            site["heard_at"] and site["wall"] not in {"", "unknown"}
            for site in self.client.pages("sites.site.list")
        )

    def join_site(self) -> None:
        """One site, its agent, an engineer of the office; afterwards the client is the engineer's."""
        office = self.ask("identity.me")["organisation"]
        site = self.ask(
            "sites.site.register",
            name="here",
            operator=office,
            country={"value": "JP", "grade": "D"},
            cpus=self.place.slots,
            memory_bytes=self.place.memory_bytes,
            stand_in=True,
        )["id"]
        code = self.ask("identity.agent.invite", site=site)["code"]
        register = ("register", "--config", str(self.agent_config), "--name", "here", "--code", "-")
        self.agent.once(*register, text=code + "\n")
        account = self.ask("identity.service.create", name="engineer", organisation=office)["id"]
        self.ask("identity.role.grant", account=account, role="engineer")
        token = self.ask("identity.service.token.create", service=account, label="journey")["secret"]
        self.client.close()
        self.client = Client(self.url, token, timeout_seconds=10)

    def ask(self, command: str, **fields: Any) -> Any:
        """One command, again and again while the server is away: under one key, so that it happens once."""
        key = f"{time.monotonic_ns()}"
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.client.call(command, idempotency_key=key, **fields)
            except (Refused, ProblemError) as error:
                away = isinstance(error, Refused) or error.details["status"] == 503
                if not away or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def submit(self, seconds: float, *, first: str = "", status: int = 0, more: str = "") -> str:
        """A job that only takes time, under a command line that the watch can find.

        `first` is what its shell does before, `status` how it ends, `more` what else stands in its file.
        """
        nap = f'exec sh -c "sleep {seconds:.2f}; exit {status}" payload-$SEKISHO_JOB-$SEKISHO_ATTEMPT'
        file = f"name: nap\nresources: {{cpus: 1, memory: 64MB}}\nrun: '{first}{nap}'\n{more}"
        return str(self.ask("compute.job.submit", file=file)["id"])

    def state(self, job: str) -> str:
        return str(self.ask("compute.job.show", job=job)["job"]["state"])

    def close(self) -> None:
        """End both, in order."""
        self.client.close()
        for program in (self.agent, self.control):
            program.end(signal.SIGTERM)


@contextmanager
def running(folder: Path, db_url: str, place: Place = HERE) -> Iterator[System]:
    """A system whose agent was heard."""
    system = System(folder, db_url, place)
    try:
        system.start_control()
        system.join_site()
        system.start_agent()
        until(system.heard, seconds=60, what="the agent's first word")
        yield system
    except BaseException:
        for log in (system.control.log, system.agent.log):
            sys.stderr.write(f"--- {log.name}\n{log.read_text(encoding='utf-8', errors='replace')[-4000:]}\n")
        raise
    finally:
        system.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
