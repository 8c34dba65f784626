"""An engine that runs nothing: for a place where only data rests, whose agent answers location challenges.

The control plane's own site is one. It offers no capacity, and what is sent to it all the same is refused.
"""

from __future__ import annotations

from pathlib import Path

from sekisho_agent.engines.contract import (
    Image,
    ImageProgress,
    Observation,
    Phase,
    Setup,
    Task,
    WallReport,
)
from sekisho_agent.errors import EngineError, ImageError
from sekisho_wire.messages import REASON_ENGINE_REFUSED, Capabilities, Capacity

_DETAIL = "nothing runs at this site"


class NoEngine:
    """Nothing can be submitted, so nothing is ever known of a task."""

    outlives_agent = False

    def capabilities(self) -> Capabilities:
        """No wall, because there is nothing to wall in."""
        return Capabilities(engine="none", wall="none", limits={})

    def capacity(self) -> Capacity:
        """Nothing is free: no attempt fits."""
        return Capacity(attempts=0, cpus=0, memory_bytes=0)

    def build_image(self, lock_file: Path, progress: ImageProgress) -> Image:
        """ImageError."""
        raise ImageError("image.unknown", _DETAIL)

    def extend_image(self, base: Image, setup: Setup, progress: ImageProgress) -> Image:
        """ImageError."""
        raise ImageError("image.unknown", _DETAIL)

    def find_image(self, name: str) -> Image:
        """ImageError."""
        raise ImageError("image.unknown", _DETAIL)

    def submit(self, task: Task) -> None:
        """EngineError `engine.refused`."""
        raise EngineError(REASON_ENGINE_REFUSED, _DETAIL)

    def adopt(self, attempt_folder: Path, lease_deadline: float) -> Task | None:
        """Nothing was ever started."""
        del attempt_folder, lease_deadline

    def observe(
        self, attempt: str, *, known: Phase | None = None, timeout_seconds: float = 0.0
    ) -> Observation:
        """EngineError `engine.unknown_task`."""
        del known, timeout_seconds
        raise EngineError("engine.unknown_task", attempt)

    def extend(self, attempt: str, lease_deadline: float) -> None:
        """EngineError `engine.unknown_task`."""
        raise EngineError("engine.unknown_task", attempt)

    def cancel(self, attempt: str, reason: str, grace_seconds: float) -> None:
        """EngineError `engine.unknown_task`."""
        raise EngineError("engine.unknown_task", attempt)

    def logs(self, attempt: str, offset: int, size_bytes_max: int) -> bytes:
        """EngineError `engine.unknown_task`."""
        raise EngineError("engine.unknown_task", attempt)

    def artefacts(self, attempt: str) -> dict[str, Path]:
        """EngineError `engine.unknown_task`."""
        raise EngineError("engine.unknown_task", attempt)

    def reason(self, attempt: str) -> str:
        """EngineError `engine.unknown_task`."""
        raise EngineError("engine.unknown_task", attempt)

    def wall(self, attempt: str) -> WallReport | None:
        """EngineError `engine.unknown_task`."""
        raise EngineError("engine.unknown_task", attempt)

    def forget(self, attempt: str) -> None:
        """Nothing is remembered."""
