"""What the control plane asks of itself: rounds over the queue, over attempts and over the jobs of an array."""

from __future__ import annotations

from sekisho.compute.model import Cursor, JobState
from sekisho.kernel.command import Command, Kind, command


@command(
    "compute.round.place",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="待機中のジョブを配置します。",
)
class PlaceRound(Command[int]):
    """Place waiting jobs, from behind `after`; answers how many were placed."""

    after: Cursor = ""


@command(
    "compute.array.cancel",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="取り消された配列に含まれるジョブを、順に取り消します。",
)
class CancelMembers(Command[int]):
    """Cancel the next jobs of a cancelled array, for who asked and in which record; answers how many."""

    job: str
    asked_by: str
    asked: str
    after: int = -1


@command(
    "compute.array.settle",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="配列ジョブの状態を、含まれるジョブに合わせます。",
)
class SettleArray(Command[JobState]):
    """Bring an array to where its jobs leave it."""

    job: str


@command(
    "compute.attempt.reconcile",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="応答のない試行を見つけ、再配置します。",
)
class ReconcileAttempts(Command[int]):
    """Find attempts whose agent fell silent and place their jobs again; answers how many were lost."""
