"""`serve` and `up`: HTTP, background work, and on one machine the agents of its own sites."""

from __future__ import annotations

import contextlib
import subprocess  # the agents of `up` are programs of their own
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from sekisho import console
from sekisho.app import Control, migrate_only, opened
from sekisho.background import log_loop, running, stamp_loop, witness_loop, work_loop
from sekisho.compute import ReconcileAttempts
from sekisho.http import AgentDoor, DeviceDoor, Listen, Listener, ObjectDoor, answer, build
from sekisho.identity import RemoveExpired
from sekisho.kernel import telemetry
from sekisho.kernel.clock import SystemClock
from sekisho.server.commands import Call
from sekisho.server.texts import SAYS

AGENT_FILE = "agent.toml"
STOP_SECONDS = 20
ALWAYS_WAITING = {"reconcile": ReconcileAttempts(), "expired": RemoveExpired()}
"""Reconcilers that put themselves back into the queue; a start makes sure that they are in it."""


def application(control: Control, *, stopping: Callable[[], bool] = lambda: False) -> Starlette:
    """The whole HTTP face of one control plane: API, agents' door, objects, console, published log.

    `stopping` is asked by open event streams, so that a server that ends does not wait for them.
    """
    pages = console.Parts(
        gate=control.gate,
        sign_in=control.sign_in,
        clock=control.clock,
        drawing=console.Drawing(),
        spell=answer,
        outside=control.outside,
        secure=control.settings.server.public_url.startswith("https://"),
        stopping=stopping,
    )
    registry = CollectorRegistry()
    registry.register(control.witness_answers)
    door = AgentDoor(control.gate, control.seals, control.clock)
    registry.register(door.key_answers)
    store = ObjectDoor(control.objects, control.tickets)
    return build(
        control.gate,
        control.sign_in.authenticate,
        ready=control.ready,
        clock=control.clock,
        mounts=[
            *door.routes(),
            *store.routes(),
            *DeviceDoor(control.outside).routes(),
            *console.routes(pages),
        ],
        log_directory=control.folders.published,
        registry=registry,
    )


@contextlib.contextmanager
def started(control: Control) -> Iterator[None]:
    """The loops of one control plane, after the published log was found to be ours."""
    control.check_published()
    control.write_trust()
    for dedupe, command in ALWAYS_WAITING.items():
        control.gate.schedule(command, dedupe=dedupe)
    loops = (
        work_loop(control.gate, control.clock),
        log_loop(control.advance_log, control.settings.ledger.interval_ms),
        *(witness_loop(name, offering.step) for name, offering in control.offerings()),
        *(stamp_loop(name, stamping.step) for name, stamping in control.stampings()),
    )
    with running(*loops):
        yield


def serve(call: Call) -> int:
    """HTTP and background work until SIGINT or SIGTERM."""
    return _run(call, with_agents=False)


def up(call: Call) -> int:
    """As `serve`, with every agent that has a folder here as a process of its own."""
    return _run(call, with_agents=True)


def migrate(call: Call) -> int:
    """Bring the database to this version's schema, without serving."""
    applied = migrate_only(call.settings, SystemClock())
    text = SAYS["migrated" if applied else "current"].render(call.language, {"names": ", ".join(applied)})
    call.write({"applied": applied}, text)
    return 0


def _run(call: Call, *, with_agents: bool) -> int:
    telemetry.configure(level=call.settings.log.level, form=call.settings.log.form)
    server = call.settings.server
    listen = Listen(host=server.host, port=server.port, certificate=server.certificate, key=server.key)
    with opened(call.settings) as control, started(control):
        listening: list[Listener] = []
        app = application(control, stopping=lambda: any(one.stopping for one in listening))
        listener = Listener(app, listen)
        listening.append(listener)
        call.note(SAYS["serving"].render(call.language, {"url": server.public_url or listener.url}))
        folders = sorted(control.folders.agents.glob(f"*/{AGENT_FILE}")) if with_agents else []
        with _agents(call, folders):
            listener.run()
    return 0


@contextlib.contextmanager
def _agents(call: Call, files: Sequence[Path]) -> Iterator[None]:
    """One process per agent; they end with us, and their payloads with them."""
    processes = []
    for file in files:
        command = [sys.executable, "-m", "sekisho_agent", "run", "--config", str(file)]
        processes.append(subprocess.Popen(command))
        call.note(SAYS["agent"].render(call.language, {"name": file.parent.name}))
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
