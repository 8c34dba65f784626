"""Placement is a pure function: what holds for every snapshot, and the order of its steps."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.compute.placement import Choice, Need, Reason, Room, Site, Snapshot, Waiting, choose

NOW_MS = 1_795_000_000_000
TYPES = ["", "B200", "H100"]
IDS = [f"site_{letter}" for letter in "abcde"]

needs = st.builds(
    Need,
    cpus=st.integers(1, 4),
    memory_bytes=st.integers(1, 4),
    gpus=st.integers(0, 3),
    gpu_type=st.sampled_from(TYPES),
    seconds=st.integers(1, 7200),
    yen_max=st.integers(0, 40),
    deadline_ms=st.sampled_from([0, NOW_MS - 1, NOW_MS + 3_600_000, NOW_MS + 10**8]),
    nodes=st.integers(1, 3),
)
rooms = st.builds(
    Room,
    cpus=st.integers(0, 8),
    memory_bytes=st.integers(0, 8),
    gpus=st.dictionaries(st.sampled_from(TYPES[1:]), st.integers(0, 4)),
)


@st.composite
def site_lists(draw: st.DrawFn) -> tuple[Site, ...]:
    sites = []
    for name in draw(st.lists(st.sampled_from(IDS), unique=True, max_size=5)):
        total = draw(rooms)
        free = Room(
            draw(st.integers(0, total.cpus)),
            draw(st.integers(0, total.memory_bytes)),
            {kind: draw(st.integers(0, count)) for kind, count in total.gpus.items()},
        )
        sites.append(
            Site(
                id=name,
                name=name[-1],
                total=total,
                free=free,
                answers=draw(st.booleans()),
                yen_per_hour=draw(st.integers(0, 5)),
                gpu_yen_per_hour={kind: draw(st.integers(0, 9)) for kind in total.gpus},
                nodes=draw(st.integers(1, 3)),
            )
        )
    return tuple(sites)


ARRAYS = {"": 0, "job_x": 1, "job_y": 2}
"""How many members may be under way; the empty one stands for jobs of no array."""
job_lists = st.lists(
    st.tuples(needs, st.frozensets(st.sampled_from(IDS)), st.sampled_from(sorted(ARRAYS))), max_size=6
).map(
    lambda items: tuple(
        Waiting(f"job_{n}", need, allowed, array, ARRAYS[array])
        for n, (need, allowed, array) in enumerate(items)
    )
)
snapshots = st.builds(
    Snapshot,
    now_ms=st.just(NOW_MS),
    jobs=job_lists,
    sites=site_lists(),
    under_way=st.dictionaries(st.sampled_from(sorted(ARRAYS)), st.integers(0, 2)),
)


def fits(waiting: Waiting, site: Site, free: Room, now_ms: int) -> bool:
    """Whether a job may and can run at a site now, said again in one breath."""
    need = waiting.need
    return (
        site.id in waiting.allowed
        and site.answers
        and free.holds(need)
        and site.could_hold(need)
        and (not need.yen_max or site.yen(need) <= need.yen_max)
        and (not need.deadline_ms or now_ms + need.seconds * 1000 <= need.deadline_ms)
    )


@given(snapshots)
def test_one_choice_for_each_job_in_their_order(snapshot: Snapshot) -> None:
    choices = choose(snapshot)
    assert [choice.job for choice in choices] == [waiting.job for waiting in snapshot.jobs]
    assert all(bool(choice.site) == (choice.reason is Reason.PLACED) for choice in choices)


@given(snapshots)
def test_no_site_is_given_more_than_is_free_there(snapshot: Snapshot) -> None:
    needed = {waiting.job: waiting.need for waiting in snapshot.jobs}
    for site in snapshot.sites:
        there = [needed[choice.job] for choice in choose(snapshot) if choice.site == site.id]
        assert sum(need.cpus * need.nodes for need in there) <= site.free.cpus
        assert sum(need.memory_bytes * need.nodes for need in there) <= site.free.memory_bytes
        for kind in TYPES:
            wanted = sum(need.gpus * need.nodes for need in there if need.gpu_type == kind)
            assert wanted <= site.free.gpus.get(kind, 0)


@given(snapshots)
def test_no_job_goes_where_it_may_not_or_cannot(snapshot: Snapshot) -> None:
    sites = {site.id: site for site in snapshot.sites}
    for waiting, choice in zip(snapshot.jobs, choose(snapshot), strict=True):
        if choice.site:
            assert fits(waiting, sites[choice.site], sites[choice.site].free, snapshot.now_ms)


@given(snapshots)
def test_no_array_has_more_under_way_than_it_allows_itself(snapshot: Snapshot) -> None:
    array_of = {waiting.job: waiting.array for waiting in snapshot.jobs}
    for array, parallel in ARRAYS.items():
        placed = sum(1 for choice in choose(snapshot) if choice.site and array_of[choice.job] == array)
        before = snapshot.under_way.get(array, 0)
        assert not array or placed <= max(0, parallel - before)


@given(snapshots)
def test_each_job_in_its_turn_gets_the_cheapest_site_that_fits(snapshot: Snapshot) -> None:
    free = {site.id: site.free for site in snapshot.sites}
    under_way = Counter(snapshot.under_way)
    for waiting, choice in zip(snapshot.jobs, choose(snapshot), strict=True):
        held_back = bool(waiting.array) and under_way[waiting.array] >= waiting.parallel
        able = [
            site
            for site in snapshot.sites
            if not held_back and fits(waiting, site, free[site.id], snapshot.now_ms)
        ]
        best = min(able, key=lambda site: (site.yen(waiting.need), site.name), default=None)
        assert choice.site == (best.id if best else "")
        if best:
            free[best.id] = free[best.id].less(waiting.need)
            under_way[waiting.array] += 1


@given(snapshots, st.randoms())
def test_the_same_snapshot_gives_the_same_answer_in_whatever_order_sites_come(
    snapshot: Snapshot, chance: random.Random
) -> None:
    sites = list(snapshot.sites)
    chance.shuffle(sites)
    assert choose(msgspec.structs.replace(snapshot, sites=tuple(sites))) == choose(snapshot)
    assert choose(snapshot) == choose(snapshot)


@given(snapshots)
def test_a_job_behind_changes_nothing_for_those_before_it(snapshot: Snapshot) -> None:
    whole = choose(snapshot)
    for length in range(len(snapshot.jobs)):
        assert choose(msgspec.structs.replace(snapshot, jobs=snapshot.jobs[:length])) == whole[:length]


@given(snapshots, st.data())
def test_one_more_site_never_unplaces_the_head_of_the_queue(snapshot: Snapshot, draw: st.DataObject) -> None:
    """For jobs further back it may: a site added before them can move a larger job into what they had."""
    if not snapshot.sites or not snapshot.jobs:
        return
    left_out = draw.draw(st.sampled_from(snapshot.sites))
    fewer = tuple(site for site in snapshot.sites if site is not left_out)
    before = choose(msgspec.structs.replace(snapshot, sites=fewer))[0]
    after = choose(snapshot)[0]
    if before.site:
        assert after.site in {before.site, left_out.id}


def site(name: str = "a", **changes: Any) -> Site:
    values: dict[str, Any] = {
        "id": f"site_{name}",
        "name": name,
        "total": Room(8, 8, {"H100": 2}),
        "free": Room(8, 8, {"H100": 2}),
        "answers": True,
        "yen_per_hour": 10,
        "gpu_yen_per_hour": {"H100": 500},
    }
    return msgspec.convert(values | changes, Site, from_attributes=True)


def one(need: Need, *sites: Site, allowed: frozenset[str] | None = None) -> Choice:
    names = frozenset(item.id for item in sites) if allowed is None else allowed
    return choose(Snapshot(NOW_MS, (Waiting("job", need, names),), sites))[0]


SMALL = Need(cpus=1, memory_bytes=1)
FULL = Room(0, 0)
CAUSES: list[tuple[Reason, dict[str, Any], dict[str, Any]]] = [
    (Reason.NO_SUCH_SHAPE, {"total": Room(0, 8)}, {}),
    (Reason.BUDGET_OR_DEADLINE, {}, {"yen_max": 9}),
    (Reason.SITE_UNAVAILABLE, {"answers": False}, {}),
    (Reason.WAITING_CAPACITY, {"free": FULL}, {}),
]
"""Each cause alone, in the order in which they are looked at; the charter comes before all of them."""


@pytest.mark.parametrize("first", range(len(CAUSES)), ids=[cause[0].value for cause in CAUSES])
def test_the_first_step_that_leaves_nothing_is_the_reason(first: int) -> None:
    for last in range(first, len(CAUSES)):
        at_site: dict[str, Any] = {}
        in_need: dict[str, Any] = {}
        for _, of_site, of_need in CAUSES[first : last + 1]:
            at_site |= of_site
            in_need |= of_need
        need = msgspec.structs.replace(SMALL, **in_need)
        assert one(need, site(**at_site)) == Choice("job", CAUSES[first][0])
        assert one(need, site(**at_site), allowed=frozenset()) == Choice("job", Reason.CHARTER_FORBIDS)


def test_a_forbidden_site_is_no_reason_to_wait_for_room() -> None:
    small, large = site("small", total=Room(1, 1), free=Room(1, 1)), site("large", free=FULL)
    need = Need(cpus=4, memory_bytes=4)
    assert one(need, small, large, allowed=frozenset({small.id})).reason is Reason.NO_SUCH_SHAPE
    assert one(need, small, large).reason is Reason.WAITING_CAPACITY


def test_no_sites_at_all_is_the_charters_no() -> None:
    assert one(SMALL).reason is Reason.CHARTER_FORBIDS


@pytest.mark.parametrize(
    ("deadline_ms", "placed"),
    [(0, True), (NOW_MS + 3_600_000, True), (NOW_MS + 3_599_999, False), (NOW_MS - 1, False)],
)
def test_a_deadline_counts_the_whole_time_limit(deadline_ms: int, *, placed: bool) -> None:
    need = msgspec.structs.replace(SMALL, deadline_ms=deadline_ms)
    assert bool(one(need, site()).site) is placed


@pytest.mark.parametrize(("yen_max", "placed"), [(0, True), (10, True), (9, False)])
def test_a_budget_holds_to_the_yen(yen_max: int, *, placed: bool) -> None:
    need = msgspec.structs.replace(SMALL, yen_max=yen_max)
    assert bool(one(need, site()).site) is placed


@pytest.mark.parametrize(("seconds", "yen"), [(1, 1), (3600, 1020), (3601, 1021), (7200, 2040)])
def test_a_price_is_rounded_up(seconds: int, yen: int) -> None:
    need = Need(cpus=2, memory_bytes=1, gpus=2, gpu_type="H100", seconds=seconds)
    assert site().yen(need) == yen


def test_a_gang_takes_all_its_nodes_or_none() -> None:
    need = Need(cpus=2, memory_bytes=1, gpus=1, gpu_type="H100", nodes=2)
    assert one(need, site(nodes=2)).site == "site_a"
    assert site().yen(need) == 2 * site().yen(msgspec.structs.replace(need, nodes=1))
    assert one(need, site(nodes=1)).reason is Reason.NO_SUCH_SHAPE
    assert one(msgspec.structs.replace(need, nodes=3), site(nodes=4)).reason is Reason.NO_SUCH_SHAPE
    half = site(nodes=2, free=Room(8, 8, {"H100": 1}))
    assert one(need, half).reason is Reason.WAITING_CAPACITY


def test_an_array_at_its_limit_waits_for_itself_before_it_waits_for_room() -> None:
    waiting = Waiting("job", SMALL, frozenset({"site_a"}), "job_x", 2)
    for under_way, reason in ((1, Reason.PLACED), (2, Reason.ARRAY_LIMIT)):
        snapshot = Snapshot(NOW_MS, (waiting,), (site(),), {"job_x": under_way})
        assert choose(snapshot)[0].reason is reason
    full = Snapshot(NOW_MS, (waiting,), (site(free=FULL),), {"job_x": 2})
    assert choose(full)[0].reason is Reason.ARRAY_LIMIT


def test_equal_prices_go_by_name() -> None:
    assert one(SMALL, site("b"), site("a"), site("c", yen_per_hour=11)).site == "site_a"


def test_a_gpu_of_another_type_is_no_gpu() -> None:
    assert one(Need(cpus=1, memory_bytes=1, gpus=1, gpu_type="B200"), site()).reason is Reason.NO_SUCH_SHAPE
    assert one(Need(cpus=1, memory_bytes=1, gpus=0, gpu_type="B200"), site()).site == "site_a"
