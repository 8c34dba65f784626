"""Where waiting jobs go: a pure function over a snapshot, simple and right; its successor keeps the seam.

Steps, in order, for each job as it waits: sites the charter allows; of them those that could ever hold it; of them
those that answer; of them those with room now; of them the cheapest, then by name. One reason per job left over,
the first step that left nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec


class Reason(enum.StrEnum):
    """Why a job waits; the first that applies."""

    PLACED = "Placed"
    CHARTER_FORBIDS = "CharterForbids"
    NO_SUCH_SHAPE = "NoSuchShape"
    BUDGET_OR_DEADLINE = "BudgetOrDeadline"
    SITE_UNAVAILABLE = "SiteUnavailable"
    WAITING_CAPACITY = "WaitingCapacity"


class Need(msgspec.Struct, frozen=True):
    """What one node of a job takes. `seconds` is its time limit, `yen_max` its budget (0: none)."""

    cpus: int
    memory_bytes: int
    gpus: int = 0
    gpu_type: str = ""
    seconds: int = 3600
    yen_max: int = 0
    deadline_ms: int = 0


class Room(msgspec.Struct, frozen=True):
    """What a site has in all or has free. GPUs by type."""

    cpus: int
    memory_bytes: int
    gpus: Mapping[str, int] = {}

    def holds(self, need: Need) -> bool:
        """Whether one node of this need fits."""
        gpus = self.gpus.get(need.gpu_type, 0)
        return self.cpus >= need.cpus and self.memory_bytes >= need.memory_bytes and gpus >= need.gpus

    def less(self, need: Need) -> Room:
        """What is left once this need is taken."""
        gpus = dict(self.gpus)
        if need.gpus:
            gpus[need.gpu_type] = gpus.get(need.gpu_type, 0) - need.gpus
        return Room(self.cpus - need.cpus, self.memory_bytes - need.memory_bytes, gpus)


class Site(msgspec.Struct, frozen=True):
    """A site at the moment of the round. Prices in whole yen an hour."""

    id: str
    name: str
    total: Room
    free: Room
    answers: bool
    yen_per_hour: int
    gpu_yen_per_hour: Mapping[str, int] = {}

    def yen(self, need: Need) -> int:
        """What the whole time limit costs here, rounded up."""
        hourly = self.yen_per_hour * need.cpus + self.gpu_yen_per_hour.get(need.gpu_type, 0) * need.gpus
        return -(-hourly * need.seconds // 3600)


class Waiting(msgspec.Struct, frozen=True):
    """A job in the queue, with the sites that the charter allows it."""

    job: str
    need: Need
    allowed: frozenset[str]


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a round may look at; jobs in the order they wait."""

    now_ms: int
    jobs: tuple[Waiting, ...]
    sites: tuple[Site, ...]


class Choice(msgspec.Struct, frozen=True):
    """What a round decided for one job; `site` is empty unless placed."""

    job: str
    reason: Reason
    site: str = ""


def choose(snapshot: Snapshot) -> tuple[Choice, ...]:
    """One choice per waiting job; never more on a site than is free there."""
    free = {site.id: site.free for site in snapshot.sites}
    choices = []
    for waiting in snapshot.jobs:
        choice = _choose_one(waiting, snapshot, free)
        if choice.site:
            free[choice.site] = free[choice.site].less(waiting.need)
        choices.append(choice)
    return tuple(choices)


def _choose_one(waiting: Waiting, snapshot: Snapshot, free: Mapping[str, Room]) -> Choice:
    need = waiting.need
    sites = [site for site in snapshot.sites if site.id in waiting.allowed]
    if not sites:
        return Choice(waiting.job, Reason.CHARTER_FORBIDS)
    sites = [site for site in sites if site.total.holds(need)]
    if not sites:
        return Choice(waiting.job, Reason.NO_SUCH_SHAPE)
    late = 0 < need.deadline_ms < snapshot.now_ms + need.seconds * 1000
    sites = [site for site in sites if not late and not 0 < need.yen_max < site.yen(need)]
    if not sites:
        return Choice(waiting.job, Reason.BUDGET_OR_DEADLINE)
    sites = [site for site in sites if site.answers]
    if not sites:
        return Choice(waiting.job, Reason.SITE_UNAVAILABLE)
    sites = [site for site in sites if free[site.id].holds(need)]
    if not sites:
        return Choice(waiting.job, Reason.WAITING_CAPACITY)
    best = min(sites, key=lambda site: (site.yen(need), site.name))
    return Choice(waiting.job, Reason.PLACED, best.id)
