"""The local engine: payloads as walled processes of this machine. A payload dies with its agent.

Without a working bubblewrap it says wall `none` and refuses every task (`wall.missing`): it has no second, weaker way
of running one, so a charter that bears a missing wall needs another engine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from sekisho_agent import wall
from sekisho_agent.bubblewrap import find_bubblewrap
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import (
    Image,
    ImageProgress,
    Observation,
    Phase,
    Setup,
    Task,
    WallReport,
)
from sekisho_agent.engines.local_run import LocalRun, Surroundings
from sekisho_agent.errors import EngineError
from sekisho_agent.images import ImageShelf
from sekisho_agent.interpreter import base_interpreter, image_interpreter
from sekisho_agent.limits import ControlGroups, hold
from sekisho_agent.listeners import Listeners
from sekisho_agent.shortpaths import remove_stale_folders
from sekisho_wire.messages import REASON_ENGINE_FULL, REASON_WALL_MISSING, Capabilities, Capacity, Limits

WALL_NONE = "none"
SMALLEST = Limits(
    cpus=1,
    memory_bytes=1,
    processes=1,
    wall_s=1,
    output_bytes=1,
    log_bytes=1,
    tmp_bytes=1,
)


class LocalEngine:
    """Implements `contract.Engine`. Owns one thread per running task and one that starts all processes."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._folder = config.state_folder
        remove_stale_folders()
        self._bubblewrap = find_bubblewrap(self._folder / "bubblewrap")
        self._groups = ControlGroups.discover()
        self._listeners = Listeners()
        self._guard = threading.Lock()
        self._runs: dict[str, tuple[LocalRun, int]] = {}
        # The parent-death signal follows the thread that started a process: this one lives as long as the agent.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="process-starter")
        self._shelf = ImageShelf(self, config)

    def capabilities(self) -> Capabilities:
        """What this machine can hold, found at start."""
        name = self._bubblewrap.name if self._bubblewrap else WALL_NONE
        return Capabilities(
            engine="local", wall=name, limits=hold(SMALLEST, self._groups.controllers).mechanisms
        )

    def capacity(self) -> Capacity:
        """The configured capacity less what running tasks were promised."""
        total = self._config.total_capacity()
        with self._guard:
            running = [run.task.limits for run, _ in self._runs.values() if not _ended(run)]
        attempts = total.attempts - len(running) if self._bubblewrap else 0
        return msgspec.structs.replace(
            total,
            attempts=max(0, attempts),
            cpus=max(0, total.cpus - sum(limits.cpus for limits in running)),
            memory_bytes=max(0, total.memory_bytes - sum(limits.memory_bytes for limits in running)),
            disk_bytes=shutil.disk_usage(self._folder).free,
        )

    def build_image(self, lock_file: Path, progress: ImageProgress) -> Image:
        """Builds behind a wall of its own, with no data near it."""
        return self._shelf.build(lock_file, progress)

    def extend_image(self, base: Image, setup: Setup, progress: ImageProgress) -> Image:
        """Runs the commands behind a wall of their own."""
        return self._shelf.extend(base, setup, progress)

    def find_image(self, name: str) -> Image:
        """An image on the shelf."""
        return self._shelf.find(name)

    def submit(self, task: Task) -> None:
        """Start a task in a thread of its own."""
        if self._bubblewrap is None:
            raise EngineError(REASON_WALL_MISSING, "this machine has no working bubblewrap")
        wall.check_mounts(task.mounts)
        with self._guard:
            if task.attempt in self._runs:
                return
            taken = {slot for run, slot in self._runs.values() if not _ended(run)}
            slot = next((slot for slot in range(wall.PAYLOAD_UIDS) if slot not in taken), None)
            if slot is None:
                raise EngineError(REASON_ENGINE_FULL, "no free user id for another payload")
            run = LocalRun(task, self._surroundings(task, self._bubblewrap.path, slot))
            self._runs[task.attempt] = run, slot
        threading.Thread(target=run.run, name=f"run-{task.attempt[-6:]}", daemon=True).start()

    def observe(
        self, attempt: str, *, known: Phase | None = None, timeout_seconds: float = 0.0
    ) -> Observation:
        """The task now, or when its phase has changed."""
        return self._run(attempt).observation(known=known, timeout_seconds=timeout_seconds)

    def extend(self, attempt: str, lease_deadline: float) -> None:
        """Hand the deadline to the watchdog inside."""
        self._run(attempt).extend(lease_deadline)

    def cancel(self, attempt: str, reason: str, grace_seconds: float) -> None:
        """End the task through PID 1, so that the payload can still save."""
        self._run(attempt).cancel(reason, grace_seconds)

    def logs(self, attempt: str, offset: int, size_bytes_max: int) -> bytes:
        """A piece of the log file."""
        with (self._run(attempt).task.folder / "log").open("rb") as file:
            file.seek(offset)
            return file.read(size_bytes_max)

    def artefacts(self, attempt: str) -> dict[str, Path]:
        """The writable mounts."""
        return {mount.inside: mount.source for mount in self._run(attempt).task.mounts if mount.writable}

    def reason(self, attempt: str) -> str:
        """Why it ended."""
        end = self.observe(attempt).end
        return end.reason if end else ""

    def wall(self, attempt: str) -> WallReport | None:
        """What stands around it."""
        return self.observe(attempt).wall

    def forget(self, attempt: str) -> None:
        """Drop an ended task; one that runs stays."""
        with self._guard:
            found = self._runs.get(attempt)
            if found is not None and _ended(found[0]):
                del self._runs[attempt]

    def close(self) -> None:
        """Let go of listeners and threads; call when nothing runs any more."""
        self._listeners.close()
        self._starter.shutdown(wait=False)

    def _run(self, attempt: str) -> LocalRun:
        with self._guard:
            found = self._runs.get(attempt)
        if found is None:
            raise EngineError("engine.unknown_task", f"no task {attempt}")
        return found[0]

    def _surroundings(self, task: Task, bubblewrap: Path, slot: int) -> Surroundings:
        as_root = os.geteuid() == 0
        uid = wall.PAYLOAD_UID_FIRST + slot
        if as_root:
            _give(task, uid)
        folder = task.image.folder
        plan = wall.WallPlan(
            bubblewrap=bubblewrap,
            interpreter=image_interpreter(folder) if folder else base_interpreter(),
            image=folder,
            image_writable=task.image_writable,
            mounts=task.mounts,
            tmp_bytes=task.limits.tmp_bytes,
            payload_uid=uid,
            as_root=as_root,
        )
        name = self._bubblewrap.name if self._bubblewrap else WALL_NONE
        return Surroundings(
            wall_name=name,
            listeners=self._listeners,
            groups=self._groups,
            start_process=self._start_process,
            plan=plan,
        )

    def _start_process(self, command: list[str], descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
        return self._starter.submit(_popen, command, descriptors).result()


def _popen(command: list[str], descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 (a fixed program, arguments without a shell)
        command,
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
    )


def _give(task: Task, uid: int) -> None:
    """Make the payload's user the owner of what it may write, restored files included; links are not followed."""
    writable = [mount.source for mount in task.mounts if mount.writable]
    if task.image_writable and task.image.folder is not None:
        writable.append(task.image.folder)
    for top in writable:
        os.chown(top, uid, uid)
        for _, folders, files, descriptor in os.fwalk(top, follow_symlinks=False):
            for name in (*folders, *files):
                os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)


def _ended(run: LocalRun) -> bool:
    return run.observation(known=None, timeout_seconds=0).phase == "ended"
