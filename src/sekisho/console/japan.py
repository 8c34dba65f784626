"""A sketch of Japan and where sites lie on it.

The outline is drawn by hand from the positions of capes, bays and towns, to a tenth of a degree: enough to find
one's way, useless for measuring. Mercator, 20 pixels to a degree, west edge 122 degrees east, north edge 46 north.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from sekisho.console.marks import of_site
from sekisho.sites import PLACE_PROOF, LandmarkFinding, LandmarkView, SiteView

WEST, NORTH, PIXELS_PER_DEGREE = 122.0, 46.0, 20.0
WIDTH = HEIGHT = 544
_MILLION = 1_000_000
_METRES_PER_DEGREE = 111_195
"""Of a great circle on a sphere of the Earth's mean radius."""
_ROW_PIXELS, _LETTER_PIXELS = 52, 11.5
_COLUMN_WEST, _COLUMN_EAST = 330, 536
"""Right edges of the two columns of labels."""
_TOP_WEST, _BOTTOM_WEST, _TOP_EAST, _NORTHERN_Y = 96.0, 200.0, 340.0, 200.0

# Latitude and longitude of one point after another.
HOKKAIDO = (
    "41.4,140.1 41.8,140.7 42.3,141 42.6,141.6 42,143.2 42.9,144.3 43.2,145.5 43.4,145.3 44.3,145.3 "
    "44,144.3 44.4,143.3 45.5,142 45.4,141.7 44.3,141.7 43.8,141.4 43.2,141.3 43.3,140.4 42.8,140.2 "
    "42.4,139.9 41.9,140.1"
)
HONSHU = (
    "41.5,140.9 41.4,141.5 40.5,141.5 39.6,142 38.3,141.5 38.2,141 37,141 36.3,140.6 35.7,140.9 "
    "34.9,139.9 35.6,140 35.6,139.8 35.1,139.6 35.3,139.3 34.6,138.9 35.1,138.8 34.6,138.2 34.7,137.3 "
    "34.6,137 35,136.8 34.3,136.9 33.5,135.8 34.3,135.1 34.7,135.4 34.7,134.8 34.5,133.9 34.3,132.5 "
    "33.9,131.8 33.9,130.9 34.4,131 34.9,132 35.5,132.7 35.5,133.3 35.6,134.3 35.8,135.2 35.6,135.7 "
    "36.2,136.1 36.9,136.7 37.5,137.2 36.8,137.1 37,138 37.9,138.9 38.8,139.7 39.9,139.7 40.6,139.9 "
    "41.2,140.4 40.9,140.8 41.2,141"
)
SHIKOKU = (
    "34.3,134.1 34.2,134.6 33.8,134.7 33.2,134.2 33.5,133.6 32.8,133 33,132.5 33.4,132.1 33.8,132.7 "
    "34.1,133 34,133.6"
)
KYUSHU = (
    "33.9,130.9 33.6,131.2 33.6,131.7 33.2,131.8 32.7,132 31.8,131.5 31.4,131.3 31,130.7 31.6,130.7 "
    "31.2,130.3 31.9,130.2 32.5,130.5 32.7,130.3 32.6,129.8 33.2,129.6 33.6,130.2"
)
OKINAWA = "26.9,128.2 26.6,128.2 26.1,127.8 26.1,127.6 26.5,127.9 26.7,127.9"
SADO = "38.3,138.5 38,138.5 37.8,138.3 38.1,138.2"
AMAMI = "28.5,129.7 28.2,129.3 28.3,129.2"
TSUSHIMA = "34.7,129.4 34.2,129.3 34.1,129.2 34.5,129.3"
YAKUSHIMA = "30.4,130.4 30.4,130.7 30.2,130.6"
TANEGASHIMA = "30.8,131 30.4,131 30.4,130.9"
KUNASHIRI = "43.8,145.4 44,145.9 44.5,146.4 44.3,146.5 43.8,145.8 43.7,145.5"
ETOROFU = "44.5,146.9 45,147.5 45.5,148.8 45.3,148.7 44.9,147.9 44.5,147.2"

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
    line_x: int

    @property
    def line_y(self) -> float:
        """Where the leader meets the label."""
        return self.text_y - 7


class Post(msgspec.Struct, frozen=True):
    """One landmark: where it says it is, and whether it counts at all."""

    name: str
    trusted: bool
    x: float
    y: float

    @property
    def points(self) -> str:
        """A triangle that stands on the place."""
        return f"{self.x},{self.y - 8} {self.x - 7},{self.y + 5} {self.x + 7},{self.y + 5}"


class Disc(msgspec.Struct, frozen=True):
    """How far from a landmark the answering key can have been; `state` as in the finding."""

    landmark: str
    state: str
    x: float
    y: float
    radius: float


class Map(msgspec.Struct, frozen=True):
    """Everything the template draws. `elsewhere` names sites with a place that is not on the sketch."""

    land: tuple[str, ...]
    apart: tuple[str, ...]
    pins: tuple[Pin, ...]
    elsewhere: str
    posts: tuple[Post, ...] = ()
    discs: tuple[Disc, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT


def position(latitude: float, longitude: float) -> tuple[float, float]:
    """Pixels from the top left corner."""
    x = (longitude - WEST) * PIXELS_PER_DEGREE
    return round(x, 1), round((_mercator(NORTH) - _mercator(latitude)) * PIXELS_PER_DEGREE, 1)


def draw(
    sites: Iterable[SiteView],
    now_ms: int,
    landmarks: Iterable[LandmarkView] = (),
    findings: Iterable[LandmarkFinding] = (),
) -> Map:
    """The sketch with a pin for each site whose place is stated; labels are kept apart and joined by leaders.

    With `findings` also the disc of each measurement, around the landmark that made it.
    """
    placed: list[tuple[SiteView, float, float]] = []
    elsewhere: list[str] = []
    for site in sites:
        at = _stated(site)
        if at is None:
            continue
        x, y = position(*at)
        if 0 <= x <= WIDTH and 0 <= y <= HEIGHT:
            placed.append((site, x, y))
        else:
            elsewhere.append(site.name)
    posts = {post.name: post for post in map(_post, landmarks)}
    discs = [_disc(finding, posts[finding.landmark]) for finding in findings if finding.landmark in posts]
    return Map(
        _LAND,
        _APART,
        _labelled(placed, now_ms),
        ", ".join(elsewhere),
        tuple(post for post in posts.values() if 0 <= post.x <= WIDTH and 0 <= post.y <= HEIGHT),
        tuple(disc for disc in discs if disc.radius > 0),
    )


def shown(site: SiteView, now_ms: int) -> bool:
    """Whether a proof of place stands for a site."""
    standing = site.facts.get(PLACE_PROOF)
    return standing is not None and standing.expires_ms > now_ms


def _post(landmark: LandmarkView) -> Post:
    x, y = position(landmark.latitude_udeg / _MILLION, landmark.longitude_udeg / _MILLION)
    return Post(landmark.name, not landmark.contradicted_by, x, y)


def _disc(finding: LandmarkFinding, post: Post) -> Disc:
    """Mercator stretches a circle with the latitude; at these sizes it stays one."""
    latitude = math.radians(_latitude(post.y))
    radius = finding.bound_m / _METRES_PER_DEGREE / math.cos(latitude) * PIXELS_PER_DEGREE
    return Disc(finding.landmark, finding.state, post.x, post.y, round(min(radius, 4 * WIDTH), 1))


def _labelled(placed: list[tuple[SiteView, float, float]], now_ms: int) -> tuple[Pin, ...]:
    """Labels stand in the sea: those of the north in a column to the west, the others in one to the south-east."""
    free = {_COLUMN_WEST: _TOP_WEST, _COLUMN_EAST: _TOP_EAST}
    pins = []
    for site, x, y in sorted(placed, key=lambda one: one[2]):
        column = _COLUMN_WEST if y < _NORTHERN_Y and free[_COLUMN_WEST] <= _BOTTOM_WEST else _COLUMN_EAST
        text_y = max(y + 18, free[column])
        free[column] = text_y + _ROW_PIXELS
        line_x = column + 6 if x > column else column - len(site.name) * _LETTER_PIXELS - 6
        pins.append(
            Pin(
                site.name,
                of_site(site, now_ms).word,
                shown(site, now_ms),
                x,
                y,
                column,
                text_y,
                round(line_x),
            )
        )
    return tuple(pins)


def _stated(site: SiteView) -> tuple[float, float] | None:
    latitude, longitude = site.facts.get("latitude-e6"), site.facts.get("longitude-e6")
    if latitude is None or longitude is None:
        return None
    north, east = latitude.value, longitude.value
    if not isinstance(north, int) or not isinstance(east, int) or abs(north) > 85 * _MILLION:
        return None
    return north / _MILLION, east / _MILLION


def _mercator(latitude: float) -> float:
    return math.degrees(math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2)))


def _latitude(y: float) -> float:
    """Inverse of `position` for the latitude."""
    turned = math.radians(_mercator(NORTH) - y / PIXELS_PER_DEGREE)
    return math.degrees(2 * math.atan(math.exp(turned)) - math.pi / 2)


def _outline(points: str) -> str:
    pairs = (point.split(",") for point in points.split())
    return (
        "M"
        + "L".join("{:g} {:g}".format(*position(float(north), float(east))) for north, east in pairs)
        + "Z"
    )


_LAND = tuple(_outline(points) for points in LAND)
_APART = tuple(_outline(points) for points in APART)
