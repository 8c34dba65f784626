"""The floor, breakpoints, and wishes that only take away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.charter import rules
from sekisho.charter.rules import Candidate, Wishes, breakpoints, interval, narrow, under_floor
from sekisho.kernel.facts import Moment, Ref, Value
from tests.charter import yard

SITE = Ref("Site", "s")
TEXTS = st.frozensets(st.sampled_from(["JP", "KR", "DE"]), max_size=3)


def found(country: Value | None) -> dict[str, Value]:
    del country
    return {"site": SITE}


@pytest.mark.parametrize(
    ("resource", "context", "country", "under"),
    [
        ({"level": 2, "residency": frozenset({"JP"})}, {"site": SITE}, "JP", False),
        ({"level": 2, "residency": frozenset({"JP"})}, {"site": SITE}, "KR", True),
        ({"level": 1, "residency": frozenset({"JP"})}, {"site": SITE}, "KR", False),
        ({"level": 5, "residency": frozenset({"any"})}, {"site": SITE}, "KR", False),
        ({"level": 2, "residency": frozenset({"any"})}, {"site": SITE}, "", False),
        ({"level": 2, "residency": frozenset()}, {"site": SITE}, "JP", True),
        ({"level": 2, "residency": frozenset({""})}, {"site": SITE}, "", True),
        ({"level": 2, "residency": frozenset({"JP"})}, {"site": SITE}, None, True),
        ({"level": 2, "residency": "JP"}, {"site": SITE}, "JP", True),
        ({"level": "0", "residency": frozenset({"JP"})}, {"site": SITE}, "KR", True),
        ({"level": 2, "residency": frozenset({"JP"})}, {}, "KR", False),
        ({"level": 2}, {"site": SITE}, "KR", False),
        ({"level": 2, "residency": frozenset({"JP"})}, {"destination": "KR"}, None, True),
        ({"level": 2, "residency": frozenset({"JP"})}, {"destination": 3}, None, True),
        ({"level": 2, "residency": frozenset({"JP"})}, {"destination": "JP"}, None, False),
        ({"level": 2, "residency": frozenset({"JP", "KR"})}, {"site": SITE, "destination": "KR"}, "DE", True),
        ({"level": 0}, {"site": SITE, "level": 2, "residency": frozenset({"JP"})}, "KR", True),
        ({"level": 2}, {"site": SITE, "level": 0, "residency": frozenset({"JP"})}, "KR", True),
        ({"level": 1}, {"site": SITE, "level": 1, "residency": frozenset({"JP"})}, "KR", False),
    ],
)
def test_the_floor(
    resource: dict[str, Value], context: dict[str, Value], country: str | None, under: bool
) -> None:
    assert under_floor(resource, context, lambda _site: country) is under


@given(
    st.lists(st.integers(0, 99), max_size=5), st.lists(st.integers(-9, 9), max_size=4), st.integers(-20, 120)
)
def test_an_interval_is_the_stretch_between_two_breakpoints(
    moments: list[int], offsets: list[int], now: int
) -> None:
    points = breakpoints(moments, offsets, ())
    assert list(points) == sorted({moment + offset for moment in moments for offset in offsets})
    index, on = interval(points, now)
    assert on == (now in points)
    assert all(point < now for point in points[:index])
    assert all(point >= now for point in points[index:])
    for other in range(-20, 121):
        same = interval(points, other) == (index, on)
        between = [p for p in points if min(now, other) <= p <= max(now, other)]
        assert same == (now == other or not between)


def test_the_word_any_and_the_level_are_the_vocabulary_s() -> None:
    assert rules.FLOOR_LEVEL == 2
    assert Moment(1) < Moment(2)


SITES = [one for one in yard.SLOW if one.ref.type == "Site"]
ORGS = {one.ref: one for one in yard.SLOW if one.ref.type == "Org"}
CANDIDATES = [
    Candidate(site, ORGS[site.attributes["operator"]], egress)  # type: ignore[index] - an operator is a reference
    for site in SITES
    for egress in ("none",)
]
WISHES = st.builds(
    Wishes,
    countries=TEXTS,
    jurisdictions=st.frozensets(st.sampled_from(["JP", "US", "KR"]), max_size=3),
    operators=st.frozensets(st.sampled_from(["telco-ai", "north-gpu"]), max_size=2),
    egress=st.frozensets(st.sampled_from(["none", "open"]), max_size=2),
)


@given(st.lists(WISHES, max_size=3), WISHES)
def test_a_wish_only_takes_away(wishes: list[Wishes], more: Wishes) -> None:
    before, after = narrow(CANDIDATES, *wishes), narrow(CANDIDATES, *wishes, more)
    assert before.keys() == after.keys() == {one.site.ref for one in CANDIDATES}
    assert all(set(before[site]) <= set(after[site]) for site in before)
    assert narrow(CANDIDATES, *wishes, Wishes()) == before
    assert narrow(CANDIDATES, *reversed(wishes)) == before


def test_what_a_wish_asks_for() -> None:
    kept = {
        site.id
        for site, unmet in narrow(
            CANDIDATES, Wishes(jurisdictions=frozenset({"JP"})), Wishes(countries=frozenset({"JP"}))
        ).items()
        if not unmet
    }
    assert "ishikari-1" in kept
    assert "tokyo-us" not in kept, "its parent is under another jurisdiction"
    assert "seoul-1" not in kept
    unmet = narrow(CANDIDATES, Wishes(operators=frozenset({"telco-ai"}), egress=frozenset({"open"})))
    assert unmet[Ref("Site", "ishikari-1")] == ("egress", "operators")
