"""Engines whose jobs run our wrapper: the site's scheduler places, the wrapper walls in and holds the lease.

What such a scheduler must do is `Native`, one file each; everything else is here. Attempt folders and images lie on a
file system that agent and compute nodes share at the same path, and jobs run as the agent's own user.

A task has ended when its wrapper said so, or when the scheduler says that the job is gone and the last lease that the
wrapper was answered is over: a node that nobody hears from may still run. Then the job is made sure to be gone.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from sekisho_agent import clock, wall
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines import gangs
from sekisho_agent.engines.contract import (
    Image,
    ImageProgress,
    Observation,
    Phase,
    Setup,
    Task,
    WallReport,
)
from sekisho_agent.engines.handoff import Handoff, open_plain
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.engines.local_gang import lay_out
from sekisho_agent.engines.tending import Tended, handoffs
from sekisho_agent.engines.verdicts import UNKNOWN, NativeJob
from sekisho_agent.errors import EngineError, passes
from sekisho_agent.sealing import KEY_BYTES
from sekisho_wire.durable import replace_file
from sekisho_wire.messages import REASON_ENGINE_UNAVAILABLE, Capabilities, Capacity

TEND_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 1.0
LOOK_SECONDS_MAX: Final = 15.0
LEAVE_SECONDS: Final = 10.0
"""How long a job may take to leave the scheduler after its wrapper has told the end."""
NATIVE_FILE: Final = "native.json"

log = structlog.get_logger(__name__)


class Native(Protocol):
    """What a scheduler does for us. Every method may raise EngineError `engine.unavailable`: nothing is known then."""

    @property
    def name(self) -> str:
        """The engine's name in reports."""
        ...

    @property
    def queue_seconds_max(self) -> float:
        """How long a job may wait in the scheduler's own queue before it is better placed elsewhere."""
        ...

    def total(self) -> Capacity:
        """What it has, used or not."""
        ...

    def submit(self, task: Task) -> str:
        """Queue a job that runs the wrapper; its id. EngineError `engine.full` or `engine.refused`: nothing queued.

        A gang is one job of as many nodes, given together, with one wrapper on each that knows its number.
        """
        ...

    def find(self, attempt: str) -> str:
        """The id of the attempt's job, also one whose submission got no answer; empty when there is none."""
        ...

    def look(self, ids: list[str]) -> dict[str, NativeJob]:
        """The jobs it still knows, by id."""
        ...

    def cancel(self, native: str) -> None:
        """End a job, queued or running; one that is gone is no error."""
        ...

    def clean(self, native: str) -> None:
        """Remove what was made around a job that is gone."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class WrappedEngine:
    """Implements `contract.Engine` over a scheduler. Two threads tend all tasks; images are built on this machine."""

    outlives_agent = True

    def __init__(self, config: AgentConfig, native: Native) -> None:
        """Nothing is asked of the scheduler yet: it may be away while the agent starts."""
        self._config = config
        self._native = native
        self._builder = LocalEngine(config)
        self._changed = threading.Condition()
        self._tasks: dict[str, Tended] = {}
        self._closing = threading.Event()
        self._leaving: dict[str, tuple[str, float]] = {}
        self._asked_at = 0.0
        self._ask_pause = LOOK_SECONDS
        self._total: Capacity | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=work, name=work[0].__name__.strip("_"), daemon=True)
            for work in ((self._tend, TEND_SECONDS), (self._ask, TEND_SECONDS))
        ]
        for thread in self._threads:
            thread.start()

    def capabilities(self) -> Capabilities:
        """The wall of this machine stands for that of the nodes; each start reports the one it really had."""
        return msgspec.structs.replace(self._builder.capabilities(), engine=self._native.name)

    def capacity(self) -> Capacity:
        """What the scheduler has, up to what is configured, less what was promised."""
        configured = self._config.capacity
        try:
            self._total = self._native.total()
        except EngineError:
            if self._total is None:
                return Capacity(attempts=0, cpus=0, memory_bytes=0)
        total = self._total
        with self._changed:
            held = [tended.task for tended in self._tasks.values() if tended.end is None]
        return msgspec.structs.replace(
            total,
            attempts=max(0, configured.attempts - len(held)),
            cpus=max(
                0, (configured.cpus or total.cpus) - sum(task.nodes * task.limits.cpus for task in held)
            ),
            memory_bytes=max(
                0,
                (configured.memory_bytes or total.memory_bytes)
                - sum(task.nodes * task.limits.memory_bytes for task in held),
            ),
            disk_bytes=self._builder.capacity().disk_bytes,
            gpus=configured.gpus or total.gpus,
            gpu_type=configured.gpu_type or total.gpu_type,
        )

    def build_image(self, lock_file: Path, progress: ImageProgress) -> Image:
        """Builds on the agent's machine, where the package hosts may be reached."""
        return self._builder.build_image(lock_file, progress)

    def extend_image(self, base: Image, setup: Setup, progress: ImageProgress) -> Image:
        """Extends on the agent's machine."""
        return self._builder.extend_image(base, setup, progress)

    def find_image(self, name: str) -> Image:
        """An image on the shared file system."""
        return self._builder.find_image(name)

    def submit(self, task: Task) -> None:
        """Hand the task over and queue its job; an answer that was lost is looked for before anything is sent again."""
        wall.check_mounts(task.mounts)
        with self._changed:
            if task.attempt in self._tasks:
                return
        handoff = Handoff(task.folder)
        native = self._native.find(task.attempt) if handoff.folder.exists() else ""
        if not any(one.claimed() for one in handoffs(task)):
            handoff.give(task if task.nodes == 1 else msgspec.structs.replace(task, secrets={}))
            if task.nodes > 1 and not native:
                _give_gang(task)
        native = native or self._submit(task, handoff)
        self._keep(Tended(task, native, self._native.queue_seconds_max))

    def adopt(self, attempt_folder: Path, lease_deadline: float) -> Task | None:
        """Take up a task that an earlier process of the agent handed over; None when it never got that far.

        EngineError `engine.unavailable` while that cannot be told.
        """
        handoff = Handoff(attempt_folder)
        try:
            task = msgspec.structs.replace(handoff.given(), lease_deadline=lease_deadline)
        except EngineError as error:
            if error.code == REASON_ENGINE_UNAVAILABLE:
                raise
            return None
        try:
            native = str(msgspec.json.decode((handoff.folder / NATIVE_FILE).read_bytes())["id"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, OSError) and passes(error):
                raise EngineError(REASON_ENGINE_UNAVAILABLE, "which job it is cannot be read now") from error
            native = self._native.find(task.attempt)
        if not native:
            _forget_secrets(task)
            return None
        self._keep(Tended(task, native, self._native.queue_seconds_max))
        return task

    def observe(
        self, attempt: str, *, known: Phase | None = None, timeout_seconds: float = 0.0
    ) -> Observation:
        """The task now, or when its phase has changed."""
        with self._changed:
            tended = self._task(attempt)
            self._changed.wait_for(lambda: tended.observation().phase != known, timeout_seconds)
            return tended.observation()

    def extend(self, attempt: str, lease_deadline: float) -> None:
        """The wrapper learns of it with the answer to its next question."""
        with self._changed:
            tended = self._task(attempt)
            tended.lease_deadline = max(tended.lease_deadline, lease_deadline)

    def cancel(self, attempt: str, reason: str, grace_seconds: float) -> None:
        """Through the wrapper where it has begun, so that the payload can still save; else through the scheduler."""
        with self._changed:
            tended = self._task(attempt)
            if tended.end is None:
                tended.order_end(reason, grace_seconds)

    def logs(self, attempt: str, offset: int, size_bytes_max: int) -> bytes:
        """A piece of the log file; empty before there is one."""
        with self._changed:
            path = self._task(attempt).task.folder / "log"
        try:
            with open_plain(path) as file:
                file.seek(offset)
                return file.read(size_bytes_max)
        except FileNotFoundError:
            return b""

    def artefacts(self, attempt: str) -> dict[str, Path]:
        """The writable mounts."""
        with self._changed:
            task = self._task(attempt).task
        return {mount.inside: mount.source for mount in task.mounts if mount.writable}

    def reason(self, attempt: str) -> str:
        """Why it ended."""
        end = self.observe(attempt).end
        return end.reason if end else ""

    def wall(self, attempt: str) -> WallReport | None:
        """What stands around it."""
        return self.observe(attempt).wall

    def forget(self, attempt: str) -> None:
        """Drop an ended task; one that runs stays."""
        with self._changed:
            tended = self._tasks.get(attempt)
            if tended is not None and tended.end is not None:
                del self._tasks[attempt]

    def close(self) -> None:
        """Stop tending. Jobs that run go on until their leases are over."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        for tended in self._tasks.values():
            tended.let_go()
        self._native.close()
        self._builder.close()

    # --- handing over

    def _submit(self, task: Task, handoff: Handoff) -> str:
        try:
            native = self._native.submit(task)
        except EngineError as error:
            if error.code != REASON_ENGINE_UNAVAILABLE:  # else it may be queued all the same
                _forget_secrets(task)
            raise
        try:
            replace_file(handoff.folder / NATIVE_FILE, msgspec.json.encode({"id": native}))
        except OSError as error:  # a later process of the agent asks the scheduler instead
            log.warning("engine.id_unwritten", attempt=task.attempt, error=type(error).__name__)
        return native

    def _keep(self, tended: Tended) -> None:
        with self._changed:
            self._tasks[tended.task.attempt] = tended

    def _task(self, attempt: str) -> Tended:
        tended = self._tasks.get(attempt)
        if tended is None:
            raise EngineError("engine.unknown_task", f"no task {attempt}")
        return tended

    # --- tending: one thread reads and writes files, the other waits for the scheduler

    def _guarded(self, work: Callable[[], None], pause_seconds: float) -> None:
        while not self._closing.wait(pause_seconds):
            try:
                work()
            except Exception:
                log.exception("engine.thread_broken", engine=self._native.name)
                self._closing.wait(LOOK_SECONDS)

    def _tend(self) -> None:
        """Hear every wrapper, answer it, and judge."""
        with self._changed:
            tended = [each for each in self._tasks.values() if each.end is None]
        told = [(each, [one.handoff.told() for one in each.wrappers]) for each in tended]
        for each in tended:
            each.follow()
        with self._changed:
            for each, states in told:
                try:
                    each.hear(states)
                    each.judge()
                except OSError as error:  # the shared folder is away: nothing is known of this task now
                    log.warning("engine.folder_away", attempt=each.task.attempt, error=type(error).__name__)
                    continue
                if each.end is not None:
                    self._leaving[each.native] = each.task.attempt, clock.monotonic()
            self._changed.notify_all()

    def _ask(self) -> None:
        """Hear the scheduler now and then, sooner while a task is coming to its end."""
        with self._changed:
            tended = [each for each in self._tasks.values() if each.end is None]
            soon = any(each.ending or each.bringing_together for each in tended)
            wanted = [*(each.native for each in tended), *self._leaving]
        pause = min(self._ask_pause, LOOK_SECONDS / 4) if soon else self._ask_pause
        if not wanted or clock.monotonic() - self._asked_at < pause:
            return
        try:
            jobs = self._native.look(wanted)
        except EngineError as error:
            self._ask_pause = min(self._ask_pause * 2, LOOK_SECONDS_MAX)
            log.warning("engine.unanswered", engine=self._native.name, code=error.code, detail=error.detail)
            return
        finally:
            self._asked_at = clock.monotonic()
        self._ask_pause = LOOK_SECONDS
        with self._changed:
            for each in tended:
                each.look(jobs.get(each.native, UNKNOWN))
            pressed = [each.native for each in tended if each.pressing and each.job.phase != "gone"]
            overdue, gone = self._left(jobs)
        for native in (*pressed, *overdue):
            self._tell(self._native.cancel, native)
        for native in gone:
            self._tell(self._native.clean, native)

    def _left(self, jobs: dict[str, NativeJob]) -> tuple[list[str], list[str]]:
        """Jobs of ended tasks: those that the scheduler still holds or means to start again, and those gone."""
        overdue: list[str] = []
        gone: list[str] = []
        for native, (attempt, ended_at) in list(self._leaving.items()):
            job = jobs.get(native, UNKNOWN)
            if job.phase == "gone" or job.attempt not in {"", attempt}:
                del self._leaving[native]
                gone.append(native)
            elif job.restarts or clock.monotonic() - ended_at > LEAVE_SECONDS:
                overdue.append(native)
        return overdue, gone

    def _tell(self, order: Callable[[str], None], native: str) -> None:
        """To the scheduler; a later round ends what could not be ended now, or the wrapper's lease does."""
        try:
            order(native)
        except EngineError as error:
            log.warning("engine.not_told", engine=self._native.name, job=native, code=error.code)


def _give_gang(task: Task) -> None:
    """To every node of a gang its part of the task, with the key by which they know each other."""
    if task.nodes == 1:
        return
    lay_out(task)
    key = secrets.token_bytes(KEY_BYTES)
    for rank, handoff in enumerate(handoffs(task)):
        handoff.give(msgspec.structs.replace(gangs.rank_task(task, rank), gang_key=key))


def _forget_secrets(task: Task) -> None:
    for handoff in handoffs(task):
        handoff.forget_secrets()
