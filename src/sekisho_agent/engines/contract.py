"""What every engine promises. The engine at the site places on nodes; the agent only hands over and watches.

A task is known by its attempt id. Whatever an engine does, an ended task leaves no process, no group and no mount, and
its observation stays readable until `forget`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from sekisho_agent.canaries import Target
from sekisho_agent.wall import Mount
from sekisho_wire.egress import EgressReport
from sekisho_wire.messages import CanaryResult, Capabilities, Capacity, HealthPlan, Limits

Phase = Literal["starting", "running", "ended"]
ImageProgress = Callable[[str], None]


class Image(msgspec.Struct, frozen=True):
    """A prepared environment at the site. `digest` covers what `images` says; empty for the host's own /usr."""

    name: str
    digest: str
    folder: Path | None


class Setup(msgspec.Struct, frozen=True):
    """Shell text that extends an image. `workdir` is a local folder of that digest, shown to the commands; or None."""

    text: str
    workdir: Path | None = None
    workdir_digest: str = ""


class Watch(msgspec.Struct, frozen=True):
    """Canaries for a listener outside the site, which waits for them: those of outside the wall, and of inside.

    A gang has those of each further node in `others`, by rank from 1: what one node sends says nothing of another.
    """

    outside: dict[str, Target]
    inside: dict[str, Target]
    others: tuple[Watch, ...] = ()

    def of(self, rank: int) -> Watch:
        """Those of one node alone."""
        return self.others[rank - 1] if rank else Watch(self.outside, self.inside)


class Task(msgspec.Struct, frozen=True):
    """One attempt, ready to run: all paths are local, all inputs are in place.

    `folder` is the attempt's own folder, where the engine writes `log`. Folders of writable mounts exist; the engine
    gives them to the payload's user. `lease_deadline` is on `clock.monotonic`. `secrets` are values by file name.
    `image_writable` is for builds alone: their image folder is a copy of their own.
    `limits` and `gpus` are those of one node of `nodes`.

    With more than one node all start together, or none does: each behind a wall of its own, as a user of its own, with
    the same inputs, secrets and destinations, joined by an overlay that reaches this attempt's nodes only. The first
    that ends badly ends the others. The task's outputs are those of node 0: every other node writes to copies of the
    writable folders below `folder/ranks/<its number>`, which nobody collects. One log: lines of node k begin with
    `[k] `, those of node 0 with nothing. `rank` and `gang_key` are the engine's own, and empty in a task that is
    submitted.
    """

    attempt: str
    level: int
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    image: Image
    mounts: tuple[Mount, ...]
    limits: Limits
    folder: Path
    lease_deadline: float
    secrets: Mapping[str, bytes] = {}
    egress: tuple[str, ...] = ()
    egress_private: bool = False
    image_writable: bool = False
    gpus: int = 0
    gpu_type: str = ""
    nodes: int = 1
    rank: int = 0
    health: HealthPlan | None = None
    gang_key: bytes = b""
    watch: Watch | None = None


class WallReport(msgspec.Struct, frozen=True):
    """What stood around the payload when it started."""

    wall: str
    canaries: dict[str, CanaryResult]
    limits: dict[str, str]


class EndReport(msgspec.Struct, frozen=True):
    """Why and how a task ended. `exit_status` is None when no payload ran, negative for a signal.

    `egress` is None where no wall stood.
    """

    reason: str
    detail: str = ""
    exit_status: int | None = None
    run_seconds: float = 0.0
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    oom_kills: int = 0
    egress: EgressReport | None = None


class Observation(msgspec.Struct, frozen=True):
    """A task as the engine sees it now. `progress` is the latest progress line of `progress_lines`.

    `queued` is the engine's own word for why the task waits in a queue of the site's. `healthy` is what a task with a
    health plan answered last; None before it answered.
    """

    phase: Phase
    wall: WallReport | None = None
    end: EndReport | None = None
    progress: Mapping[str, str | int | bool] = {}
    progress_lines: int = 0
    log_bytes: int = 0
    log_dropped_bytes: int = 0
    queued: str = ""
    healthy: bool | None = None


class Engine(Protocol):
    """One way of running tasks at a site. All methods may be called from any thread."""

    @property
    def outlives_agent(self) -> bool:
        """Whether tasks go on while no agent runs, until their leases are over; such an engine is asked to `adopt`."""
        ...

    def capabilities(self) -> Capabilities:
        """Engine name, wall (`none` if it cannot wall), and the mechanism of each limit."""
        ...

    def capacity(self) -> Capacity:
        """What is free now."""
        ...

    def build_image(self, lock_file: Path, progress: ImageProgress) -> Image:
        """The image of a hashed requirements file, built if it is not there. ImageError when it cannot be."""
        ...

    def extend_image(self, base: Image, setup: Setup, progress: ImageProgress) -> Image:
        """The image that the commands make of `base`, with no data near them. ImageError `image.setup_failed`."""
        ...

    def find_image(self, name: str) -> Image:
        """An image by digest or configured name; ImageError `image.unknown`."""
        ...

    def submit(self, task: Task) -> None:
        """Start a task. The same attempt again changes nothing, whether it runs or has ended."""
        ...

    def adopt(self, attempt_folder: Path, lease_deadline: float) -> Task | None:
        """Take up a task that an earlier process of this agent submitted, under a lease that was renewed since.

        None when nothing of it runs and nothing will. EngineError `engine.unavailable` while that cannot be told.
        """
        ...

    def observe(
        self, attempt: str, *, known: Phase | None = None, timeout_seconds: float = 0.0
    ) -> Observation:
        """The task now; waits up to the timeout for a phase other than `known`. EngineError `engine.unknown_task`."""
        ...

    def extend(self, attempt: str, lease_deadline: float) -> None:
        """The lease holds until then; a deadline earlier than a previous one is ignored."""
        ...

    def cancel(self, attempt: str, reason: str, grace_seconds: float) -> None:
        """End a task in whatever phase: TERM, then KILL after the grace. The first reason stays."""
        ...

    def logs(self, attempt: str, offset: int, size_bytes_max: int) -> bytes:
        """A piece of standard output and error, empty at the present end."""
        ...

    def artefacts(self, attempt: str) -> dict[str, Path]:
        """Host folders by the path inside at which the payload wrote them; stable once the task has ended."""
        ...

    def reason(self, attempt: str) -> str:
        """Why the task ended; empty while it has not."""
        ...

    def wall(self, attempt: str) -> WallReport | None:
        """The wall's report; None before the canaries have run."""
        ...

    def forget(self, attempt: str) -> None:
        """Drop what the engine remembers of an ended task; its folder is the caller's."""
        ...
