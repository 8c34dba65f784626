"""DOK, Sakura's container service, over its REST interface: each attempt is one task of one container.

No program of ours can hold a wall or a lease there, and the charter sees that: the wall is `none`, there are no
canaries, and only the time limit is held, by the service. While this agent lives, it cancels a task whose lease is
over. While it is away nobody does: the task goes on, to its end or its time limit, and whoever places the job again
must wait for the service's own word, which the agent fetches when it is back, or for that limit. A task counts as
ended only when the service says so.

A cancel is the service's: the grace is not ours to give, and what a cancelled task has written may be lost. The time
limit is held inside the container first (with its grace), then by our cancel, then by the service, whose least is ten
minutes.

Verified against a stand-in that enforces the published document; not against the live service.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Final

from sekisho_agent.config import AgentConfig, DokConfig
from sekisho_agent.engines import dok_rules, dok_run
from sekisho_agent.engines.contract import (
    EndReport,
    Image,
    ImageProgress,
    Observation,
    Phase,
    Setup,
    Task,
    WallReport,
)
from sekisho_agent.engines.dok_project import NOT_ASKED, Project, Shared
from sekisho_agent.engines.dok_run import NO_WALL, Run
from sekisho_agent.engines.dok_store import InputStore
from sekisho_agent.errors import EngineError, ImageError
from sekisho_wire.messages import REASON_ENGINE_UNAVAILABLE, Capabilities, Capacity

SWEEP_SECONDS: Final = 0.2


class DokEngine:
    """Implements `contract.Engine`. One thread for each project, and one that ends what waits in vain."""

    outlives_agent = True

    def __init__(self, config: AgentConfig, dok: DokConfig) -> None:
        """Nothing has been answered yet: the service may be away while the agent starts. ConfigError for images."""
        dok_rules.check_images(dok)
        self._folder = config.state_folder
        self._shared = Shared(dok, InputStore(dok) if dok.inputs_url else None)
        self._runs: dict[str, Run] = {}
        self._projects = {project.name: Project(project, self._shared) for project in dok.projects}
        self._sweeper = threading.Thread(target=self._sweep, name="dok-queue", daemon=True)
        self._sweeper.start()

    def capabilities(self) -> Capabilities:
        """No wall, what holds each limit, and that nobody ends a payload while no agent is there."""
        return Capabilities(engine="dok", wall=NO_WALL.wall, limits=NO_WALL.limits, holds_leases=False)

    def capacity(self) -> Capacity:
        """One task for each project that is free and may run any; each task has a plan to itself."""
        plan = dok_rules.PLANS[self._shared.config.plan]
        with self._shared.changed:
            free = sum(project.free for project in self._projects.values())
            count = max(0, free - len(self._shared.queue))
        return Capacity(
            attempts=count,
            cpus=count * plan.cpus,
            memory_bytes=count * plan.memory_bytes,
            disk_bytes=shutil.disk_usage(self._folder).free,
            gpus=count * plan.gpus,
            gpu_type=plan.gpu_type,
        )

    def build_image(self, lock_file: Path, progress: ImageProgress) -> Image:
        """No image is built here: ImageError `image.not_built_here`."""
        del lock_file, progress
        raise ImageError(
            "image.not_built_here", "DOK runs images of a registry; name one that the site lists"
        )

    def extend_image(self, base: Image, setup: Setup, progress: ImageProgress) -> Image:
        """No `setup` runs here: ImageError `image.not_built_here`."""
        del base, setup, progress
        raise ImageError(
            "image.not_built_here", "DOK runs images of a registry as they are; put setup in the image"
        )

    def find_image(self, name: str) -> Image:
        """A registry's image that the operator listed, by our name or digest; its digest is the registry's."""
        return Image(name=name, digest=dok_rules.image_digest(self._shared.config, name), folder=None)

    def submit(self, task: Task) -> None:
        """Queue a task here; it is sent when a project is free. EngineError when no project may run anything."""
        dok_run.config_check(task, self._shared.config, has_store=self._shared.store is not None)
        with self._shared.changed:
            if task.attempt in self._runs:
                return
            troubles = [project.trouble for project in self._projects.values()]
            if all(troubles) and NOT_ASKED not in troubles:
                raise EngineError(REASON_ENGINE_UNAVAILABLE, troubles[0])
            run = self._runs[task.attempt] = Run(task)
            run.begin()
            self._shared.queue.append(run)
        self._wake()

    def adopt(self, attempt_folder: Path, lease_deadline: float) -> Task | None:
        """Take up a task that an earlier process began to send; its project's thread finds out what became of it."""
        run = Run.left_behind(attempt_folder, lease_deadline)
        if run is None:
            return None
        project = self._projects.get(run.kept.project)
        if project is None:
            raise EngineError(
                REASON_ENGINE_UNAVAILABLE, f"project {run.kept.project} is not configured any more"
            )
        with self._shared.changed:
            self._runs[run.task.attempt] = run
            project.adopt(run)
        return run.task

    def observe(
        self, attempt: str, *, known: Phase | None = None, timeout_seconds: float = 0.0
    ) -> Observation:
        """The task now, or when its phase has changed."""
        with self._shared.changed:
            run = self._run(attempt)
            self._shared.changed.wait_for(lambda: run.observation().phase != known, timeout_seconds)
            return run.observation()

    def extend(self, attempt: str, lease_deadline: float) -> None:
        """The task is not cancelled before."""
        with self._shared.changed:
            run = self._run(attempt)
            run.lease_deadline = max(run.lease_deadline, lease_deadline)

    def cancel(self, attempt: str, reason: str, grace_seconds: float) -> None:
        """At once: the service gives whatever grace it gives."""
        del grace_seconds
        with self._shared.changed:
            run = self._run(attempt)
            if run.end is None:
                run.order_end(reason)
        self._wake()

    def logs(self, attempt: str, offset: int, size_bytes_max: int) -> bytes:
        """A piece of the log file."""
        with self._shared.changed:
            path = self._run(attempt).task.folder / "log"
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size_bytes_max)

    def artefacts(self, attempt: str) -> dict[str, Path]:
        """The writable mounts; filled when the task has ended."""
        with self._shared.changed:
            task = self._run(attempt).task
        return {mount.inside: mount.source for mount in task.mounts if mount.writable}

    def reason(self, attempt: str) -> str:
        """Why it ended."""
        end = self.observe(attempt).end
        return end.reason if end else ""

    def wall(self, attempt: str) -> WallReport | None:
        """That there is none, once it has run."""
        return self.observe(attempt).wall

    def forget(self, attempt: str) -> None:
        """Drop an ended task; one that runs stays. The service keeps its record."""
        with self._shared.changed:
            run = self._runs.get(attempt)
            if run is not None and run.end is not None:
                del self._runs[attempt]

    def close(self) -> None:
        """Stop tending. Tasks go on at the service."""
        self._shared.closing.set()
        for project in self._projects.values():
            project.close()
        self._sweeper.join()
        for run in self._runs.values():
            run.log.stop()

    def _run(self, attempt: str) -> Run:
        run = self._runs.get(attempt)
        if run is None:
            raise EngineError("engine.unknown_task", f"no task {attempt}")
        return run

    def _wake(self) -> None:
        for project in self._projects.values():
            project.wake()

    def _sweep(self) -> None:
        """End what waits here and is not wanted any more; nothing of it was ever sent."""
        while not self._shared.closing.wait(SWEEP_SECONDS):
            with self._shared.changed:
                for run in list(self._shared.queue):
                    wish = run.wish(self._shared.config.queue_seconds_max)
                    if wish:
                        troubles = [project.trouble or project.busy for project in self._projects.values()]
                        self._shared.queue.remove(run)
                        run.log.settle(None, 0)
                        run.finish(EndReport(reason=wish, detail="; ".join(filter(None, troubles))[:1000]))
                        self._shared.changed.notify_all()
