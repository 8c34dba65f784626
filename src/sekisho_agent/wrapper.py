"""Runs inside another engine's job, around the payload: `python -m sekisho_agent.wrapper <attempt folder> [variable]`.

In a job of several nodes one runs on each; the named variable of its environment holds its node's number. It says where
its relay listens, and begins once the agent has told it of the others.

It claims the task, walls the payload in as the local engine does, and ends it when the lease is over, whatever becomes
of the agent and of the engine's own daemons. Its exit status is 0 once it has told how the task ended, 1 for a task
that is not its own any more or cannot be read; the payload's status is in what it tells.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent import clock
from sekisho_agent.engines.contract import EndReport, Observation, Task
from sekisho_agent.engines.gangs import node_of, rank_folder
from sekisho_agent.engines.handoff import Handoff, State
from sekisho_agent.engines.local_host import LocalHost
from sekisho_agent.errors import AgentError
from sekisho_agent.relay import Relay, own_address
from sekisho_wire.messages import (
    REASON_ENGINE_ENDED,
    REASON_FAILED,
    REASON_FINISHED,
    REASON_LEASE_LOST,
    REASON_PEERS_MISSING,
    REASON_STAGING_FAILED,
    REASON_WALL_BROKEN,
)
from sekisho_wire.stopping import stop_at

ASK_EVERY_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.1
FIRST_ANSWER_SECONDS_MAX: Final = 60.0
INTRODUCTION_SECONDS_MAX: Final = 120.0
ENGINE_GRACE_SECONDS: Final = 10.0
LAST_WORD_SECONDS_MAX: Final = 60.0
NODE_VARIABLES: Final = ("SEKISHO_NODE", "SLURMD_NODENAME")
ADDRESS_VARIABLE: Final = "SEKISHO_NODE_ADDRESS"
LAUNCHER_VARIABLE: Final = "SLURM_LAUNCH_NODE_IPADDR"
"""What a job is told of its place: by our own engine's words in its description, or by Slurm."""


def main() -> int:
    """Run one task to its end."""
    try:
        handoff = Handoff(_folder(Path(sys.argv[1]), sys.argv[2:]))
        first = handoff.claim()
    except (KeyError, ValueError, OSError) as error:
        sys.stderr.write(f"no task for this node: {type(error).__name__}\n")
        return 1
    if not first:
        sys.stderr.write("this task was begun before; a second start needs a new attempt\n")
        return 1
    ended = threading.Event()
    stop_at(ended.set, [signal.SIGTERM])
    try:
        task = handoff.take()
    except AgentError as error:
        end = EndReport(reason=REASON_STAGING_FAILED, detail=f"{error.detail} [{error.code}]")
        handoff.tell(State(phase="ended", end=end))
        return 1
    wrapper = Wrapper(handoff, ended)
    wrapper.run(task)
    return 0


def _folder(attempt_folder: Path, variables: list[str]) -> Path:
    """The attempt's own folder, or for a gang that of the node whose number the variable holds."""
    return rank_folder(attempt_folder, int(os.environ[variables[0]])) if variables else attempt_folder


def _node() -> str:
    """The machine's name in its scheduler's words."""
    return next((os.environ[name] for name in NODE_VARIABLES if name in os.environ), os.uname().nodename)


class Wrapper:
    """One task's keeper: asks for its lease, hands orders on, tells what it sees."""

    def __init__(self, handoff: Handoff, engine_ended: threading.Event) -> None:
        """`engine_ended` is set when the engine wants the job to end."""
        self._handoff = handoff
        self._engine_ended = engine_ended
        self._asked: dict[int, float] = {}
        self._asks = 0
        self._deadline = 0.0
        self._cancelled = False
        self._told = State()
        self._relay: Relay | None = None

    def run(self, task: Task) -> None:
        """Until the task has ended and that was told."""
        try:
            end = self._run(task)
        except AgentError as error:
            end = EndReport(reason=error.code, detail=error.detail)
        except Exception as error:  # noqa: BLE001 (an end must come out of every job)
            end = EndReport(reason=REASON_WALL_BROKEN, detail=f"{type(error).__name__}: {error}")
        last = msgspec.structs.replace(self._told, phase="ended", end=end)
        give_up = clock.monotonic() + LAST_WORD_SECONDS_MAX
        while not self._tell(last) and self._handoff.folder.exists() and clock.monotonic() < give_up:
            threading.Event().wait(ASK_EVERY_SECONDS)
        if self._relay is not None:
            self._linger(self._relay)

    def _linger(self, relay: Relay) -> None:
        """What this node's programs sent last may still be under way; the relay closes when the others have ended."""
        well = self._told.end is not None and self._told.end.reason == REASON_FINISHED
        while well and not self._engine_ended.is_set() and not relay.over(LOOK_SECONDS):
            pass
        relay.close()

    def _run(self, task: Task) -> EndReport:
        if task.nodes == 1:
            refused = self._first_lease()
            return EndReport(reason=refused) if refused else self._walled(task, None)
        given, launcher = (os.environ.get(name, "") for name in (ADDRESS_VARIABLE, LAUNCHER_VARIABLE))
        relay = self._relay = Relay(node_of(task), task.gang_key, host=own_address(given, launcher))
        host, port = relay.address
        self._told = msgspec.structs.replace(self._told, node=_node(), host=host, port=port)
        refused = self._first_lease() or self._introduction()
        return EndReport(reason=refused) if refused else self._walled(task, relay)

    def _walled(self, task: Task, relay: Relay | None) -> EndReport:
        host = LocalHost(self._handoff.folder / "bubblewrap")
        run = host.admit(msgspec.structs.replace(task, lease_deadline=self._deadline), relay)
        if relay is not None:
            relay.connect(self._handoff.introduced(), run.lose)
        thread = threading.Thread(target=run.run, name="run", daemon=True)
        thread.start()
        try:
            while True:
                seen = run.observation(known=self._told.phase, timeout_seconds=LOOK_SECONDS)
                if seen.end is not None:
                    self._see(seen)
                    return self._explained(seen.end)
                if self._listen():
                    run.extend(self._deadline)
                orders = self._handoff.ordered()
                if orders.cancel and not self._cancelled:
                    self._cancelled = True
                    run.cancel(orders.cancel, orders.grace_seconds)
                elif self._engine_ended.is_set() and not self._cancelled:
                    self._cancelled = True
                    run.cancel(REASON_ENGINE_ENDED, ENGINE_GRACE_SECONDS)
                self._see(seen)
        finally:
            thread.join(ENGINE_GRACE_SECONDS)
            host.close()

    def _explained(self, end: EndReport) -> EndReport:
        """A payload that the engine told to end may do so by itself, before it is asked to a second time."""
        by_itself = end.reason in {REASON_FINISHED, REASON_FAILED}
        if self._engine_ended.is_set() and by_itself:
            return msgspec.structs.replace(end, reason=REASON_ENGINE_ENDED)
        return end

    def _first_lease(self) -> str:
        """Empty once the agent has said that the attempt still holds, else why nothing is to run."""
        give_up = clock.monotonic() + FIRST_ANSWER_SECONDS_MAX
        while not self._engine_ended.is_set():
            if not self._handoff.folder.exists():  # the attempt is over, and the agent has cleared up
                return REASON_LEASE_LOST
            self._ask()
            orders = self._handoff.ordered()
            if orders.cancel:
                return orders.cancel
            if self._listen() and self._deadline > clock.monotonic():
                return ""
            if clock.monotonic() > give_up:
                return REASON_LEASE_LOST
            self._engine_ended.wait(LOOK_SECONDS / 5)
        return REASON_ENGINE_ENDED

    def _introduction(self) -> str:
        """Empty once the agent has said where the others are, else why nothing is to run."""
        give_up = clock.monotonic() + INTRODUCTION_SECONDS_MAX
        while not self._engine_ended.is_set():
            self._ask()
            self._listen()
            orders = self._handoff.ordered()
            if orders.cancel:
                return orders.cancel
            if clock.monotonic() > self._deadline:
                return REASON_LEASE_LOST
            if self._handoff.introduced():
                return ""
            if clock.monotonic() > give_up:
                return REASON_PEERS_MISSING
            self._engine_ended.wait(LOOK_SECONDS)
        return REASON_ENGINE_ENDED

    def _ask(self) -> None:
        """Ask for what is left of the lease, once a second; a question counts from before it was written."""
        moment = clock.monotonic()
        if self._asked and moment - max(self._asked.values()) < ASK_EVERY_SECONDS:
            return
        self._asks += 1
        self._asked[self._asks] = moment
        self._tell(msgspec.structs.replace(self._told, asks=self._asks, machine=os.uname().nodename))

    def _listen(self) -> bool:
        """Whether the agent's newest answer moved the deadline."""
        orders = self._handoff.ordered()
        asked = self._asked.get(orders.answers)
        if asked is None:
            return False
        self._asked = {number: at for number, at in self._asked.items() if number >= orders.answers}
        deadline = asked + orders.lease_seconds
        if deadline <= self._deadline:
            return False
        self._deadline = deadline
        return True

    def _see(self, seen: Observation) -> None:
        state = msgspec.structs.replace(
            self._told,
            phase="running" if seen.end is not None else seen.phase,
            wall=seen.wall,
            progress=dict(seen.progress),
            progress_lines=seen.progress_lines,
            log_bytes=seen.log_bytes,
            log_dropped_bytes=seen.log_dropped_bytes,
            healthy=seen.healthy,
        )
        if state != self._told:
            self._tell(state)
        if seen.end is None:
            self._ask()

    def _tell(self, state: State) -> bool:
        """Whether it was written. A full disk ends no payload: the next question says it again."""
        self._told = state
        try:
            self._handoff.tell(state)
        except OSError as error:
            sys.stderr.write(f"not told: {type(error).__name__}\n")
            return False
        return True


if __name__ == "__main__":
    sys.exit(main())
