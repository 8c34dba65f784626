"""The verdict on the real map: what light allows in four cities, and ten thousand relays that it does not.

The map is fetched with npm as scripts/territory.py does it, and kept in build/.
"""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from scripts import territory as builder
from sekisho_verify.location import COUNTS, KM_PER_NS, Claim, Policy, bound_km, judge
from sekisho_verify.location_territory import Territory, parse_territory
from tests.support import components, tree
from tests.verify.places import ROUNDS, Held, case, degrees, public_of

CITIES = {
    "Tokyo": degrees(35.6812, 139.7671),
    "Osaka": degrees(34.6937, 135.5023),
    "Ishikari": degrees(43.1714, 141.3154),
    "Fukuoka": degrees(33.5902, 130.4017),
}
LIMITS_MS = {"Tokyo": 5.44, "Osaka": 3.44, "Ishikari": 2.07, "Fukuoka": 1.35}
"""The RTT at which a disc of c reaches the nearest foreign coast; ours is a little less, for the map and the Earth."""
ROUNDS_PER_CITY = 10_000
DOMESTIC = dict.fromkeys(("takeshima", "senkaku", "northern-territories"), "home")


NEIGHBOURS = frozenset({"Japan", "South Korea", "Russia"})


@pytest.fixture(scope="module")
def whole_map() -> dict[str, Any]:
    try:
        return builder.read_map(builder.archive())
    except builder.TerritoryInputError as error:
        components.missing("the map", str(error))
        raise


@pytest.fixture(scope="module")
def near_map(whole_map: dict[str, Any]) -> dict[str, Any]:
    """A tenth of the map, for what has nothing to do with the rest."""
    geometries = [
        each
        for each in whole_map["objects"]["countries"]["geometries"]
        if each["properties"]["name"] in NEIGHBOURS
    ]
    return whole_map | {"objects": {"countries": {"geometries": geometries}}}


@pytest.fixture(scope="module")
def japan(whole_map: dict[str, Any]) -> Territory:
    return parse_territory(composed(whole_map))


def composed(document: dict[str, Any], **decisions: str) -> bytes:
    decided = {code.replace("_", "-"): counts for code, counts in decisions.items()}
    return builder.compose(document, home={"JP": "Japan"}, version="test", decisions=DOMESTIC | decided)


@pytest.mark.parametrize("city", CITIES)
def test_the_limits_are_those_of_the_geography(japan: Territory, city: str) -> None:
    limit_ms = japan.nearest_foreign(CITIES[city]).distance_km / KM_PER_NS / 1e6
    assert LIMITS_MS[city] * 0.985 < limit_ms <= LIMITS_MS[city]
    assert japan.nearest_home(CITIES[city]).distance_km == 0


@pytest.mark.parametrize(
    ("city", "nearest"),
    [("Tokyo", "South Korea"), ("Osaka", "South Korea"), ("Ishikari", "Russia"), ("Fukuoka", "South Korea")],
)
def test_who_is_near(japan: Territory, city: str, nearest: str) -> None:
    assert japan.nearest_foreign(CITIES[city]).area == nearest


def test_the_paper_has_the_figures_of_the_map(japan: Territory) -> None:
    text = (tree.ROOT / "docs" / "explanation" / "location.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (South Korea|Russia) \| (\d+) km \| ([\d.]+) ms \|$", text, re.MULTILINE)
    assert [row[0] for row in rows] == list(CITIES)
    for city, area, distance_km, rtt_ms in rows:
        nearest = japan.nearest_foreign(CITIES[city])
        assert (area, int(distance_km)) == (nearest.area, int(nearest.distance_km))
        assert float(rtt_ms) == math.floor(nearest.distance_km / KM_PER_NS / 1e4) / 100


def test_abroad_is_abroad(japan: Territory) -> None:
    for place in (degrees(37.55, 126.99), degrees(25.03, 121.56), degrees(55.75, 37.6), degrees(-85, 0)):
        assert japan.nearest_foreign(place).distance_km == 0
        assert japan.nearest_home(place).distance_km > 0


def test_disputed_land_is_what_the_decisions_say(near_map: dict[str, Any]) -> None:
    japan = parse_territory(composed(near_map))
    nemuro = degrees(43.33, 145.583)
    assert japan.nearest_foreign(nemuro).distance_km > 200
    foreign = parse_territory(composed(near_map, northern_territories="foreign", takeshima="foreign"))
    assert foreign.nearest_foreign(nemuro).area == "northern-territories"
    assert foreign.nearest_foreign(nemuro).distance_km < 40
    assert foreign.nearest_foreign(CITIES["Osaka"]).area == "takeshima"
    assert foreign.digest != japan.digest


def _landmarks(city: str, rtt_ns: int) -> list[Held]:
    organisations = {"exchange": "exchange", "university": "university", "carrier": "carrier"}
    return [
        Held(landmark=name, organisation=whose, place=CITIES[city], rtt_ns=rtt_ns)
        for name, whose in organisations.items()
    ]


def _accepted(japan: Territory, city: str, rtt_ns: int) -> bool:
    held = _landmarks(city, rtt_ns)
    question = case(
        [each.known() for each in held],
        territory=japan,
        claim=Claim("site_1", public_of("agent"), CITIES[city]),
        policy=Policy(liars_max=1, rounds_min=ROUNDS),
    )
    return judge([each.write() for each in held], question).accepted


def test_the_verdict_uses_light_in_vacuum_and_not_in_glass(japan: Territory) -> None:
    """T3. 1.7 ms at Fukuoka: two thirds of c would say 170 km and accept; c says 255 km, and Korea is 202 km away."""
    assert bound_km(1_700_000) * 2 / 3 < japan.nearest_foreign(CITIES["Fukuoka"]).distance_km < 255
    assert bound_km(1_700_000) == pytest.approx(255, abs=0.5)
    assert not _accepted(japan, "Fukuoka", 1_700_000)
    assert _accepted(japan, "Fukuoka", 1_000_000)


def test_three_milliseconds_cannot_leave_japan_from_tokyo_and_can_from_fukuoka(japan: Territory) -> None:
    """T2's figures: the same added path is no matter in one city and the end in another."""
    assert _accepted(japan, "Tokyo", 3_300_000)
    assert not _accepted(japan, "Fukuoka", 3_300_000)


@pytest.mark.parametrize("city", CITIES)
def test_no_relay_passes_however_fast_its_line(japan: Territory, city: str) -> None:
    """T4. The key is on the nearest foreign coast, over a line at the speed of light, on top of any base delay.

    The line is the shortest this map allows. Ten thousand by the arithmetic of `judge`, each thousandth by itself.
    """
    chance = random.Random(city)
    nearest = japan.nearest_foreign(CITIES[city]).distance_km
    foreign_ns = min(math.ceil(nearest / KM_PER_NS), round(LIMITS_MS[city] * 1e6))
    passed = honest = 0
    for number in range(ROUNDS_PER_CITY):
        base_ns = int(min(chance.expovariate(1 / 200_000) for _ in range(10)))
        passed += bound_km(foreign_ns + base_ns) < nearest
        near_ns = 160_000 + 300_000 + int(min(chance.expovariate(1 / 300_000) for _ in range(20)))
        honest += bound_km(near_ns) < nearest
        if not number % 1000:
            assert not _accepted(japan, city, foreign_ns + base_ns)
            assert _accepted(japan, city, near_ns) == (bound_km(near_ns) < nearest)
    assert (passed, honest) == (0, ROUNDS_PER_CITY)
    assert not _accepted(japan, city, foreign_ns)


def test_a_landmark_by_itself_is_not_enough_on_any_map(japan: Territory) -> None:
    held = _landmarks("Tokyo", 500_000)[:1]
    question = case(
        [each.known() for each in held],
        territory=japan,
        claim=Claim("site_1", public_of("agent"), CITIES["Tokyo"]),
    )
    verdict = judge([each.write() for each in held], question)
    assert [finding.state for finding in verdict.findings] == [COUNTS]
    assert not verdict.accepted


def test_the_builder_leaves_nothing_undecided_and_believes_only_the_right_bytes(tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "transform": {"scale": [1, 1], "translate": [0, 0]},
        "arcs": [],
        "objects": {"countries": {"geometries": []}},
    }
    with pytest.raises(builder.TerritoryInputError, match="decide exactly"):
        builder.build(document, home={"JP": "Japan"}, version="1", decisions={"takeshima": "home"})
    with pytest.raises(builder.TerritoryInputError, match="no area of the name"):
        builder.build(document, home={"JP": "Japan"}, version="1", decisions=DOMESTIC)
    (tmp_path / "world-atlas-2.0.2.tgz").write_bytes(b"something else")
    with pytest.raises(builder.TerritoryInputError, match="digest"):
        builder.archive(tmp_path)


def test_land_that_the_grid_has_lost_is_still_land() -> None:
    """An island drawn as one point, and one as a line, on a map of whole degrees."""
    document = {
        "transform": {"scale": [1, 1], "translate": [0, 0]},
        "arcs": [
            [[10, 10], [2, 0], [0, 2], [-2, 0], [0, -2]],
            [[20, 20], [0, 0], [0, 0], [0, 0]],
            [[30, 30], [1, 0], [-1, 0], [0, 0]],
            [[10, 40], [0, 2], [2, 0], [0, -2], [-2, 0]],
        ],
        "objects": {
            "countries": {
                "geometries": [
                    {"type": "Polygon", "arcs": [[0]], "properties": {"name": "Japan"}},
                    {
                        "type": "MultiPolygon",
                        "arcs": [[[1]], [[2]], [[3]]],
                        "properties": {"name": "Réunion"},
                    },
                ]
            }
        },
    }
    found = parse_territory(builder.build(document, home={"JP": "Japan"}, version="1", decisions=DOMESTIC))
    assert [entry.code for entry in found.areas[:2]] == ["JP", "Reunion"]
    for place in (degrees(20, 20), degrees(30, 30.5), degrees(41, 11)):
        assert found.nearest_foreign(place) == ("Reunion", 0.0)
    assert found.nearest_home(degrees(37.24, 131.87)) == ("takeshima", 0.0)


def test_the_command_writes_a_file_that_can_be_read(
    near_map: dict[str, Any],
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_near(_path: Path) -> dict[str, Any]:
        return near_map

    monkeypatch.setattr(builder, "read_map", read_near)
    arguments = ["--home", "JP=Japan", "--version", "1"]
    assert builder.main(arguments) == 1
    for code, counts in DOMESTIC.items():
        arguments += ["--decide", f"{code}={counts}"]
    capfdbinary.readouterr()
    assert builder.main(arguments) == 0
    assert parse_territory(capfdbinary.readouterr().out).version == "1"
