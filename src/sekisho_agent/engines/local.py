"""The local engine: payloads as walled processes of this machine. A payload dies with its agent.

Without a working bubblewrap it says wall `none` and refuses every task (`wall.missing`): it has no second, weaker way
of running one, so a charter that bears a missing wall needs another engine.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import msgspec

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
from sekisho_agent.engines.local_gang import GangRun
from sekisho_agent.engines.local_host import WALL_NONE, LocalHost
from sekisho_agent.engines.local_run import LocalRun
from sekisho_agent.errors import EngineError
from sekisho_agent.images import ImageShelf
from sekisho_agent.peers import GANG_NODES_MAX
from sekisho_wire.messages import Capabilities, Capacity


class LocalEngine:
    """Implements `contract.Engine`. Owns one thread per running task and one that starts all processes."""

    outlives_agent = False

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._folder = config.state_folder
        self._host = LocalHost(self._folder / "bubblewrap")
        self._guard = threading.Lock()
        self._runs: dict[str, LocalRun | GangRun] = {}
        self._shelf = ImageShelf(self, config)

    def capabilities(self) -> Capabilities:
        """What this machine can hold, found at start."""
        hindrance = self._host.gang_hindrance
        return Capabilities(
            engine="local",
            wall=self._host.wall_name,
            limits=self._host.mechanisms | {"nodes": f"none ({hindrance})"[:256] if hindrance else "peers"},
            nodes=1 if hindrance else GANG_NODES_MAX,
            asks_health=self._host.wall_name != WALL_NONE,
        )

    def capacity(self) -> Capacity:
        """The configured capacity less what running tasks were promised."""
        total = self._config.total_capacity()
        with self._guard:
            running = [run.task for run in self._runs.values() if not _ended(run)]
        attempts = total.attempts - len(running) if self._host.wall_name != WALL_NONE else 0
        return msgspec.structs.replace(
            total,
            attempts=max(0, attempts),
            cpus=max(0, total.cpus - sum(task.nodes * task.limits.cpus for task in running)),
            memory_bytes=max(
                0, total.memory_bytes - sum(task.nodes * task.limits.memory_bytes for task in running)
            ),
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
        with self._guard:
            if task.attempt in self._runs:
                return
            gang = task.nodes > 1
            run = GangRun.admit(task, self._host) if gang else self._host.admit(task)
            self._runs[task.attempt] = run
        threading.Thread(target=run.run, name=f"run-{task.attempt[-6:]}", daemon=True).start()

    def adopt(self, attempt_folder: Path, lease_deadline: float) -> Task | None:
        """Nothing to take up: payloads died with the process that started them."""
        del attempt_folder, lease_deadline

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
            if found is not None and _ended(found):
                del self._runs[attempt]

    def close(self) -> None:
        """Let go of listeners and threads; call when nothing runs any more."""
        self._host.close()

    def _run(self, attempt: str) -> LocalRun | GangRun:
        with self._guard:
            found = self._runs.get(attempt)
        if found is None:
            raise EngineError("engine.unknown_task", f"no task {attempt}")
        return found


def _ended(run: LocalRun | GangRun) -> bool:
    return run.observation(known=None, timeout_seconds=0).phase == "ended"
