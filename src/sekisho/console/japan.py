"""A sketch of Japan and where sites lie on it.

The outline is drawn by hand from the positions of capes, bays and towns, to a tenth of a degree: enough to find
one's way, useless for measuring. Mercator, 20 pixels to a degree, west edge 122 degrees east, north edge 46 north.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from sekisho.console.marks import of_site
from sekisho.sites import SiteView

WEST, NORTH, PIXELS_PER_DEGREE = 122.0, 46.0, 20.0
WIDTH = HEIGHT = 544
_MILLION = 1_000_000
_ROW_PIXELS = 52
_LABEL_X_LEFT, _LABEL_X_RIGHT = 330, 430
_EAST_OF = 1

Points = Sequence[tuple[float, float]]

HOKKAIDO: Points = (
    *((41.4, 140.1), (41.8, 140.7), (42.3, 141.0), (42.6, 141.6), (42.0, 143.2), (42.9, 144.3), (43.2, 145.5)),
    *((43.4, 145.3), (44.3, 145.3), (44.0, 144.3), (44.4, 143.3), (45.5, 142.0), (45.4, 141.7), (44.3, 141.7)),
    *((43.8, 141.4), (43.2, 141.3), (43.3, 140.4), (42.8, 140.2), (42.4, 139.9), (41.9, 140.1)),
)
HONSHU: Points = (
    *((41.5, 140.9), (41.4, 141.5), (40.5, 141.5), (39.6, 142.0), (38.3, 141.5), (38.2, 141.0), (37.0, 141.0)),
    *((36.3, 140.6), (35.7, 140.9), (34.9, 139.9), (35.6, 140.0), (35.6, 139.8), (35.1, 139.6), (35.3, 139.3)),
    *((34.6, 138.9), (35.1, 138.8), (34.6, 138.2), (34.7, 137.3), (34.6, 137.0), (35.0, 136.8), (34.3, 136.9)),
    *((33.5, 135.8), (34.3, 135.1), (34.7, 135.4), (34.7, 134.8), (34.5, 133.9), (34.3, 132.5), (33.9, 131.8)),
    *((33.9, 130.9), (34.4, 131.0), (34.9, 132.0), (35.5, 132.7), (35.5, 133.3), (35.6, 134.3), (35.8, 135.2)),
    *((35.6, 135.7), (36.2, 136.1), (36.9, 136.7), (37.5, 137.2), (36.8, 137.1), (37.0, 138.0), (37.9, 138.9)),
    *((38.8, 139.7), (39.9, 139.7), (40.6, 139.9), (41.2, 140.4), (40.9, 140.8), (41.2, 141.0)),
)
SHIKOKU: Points = (
    *((34.3, 134.1), (34.2, 134.6), (33.8, 134.7), (33.2, 134.2), (33.5, 133.6), (32.8, 133.0), (33.0, 132.5)),
    *((33.4, 132.1), (33.8, 132.7), (34.1, 133.0), (34.0, 133.6)),
)
KYUSHU: Points = (
    *((33.9, 130.9), (33.6, 131.2), (33.6, 131.7), (33.2, 131.8), (32.7, 132.0), (31.8, 131.5), (31.4, 131.3)),
    *((31.0, 130.7), (31.6, 130.7), (31.2, 130.3), (31.9, 130.2), (32.5, 130.5), (32.7, 130.3), (32.6, 129.8)),
    *((33.2, 129.6), (33.6, 130.2)),
)
OKINAWA: Points = ((26.9, 128.2), (26.6, 128.2), (26.1, 127.8), (26.1, 127.6), (26.5, 127.9), (26.7, 127.9))
SADO: Points = ((38.3, 138.5), (38.0, 138.5), (37.8, 138.3), (38.1, 138.2))
AMAMI: Points = ((28.5, 129.7), (28.2, 129.3), (28.3, 129.2))
TSUSHIMA: Points = ((34.7, 129.4), (34.2, 129.3), (34.1, 129.2), (34.5, 129.3))
YAKUSHIMA: Points = ((30.4, 130.4), (30.4, 130.7), (30.2, 130.6))
TANEGASHIMA: Points = ((30.8, 131.0), (30.4, 131.0), (30.4, 130.9))
KUNASHIRI: Points = ((43.8, 145.4), (44.0, 145.9), (44.5, 146.4), (44.3, 146.5), (43.8, 145.8), (43.7, 145.5))
ETOROFU: Points = ((44.5, 146.9), (45.0, 147.5), (45.5, 148.8), (45.3, 148.7), (44.9, 147.9), (44.5, 147.2))

LAND = (HOKKAIDO, HONSHU, SHIKOKU, KYUSHU, OKINAWA, SADO, AMAMI, TSUSHIMA, YAKUSHIMA, TANEGASHIMA)
APART = (KUNASHIRI, ETOROFU)
"""Drawn dashed: maps of the world disagree about them, and the territory file alone decides what counts."""


class Pin(msgspec.Struct, frozen=True):
    """One site: where it is, where its label stands, and whether its place was measured."""

    name: str
    word: str
    measured: bool
    x: float
    y: float
    text_x: int
    text_y: float
    anchor: str

    @property
    def line_y(self) -> float:
        """Where the leader meets the label."""
        return self.text_y - 7


class Map(msgspec.Struct, frozen=True):
    """Everything the template draws. `elsewhere` names sites with a place that is not on the sketch."""

    land: tuple[str, ...]
    apart: tuple[str, ...]
    pins: tuple[Pin, ...]
    elsewhere: str
    width: int = WIDTH
    height: int = HEIGHT


def position(latitude: float, longitude: float) -> tuple[float, float]:
    """Pixels from the top left corner."""
    x = (longitude - WEST) * PIXELS_PER_DEGREE
    return round(x, 1), round((_mercator(NORTH) - _mercator(latitude)) * PIXELS_PER_DEGREE, 1)


def draw(sites: Iterable[SiteView], now_ms: int) -> Map:
    """The sketch with a pin for each site whose place is stated; labels are kept apart and joined by leaders."""
    placed, elsewhere = [], []
    for site in sites:
        at = _stated(site)
        if at is None:
            continue
        x, y = position(*at)
        if 0 <= x <= WIDTH and 0 <= y <= HEIGHT:
            placed.append((site, x, y))
        else:
            elsewhere.append(site.name)
    return Map(_LAND, _APART, _labelled(placed, now_ms), ", ".join(elsewhere))


def _labelled(placed: list[tuple[SiteView, float, float]], now_ms: int) -> tuple[Pin, ...]:
    """Labels alternate between a column in the west and one in the east, from north to south, never closer than a row."""
    free = {"end": 0.0, "start": 0.0}
    pins = []
    for number, (site, x, y) in enumerate(sorted(placed, key=lambda one: one[2])):
        anchor = "start" if number % 2 == _EAST_OF else "end"
        text_y = max(y + 18, free[anchor], 96.0)
        free[anchor] = text_y + _ROW_PIXELS
        text_x = min(_LABEL_X_LEFT, round(x) - 60) if anchor == "end" else min(_LABEL_X_RIGHT, round(x) + 40)
        country = site.facts.get("country")
        measured = country is not None and country.grade == "M"
        pins.append(Pin(site.name, of_site(site, now_ms).word, measured, x, y, text_x, text_y, anchor))
    return tuple(pins)


def _stated(site: SiteView) -> tuple[float, float] | None:
    latitude, longitude = site.facts.get("latitude-e6"), site.facts.get("longitude-e6")
    if latitude is None or longitude is None:
        return None
    north, east = latitude.value, longitude.value
    if not isinstance(north, int) or not isinstance(east, int) or abs(north) > 85 * _MILLION:  # noqa: PLR2004
        return None
    return north / _MILLION, east / _MILLION


def _mercator(latitude: float) -> float:
    return math.degrees(math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2)))


def _outline(points: Points) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in (position(*point) for point in points)) + "Z"


_LAND = tuple(_outline(points) for points in LAND)
_APART = tuple(_outline(points) for points in APART)
