"""The verdict on the real map: what light allows in four cities.

The map is fetched with npm as scripts/territory.py does it, and kept in build/.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from scripts import territory as builder
from sekisho_verify.location import COUNTS, KM_PER_NS, Claim, judge
from sekisho_verify.location_territory import Territory, parse_territory
from tests.support import tree
from tests.verify.japan import CITIES, DOMESTIC, LIMITS_MS, composed, landmarks, whole_map
from tests.verify.japan import japan as whole_japan
from tests.verify.places import case, degrees, public_of

NEIGHBOURS = frozenset({"Japan", "South Korea", "Russia"})


@pytest.fixture(scope="module")
def near_map() -> dict[str, Any]:
    """A tenth of the map, for what has nothing to do with the rest."""
    whole = whole_map()
    geometries = [
        each
        for each in whole["objects"]["countries"]["geometries"]
        if each["properties"]["name"] in NEIGHBOURS
    ]
    return whole | {"objects": {"countries": {"geometries": geometries}}}


@pytest.fixture(scope="module")
def japan() -> Territory:
    return whole_japan()


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


def test_a_landmark_by_itself_is_not_enough_on_any_map(japan: Territory) -> None:
    held = landmarks("Tokyo", 500_000)[:1]
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
