"""Children that are killed: a warm, single-threaded launcher that forks a control plane at work on each `go`.

Forking after the imports makes two hundred starts affordable. The child opens the database like any server, runs the
real loops, and lets engineers submit and cancel until it dies; each record whose command was answered is first written
to a file, one write each, so that a kill loses nothing that was promised.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, NoReturn

import msgspec

import sekisho.kernel.postgres
import sekisho.kernel.sqlite  # noqa: F401 - otherwise each child would load its driver
from sekisho import charter
from sekisho.app import Control, opened
from sekisho.compute import CancelJob, SetSecret, SubmitJob
from sekisho.kernel import config
from sekisho.kernel.errors import BusyError, DeniedError, NotFoundError
from sekisho.kernel.facts import Actor, Ref
from sekisho.server.service import started
from sekisho_wire import typeinfo

ROOT = Path(__file__).resolve().parents[2]
JOB = 'name: nothing\nrun: "true"\ncharter: {residency: [JP]}\n'
WRITERS_EACH = 2
SECRET_EVERY, FOREIGN_EVERY = 5, 3


class Plan(msgspec.Struct, frozen=True):
    """What the children do: the installation, two engineers of two organisations, and where answers are noted."""

    settings: config.Settings
    engineers: tuple[str, str]
    answered: str


class Launcher:
    """The parent's side: starts children, says when one is gone and how."""

    def __init__(self, plan: Plan, log: IO[bytes]) -> None:
        command = [sys.executable, "-m", "tests.journeys.killed", msgspec.json.encode(plan).decode()]
        environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=log, env=environment)

    def go(self) -> int:
        """Fork a child; answers its process id at once, before it opened anything."""
        return int(self._ask(b"go\n"))

    def gone(self, child: int) -> int:
        """Wait for a child's end; answers the signal that ended it, or its exit status as a negative number."""
        return int(self._ask(b"wait %d\n" % child))

    def _ask(self, line: bytes) -> bytes:
        if self._process.stdin is None or self._process.stdout is None:
            raise BrokenPipeError
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def close(self) -> None:
        """End the launcher; its children are gone by then."""
        self._process.communicate()


@contextlib.contextmanager
def launching(plan: Plan, log: Path) -> Iterator[Launcher]:
    """A launcher for the length of the block."""
    with log.open("ab") as output:
        launcher = Launcher(plan, output)
        try:
            yield launcher
        finally:
            launcher.close()


def main(text: str) -> None:
    """The launcher: one line asks, one line answers."""
    plan = msgspec.json.decode(text, type=Plan)
    _warm()
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        answer = _fork(plan) if word == "go" else _reap(int(rest))
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _warm() -> None:
    """What every child would read or work out again and none changes: drivers, type information, the charter."""
    typeinfo.build()
    engine = charter.CharterEngine([])
    compiled = engine.compiled(charter.schema_text(charter.program_specs()), charter.default_policies())
    for spec in charter.program_specs():
        compiled.plan(spec.name)


def _fork(plan: Plan) -> int:
    child = os.fork()
    return child or _live(plan)


def _live(plan: Plan) -> NoReturn:
    """The child: only a kill ends it well."""
    os.dup2(2, 1)
    faulthandler.enable()
    try:
        _work(plan)
    except Exception:  # noqa: BLE001 - whatever it was, the status tells the parent, the log has the rest
        traceback.print_exc()
    os._exit(1)


def _reap(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def _work(plan: Plan) -> None:
    """A control plane at work. Returns only when something in it broke."""
    answered = os.open(plan.answered, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with opened(plan.settings) as control, started(control):
        for number in range(2 * WRITERS_EACH):
            pair = plan.engineers if number % 2 else plan.engineers[::-1]
            writer = _Writer(control, pair, answered)
            threading.Thread(target=writer.run, daemon=True).start()
        threading.Event().wait()


class _Writer:
    """One engineer at work, whom the other's jobs are none of."""

    def __init__(self, control: Control, engineers: tuple[str, str], answered: int) -> None:
        self._gate = control.gate
        self._me, self._other = (Actor(Ref("Service", name)) for name in engineers)
        self._answered = answered

    def run(self) -> None:
        try:
            for number in itertools.count(1):
                with contextlib.suppress(BusyError):
                    self._step(number)
        except Exception:  # noqa: BLE001 - as in the launcher: the status tells, the log explains
            traceback.print_exc()
            os._exit(1)

    def _step(self, number: int) -> None:
        job = self._gate.perform(self._me, SubmitJob(file=JOB), idempotency_key=f"{time.time_ns()}")
        self._note(job.record_id)
        if number % FOREIGN_EVERY == 0:
            self._intrude(job.id)
        if number % SECRET_EVERY == 0:
            self._gate.perform(self._me, SetSecret(name=f"s{number % 7}", value="v" * number))
        self._note(self._gate.perform(self._me, CancelJob(job=job.id)).record_id)

    def _intrude(self, job: str) -> None:
        """A denial is a record like any other; it names itself where the asker may know that there is something."""
        try:
            self._gate.perform(self._other, CancelJob(job=job))
        except DeniedError as denied:
            self._note(denied.record)
        except NotFoundError:
            return

    def _note(self, record: str) -> None:
        os.write(self._answered, f"{record}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
