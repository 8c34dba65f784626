"""Where waiting jobs go: a pure function over a snapshot, simple and right; its successor keeps the seam.

Steps, in order, for each job as it waits: sites the charter allows; of them those that could ever hold it; of them
those that answer; of them those with room now; of them the cheapest, then by name. A member of an array that has as
many under way as it allows itself waits before it looks for room. One reason per job left over, the first step that
left nothing.
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
    ARRAY_LIMIT = "ArrayLimit"
    WAITING_CAPACITY = "WaitingCapacity"


class Need(msgspec.Struct, frozen=True):
    """What one of a job's `nodes` takes. `seconds` is its time limit, `yen_max` its whole budget (0: none).

    `asked`: whether somebody inside the wall has to ask it now and then whether it is well.
    """

    cpus: int
    memory_bytes: int
    gpus: int = 0
    gpu_type: str = ""
    seconds: int = 3600
    yen_max: int = 0
    deadline_ms: int = 0
    nodes: int = 1
    asked: bool = False


class Room(msgspec.Struct, frozen=True):
    """What a site has in all or has free. GPUs by type."""

    cpus: int
    memory_bytes: int
    gpus: Mapping[str, int] = {}

    def holds(self, need: Need) -> bool:
        """Whether all nodes of this need fit."""
        count = need.nodes
        return (
            self.cpus >= need.cpus * count
            and self.memory_bytes >= need.memory_bytes * count
            and self.gpus.get(need.gpu_type, 0) >= need.gpus * count
        )

    def less(self, need: Need) -> Room:
        """What is left once this need is taken."""
        gpus, count = dict(self.gpus), need.nodes
        if need.gpus:
            gpus[need.gpu_type] = gpus.get(need.gpu_type, 0) - need.gpus * count
        return Room(self.cpus - need.cpus * count, self.memory_bytes - need.memory_bytes * count, gpus)


class Site(msgspec.Struct, frozen=True):
    """A site at the moment of the round. Prices in whole yen an hour; `nodes` is the largest gang it starts.

    `asks`: whether a payload is asked there whether it is well.
    """

    id: str
    name: str
    total: Room
    free: Room
    answers: bool
    yen_per_hour: int
    gpu_yen_per_hour: Mapping[str, int] = {}
    nodes: int = 1
    asks: bool = True

    def could_hold(self, need: Need) -> bool:
        """Whether the need fits while nothing else runs here."""
        return self.nodes >= need.nodes and self.total.holds(need) and (self.asks or not need.asked)

    def yen(self, need: Need) -> int:
        """What the whole time limit costs here on all nodes, rounded up."""
        hourly = self.yen_per_hour * need.cpus + self.gpu_yen_per_hour.get(need.gpu_type, 0) * need.gpus
        return -(-hourly * need.nodes * need.seconds // 3600)


class Waiting(msgspec.Struct, frozen=True):
    """A job in the queue, with the sites that the charter allows it.

    A member of an array names it, and how many of its members may be under way at once.
    """

    job: str
    need: Need
    allowed: frozenset[str]
    array: str = ""
    parallel: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """Everything a round may look at; jobs in the order they wait. `under_way` counts members by array."""

    now_ms: int
    jobs: tuple[Waiting, ...]
    sites: tuple[Site, ...]
    under_way: Mapping[str, int] = {}


class Choice(msgspec.Struct, frozen=True):
    """What a round decided for one job; `site` is empty unless placed."""

    job: str
    reason: Reason
    site: str = ""


def choose(snapshot: Snapshot) -> tuple[Choice, ...]:
    """One choice per waiting job; never more on a site than is free there, nor of an array than it allows itself."""
    free = {site.id: site.free for site in snapshot.sites}
    under_way = dict(snapshot.under_way)
    choices = []
    for waiting in snapshot.jobs:
        full = bool(waiting.array) and under_way.get(waiting.array, 0) >= waiting.parallel
        choice = _choose_one(waiting, snapshot, free, full=full)
        if choice.site:
            free[choice.site] = free[choice.site].less(waiting.need)
            under_way[waiting.array] = under_way.get(waiting.array, 0) + 1
        choices.append(choice)
    return tuple(choices)


def _choose_one(waiting: Waiting, snapshot: Snapshot, free: Mapping[str, Room], *, full: bool) -> Choice:
    need = waiting.need
    sites = [site for site in snapshot.sites if site.id in waiting.allowed]
    if not sites:
        return Choice(waiting.job, Reason.CHARTER_FORBIDS)
    sites = [site for site in sites if site.could_hold(need)]
    if not sites:
        return Choice(waiting.job, Reason.NO_SUCH_SHAPE)
    late = 0 < need.deadline_ms < snapshot.now_ms + need.seconds * 1000
    sites = [site for site in sites if not late and not 0 < need.yen_max < site.yen(need)]
    if not sites:
        return Choice(waiting.job, Reason.BUDGET_OR_DEADLINE)
    sites = [site for site in sites if site.answers]
    if not sites:
        return Choice(waiting.job, Reason.SITE_UNAVAILABLE)
    if full:
        return Choice(waiting.job, Reason.ARRAY_LIMIT)
    sites = [site for site in sites if free[site.id].holds(need)]
    if not sites:
        return Choice(waiting.job, Reason.WAITING_CAPACITY)
    best = min(sites, key=lambda site: (site.yen(need), site.name))
    return Choice(waiting.job, Reason.PLACED, best.id)
