"""One task on its way through DOK, as the agent knows it; every change that matters is on the disk first."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent import clock
from sekisho_agent.config import DokConfig
from sekisho_agent.engines import dok_parcel, dok_rules
from sekisho_agent.engines.contract import EndReport, Observation, Phase, Task, WallReport
from sekisho_agent.engines.dok_log import TaskLog
from sekisho_agent.engines.dok_rules import Parcel, Seen, View
from sekisho_agent.engines.dok_store import InputStore
from sekisho_agent.engines.handoff import Handoff
from sekisho_agent.errors import EngineError, passes
from sekisho_wire.durable import replace_file
from sekisho_wire.messages import REASON_ENGINE_UNAVAILABLE

FOLDER, KEPT = "dok", "kept.json"
INLINE_BYTES_MAX: Final = dok_rules.INLINE_LETTERS_MAX // 4 * 3
NO_WALL: Final = WallReport(
    wall="none",
    canaries={},
    limits={
        "memory_bytes": "none",
        "cpus": "none",
        "processes": "none",
        "wall_s": "engine",
        "output_bytes": "none",
        "log_bytes": "none",
        "tmp_bytes": "none",
        "seccomp": "none",
    },
)


class Kept(msgspec.Struct, frozen=True):
    """What a later process of the agent must know. `sent`: a task may exist, whatever `native` says."""

    project: str = ""
    native: str = ""
    sent: bool = False
    cancel: str = ""


class Run:
    """Guarded by the engine's condition, except what its project's thread alone touches: `tries`, `doubt_until`."""

    def __init__(self, task: Task, kept: Kept | None = None) -> None:
        self.task = task
        self.folder = task.folder / FOLDER
        self.kept = kept or Kept()
        self.lease_deadline = task.lease_deadline
        self.log = TaskLog(task.folder / "log", task.limits.log_bytes)
        self.said = ""
        self.detail = ""
        self.end: EndReport | None = None
        self.cancelled = ""
        self.doubt_until = 0.0
        self.gone_at: float | None = None
        self.tries = 0
        self._queued_at = clock.monotonic()
        self._running_at: float | None = None
        self._walled = False

    @classmethod
    def left_behind(cls, attempt_folder: Path, lease_deadline: float) -> Run | None:
        """What an earlier process wrote down; None when it never began to send the task.

        EngineError `engine.unavailable` while that cannot be read.
        """
        try:
            task = Handoff(attempt_folder).given()
            kept = msgspec.json.decode((attempt_folder / FOLDER / KEPT).read_bytes(), type=Kept)
        except (EngineError, OSError, ValueError) as error:
            if isinstance(error, EngineError) and error.code == REASON_ENGINE_UNAVAILABLE:
                raise
            if isinstance(error, OSError) and passes(error):
                raise EngineError(REASON_ENGINE_UNAVAILABLE, "what was sent cannot be read now") from error
            return None
        if not kept.sent:
            return None
        run = cls(msgspec.structs.replace(task, lease_deadline=lease_deadline), kept)
        run.cancelled = kept.cancel  # the service may have taken it without our hearing of it
        return run

    def begin(self) -> None:
        """Write the task down; nothing has been sent."""
        Handoff(self.task.folder).give(self.task)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.keep()

    def keep(self, **changes: str | bool) -> None:
        """Change what is kept; it is on the disk when this returns."""
        self.kept = msgspec.structs.replace(self.kept, **changes)
        replace_file(self.folder / KEPT, msgspec.json.encode(self.kept))

    def order_end(self, reason: str, detail: str = "") -> None:
        """The first reason stays."""
        if not self.kept.cancel:
            self.detail = detail
            self.keep(cancel=reason)

    def see(self, seen: Seen) -> None:
        """Take the service's word."""
        self.gone_at = None
        self.said = f"DOK: {seen.status}"
        if seen.status == "running" and self._running_at is None:
            self._running_at, self._walled = clock.monotonic(), True

    def finish(self, end: EndReport) -> None:
        """Nothing of it runs, and what it left is in place."""
        self._walled = self._walled or end.exit_status is not None
        if self.detail and not end.detail:
            end = msgspec.structs.replace(end, detail=self.detail)
        self.end = end

    @property
    def ran_seconds(self) -> float:
        """Since it was first seen to run."""
        return clock.monotonic() - self._running_at if self._running_at is not None else 0.0

    def wish(self, queue_max: float) -> str:
        """Why it must be ended now; empty while it may go on."""
        limits = self.task.limits
        view = View(
            lease_left=self.lease_deadline - clock.monotonic(),
            queued_age=clock.monotonic() - self._queued_at,
            queue_max=queue_max,
            running_age=self.ran_seconds if self._running_at is not None else None,
            limit_seconds=limits.wall_s + limits.grace_s,
            cancel=self.kept.cancel,
        )
        return dok_rules.order(view)

    def observation(self) -> Observation:
        """The task as the contract shows it."""
        running = self._running_at is not None
        phase: Phase = "ended" if self.end else "running" if running else "starting"
        kept_bytes, dropped_bytes = self.log.counts
        progress, lines = self.log.progress
        return Observation(
            phase=phase,
            wall=NO_WALL if self._walled else None,
            end=self.end,
            progress=progress,
            progress_lines=lines,
            log_bytes=kept_bytes,
            log_dropped_bytes=dropped_bytes,
            queued=self.said if phase == "starting" else "",
        )

    def parcel(self, store: InputStore | None) -> Parcel:
        """The inputs, ready to be sent; the same bytes whenever it is asked."""
        small = dok_parcel.pack_small(self.task.mounts, INLINE_BYTES_MAX)
        if small is not None:
            return Parcel(digest=hashlib.sha256(small).hexdigest(), letters=base64.b64encode(small).decode())
        if store is None:
            raise EngineError(
                dok_rules.REASON_INPUTS_TOO_LARGE,
                f"inputs over {INLINE_BYTES_MAX} bytes, packed, need an object store in the agent's configuration",
            )
        packed = self.folder / "parcel.tar.gz"
        digest = dok_parcel.pack_large(self.task.mounts, packed)
        address = store.give(self.task.attempt, packed)
        packed.unlink()
        return Parcel(digest=digest, address=address)


def config_check(task: Task, config: DokConfig, *, has_store: bool) -> None:
    """EngineError for a task that cannot run there, its inputs included; nothing has been sent then."""
    dok_rules.check(task, config)
    if not has_store and dok_parcel.pack_small(task.mounts, INLINE_BYTES_MAX) is None:
        raise EngineError(
            dok_rules.REASON_INPUTS_TOO_LARGE,
            f"inputs over {INLINE_BYTES_MAX} bytes, packed, need an object store in the agent's configuration",
        )
