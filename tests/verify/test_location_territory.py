"""The territory file: what it may say, and everything it may not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import canonical
from sekisho_verify.errors import VerifyError
from sekisho_verify.location_territory import TERRITORY_BYTES_MAX, TerritoryError, parse_territory
from tests.verify.places import area, box, degrees, outcome, territory, territory_body

HOME = area("home", box(130, 30, 134, 34), status="home")
AWAY = area("away", box(124, 30, 128, 34))


def _refused(body: dict[str, Any]) -> str:
    with pytest.raises(TerritoryError) as caught:
        parse_territory(canonical.encode(body))
    return caught.value.code


def test_what_it_says() -> None:
    found = territory()
    assert (found.name, found.version, found.tolerance_km) == ("two islands", "1", 0.0)
    assert [entry.code for entry in found.disputed] == ["rock"]
    assert found.digest == canonical.digest(canonical.encode(territory_body()))


def test_a_place_on_foreign_land_is_no_way_from_it() -> None:
    assert territory().nearest_foreign(degrees(32, 126)) == ("away", 0.0)
    assert territory().nearest_home(degrees(32, 132)) == ("home", 0.0)
    assert territory().nearest_home(degrees(35.05, 131.05)) == ("rock", 0.0)


def test_the_tolerance_comes_off_every_distance() -> None:
    exact = territory().nearest_foreign(degrees(32, 132)).distance_km
    rough = territory(tolerance_m=2500).nearest_foreign(degrees(32, 132)).distance_km
    assert exact - rough == pytest.approx(2.5)
    assert territory(tolerance_m=50_000).nearest_home(degrees(32, 134.5)).distance_km == 0


def test_land_over_the_180th_meridian_is_one_land() -> None:
    far = area("far", [round(n * 1e6) for n in (179, 0, -179, 0, -179, 2, 179, 2, 179, 0)])
    found = territory(areas=[HOME, far])
    assert found.nearest_foreign(degrees(1, 180)) == ("far", 0.0)
    assert found.nearest_foreign(degrees(1, -179.5)) == ("far", 0.0)
    assert found.nearest_foreign(degrees(1, 178)).distance_km == pytest.approx(110.6, abs=0.2)


HOLE = [round(n * 1_000_000) for n in (125, 31, 125, 33, 127, 33, 127, 31, 125, 31)]


@pytest.mark.parametrize(
    ("rings", "code"),
    [
        ([box(124, 30, 128, 34), HOLE], "territory.winding"),
        ([box(124, 30, 128, 34), box(125, 31, 127, 33)], "territory.hole"),
        ([box(124, 30, 128, 34)[::-1][1::1]], "territory.ring"),
        ([HOLE], "territory.winding"),
        ([box(124, 30, 128, 34)[:-2]], "territory.open"),
        ([box(124, 30, 128, 34)[:-1]], "territory.ring"),
        ([[0, 0, 0, 0, 0, 0, 0, 0]], "territory.edge"),
        ([[0, 0, 1, 0, 0, 0]], "territory.open"),
        ([[0, 0, 1, 0, 2, 0, 0, 0]], "territory.winding"),
        ([[0, 0, 100_000_000, 0, 50_000_000, 10, 0, 0]], "territory.edge"),
        ([[0, -50_000_000, 1, 45_000_000, 0, 46_000_000, 0, -50_000_000]], "territory.edge"),
        ([[0, 0, 181_000_000, 0, 1, 1, 0, 0]], "territory.edge"),
        ([[181_000_000, 0, 182_000_000, 0, 182_000_000, 1_000_000, 181_000_000, 0]], "territory.range"),
        ([[0, 90_000_000, 1, 89_000_000, 2, 89_000_000, 0, 90_000_000]], "territory.range"),
        ([[0.5, 0, 1, 0, 1, 1, 0.5, 0]], "canonical"),
        ([[True, 0, 1, 0, 1, 1, True, 0]], "territory.ring"),
        ([{}], "territory.ring"),
        ([], "territory.area"),
    ],
)
def test_outlines_must_be_closed_wound_right_and_without_holes(rings: list[Any], code: str) -> None:
    body = territory_body(areas=[HOME, area("away", *rings)])
    if code == "canonical":
        with pytest.raises(VerifyError):
            canonical.encode(body)
        return
    assert _refused(body) == code


def test_a_ring_around_the_north_pole_is_refused_and_one_around_the_south_pole_is_not() -> None:
    step = 30_000_000
    east = [
        n
        for turned in range(13)
        for n in ((turned * step + 180_000_000) % 360_000_000 - 180_000_000, 70_000_000)
    ]
    west = [
        n
        for turned in range(13)
        for n in ((-turned * step + 180_000_000) % 360_000_000 - 180_000_000, -70_000_000)
    ]
    assert _refused(territory_body(areas=[HOME, area("pole", east)])) == "territory.pole"
    found = territory(areas=[HOME, area("pole", west)])
    assert found.nearest_foreign(degrees(-85, 17)) == ("pole", 0.0)
    assert found.nearest_foreign(degrees(85, 17)).distance_km > 15_000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"v": 2}, "territory.version"),
        ({"v": True}, "territory.version"),
        ({"kind": "map"}, "territory.fields"),
        ({"more": 1}, "territory.fields"),
        ({"name": ""}, "territory.text"),
        ({"version": 7}, "territory.text"),
        ({"sources": "made up"}, "territory.list"),
        ({"sources": [7]}, "territory.text"),
        ({"tolerance_m": -1}, "territory.number"),
        ({"tolerance_m": 50_001}, "territory.number"),
        ({"tolerance_m": True}, "territory.number"),
        ({"home": []}, "territory.home"),
        ({"home": ["away"]}, "territory.home"),
        ({"home": ["away", "home"]}, "territory.home"),
        ({"areas": [HOME]}, "territory.no_foreign"),
        ({"areas": [HOME, AWAY, AWAY]}, "territory.area_twice"),
        ({"areas": [HOME, 7]}, "territory.area"),
        ({"areas": [HOME, AWAY | {"code": ""}]}, "territory.area"),
        ({"areas": [HOME, AWAY | {"code": 7}]}, "territory.area"),
        ({"areas": [HOME, AWAY | {"status": "friendly"}]}, "territory.area"),
        ({"areas": [HOME, AWAY | {"counts_as": "home"}]}, "territory.area"),
        ({"areas": [HOME, AWAY | {"status": "disputed"}]}, "territory.area"),
        (
            {"areas": [HOME, AWAY, AWAY | {"code": "rock", "status": "disputed", "counts_as": "both"}]},
            "territory.undecided",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], code: str) -> None:
    assert _refused(territory_body(**changes)) == code


def test_a_file_without_end_is_not_read() -> None:
    with pytest.raises(TerritoryError) as caught:
        parse_territory(b" " * (TERRITORY_BYTES_MAX + 1))
    assert caught.value.code == "territory.size"


@given(st.data())
def test_hostile_bytes_end_in_one_error(data: st.DataObject) -> None:
    good = canonical.encode(territory_body())
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + data.draw(st.integers(0, 3)) :]
    assert outcome(parse_territory, bad).partition(".")[0] in {"", "territory", "canonical"}
