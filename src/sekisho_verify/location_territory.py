"""The territory file: which land is home, which is foreign, and how each disputed area is counted.

Canonical JSON. `v` is 1, `kind` is `sekisho.territory`; `name`, `version` and `sources` are text; `home` lists the
codes of the areas that are home; `tolerance_m` is how far the drawn coast may lie from the real one, in metres, and is
taken off every distance. Each of `areas` has a `code`, a `name`, a `status` (`home`, `foreign`, `disputed`), a disputed
one also `counts_as` (`home` or `foreign`), and `rings`: each a flat list of longitude and latitude in millionths of a
degree, closed (the last point is the first), counter-clockwise, its edges the shorter great-circle arcs.

Only outlines are allowed: an inner ring would be a hole in which nothing is foreign. Land inside land is an area of its
own.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sekisho_verify import canonical
from sekisho_verify.errors import VerifyError
from sekisho_verify.location_reach import Piece, Work, cut, holders, nearest, nested
from sekisho_verify.location_sphere import (
    CURVATURE_KM_MIN,
    LATITUDE_UDEG_MAX,
    LONGITUDE_UDEG_MAX,
    UDEG_PER_DEGREE,
    Place,
    Points,
    ring_area,
    turn,
)

KIND = "sekisho.territory"
TERRITORY_BYTES_MAX = 64 << 20
TOLERANCE_M_MAX = 50_000
POINTS_MAX = 1 << 20
"""Of all rings together: twice as many as the finest maps of the whole world in common use have."""
EDGE_UDEG_MAX = 90 * UDEG_PER_DEGREE
HOME, FOREIGN, DISPUTED = "home", "foreign", "disputed"

_METRES_PER_KM = 1000
_POINTS_MIN = 4
_TEXT_MAX = 255
_AREAS_MAX = 4096
_KNOWN_MAX = 1024
_SPHERE_HALF = 2 * math.pi
_FIELDS = frozenset({"v", "kind", "name", "version", "sources", "home", "tolerance_m", "areas"})
_AREA_FIELDS = frozenset({"code", "name", "status", "rings"})
_code = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .'-]{0,63}").fullmatch


class TerritoryError(VerifyError):
    """A territory file that cannot be used; its code starts with `territory.`."""


class Nearest(NamedTuple):
    """The area that is nearest to a place, and a lower bound of how far it is in km."""

    area: str
    distance_km: float


@dataclass(frozen=True, slots=True)
class Area:
    """One area: closed rings of (longitude, latitude), what they are cut into; `counts_as` is `home` or `foreign`."""

    code: str
    name: str
    status: str
    counts_as: str
    rings: tuple[Points, ...]
    pieces: tuple[Piece, ...]


class Territory:
    """A checked territory. `digest` names the file it was read from."""

    def __init__(
        self, body: Mapping[str, object], areas: tuple[Area, ...], *, digest: str, work: Work | None = None
    ) -> None:
        """`work` is what all questions together may take; without it each question has a bound of its own."""
        self.name = str(body["name"])
        self.version = str(body["version"])
        self.tolerance_km = _whole(body["tolerance_m"], TOLERANCE_M_MAX, "tolerance_m") / _METRES_PER_KM
        self.areas = areas
        self.digest = digest
        self._work = work
        self._known: dict[tuple[Place, str], Nearest] = {}
        self._lands = {
            kind: _Land([area for area in areas if area.counts_as == kind]) for kind in (HOME, FOREIGN)
        }

    @property
    def disputed(self) -> tuple[Area, ...]:
        """The disputed areas, each with how this file counts it."""
        return tuple(area for area in self.areas if area.status == DISPUTED)

    def nearest_foreign(self, place: Place) -> Nearest:
        """The nearest land that counts as foreign, the map's tolerance taken off; 0 km for a place on it."""
        return self._nearest(place, FOREIGN)

    def nearest_home(self, place: Place) -> Nearest:
        """The nearest land that counts as home, likewise: 0 km for a place on it or within the tolerance."""
        return self._nearest(place, HOME)

    def _nearest(self, place: Place, kind: str) -> Nearest:
        """Asked of the same few landmarks again and again, so the answers are kept."""
        found = self._known.get((place, kind))
        if found is None:
            code, radians = self._lands[kind].nearest(place, self._work)
            found = Nearest(code, max(0.0, CURVATURE_KM_MIN * radians - self.tolerance_km))
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[place, kind] = found
        return found


class _Land:
    """All areas of one kind, indexed."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self._codes = [area.code for area in areas for _ in area.rings]
        self._pieces: list[Piece] = []
        first = 0
        for area in areas:
            self._pieces += [piece._replace(ring=first + piece.ring) for piece in area.pieces]
            first += len(area.rings)

    def nearest(self, place: Place, work: Work | None) -> tuple[str, float]:
        """Code and angle in radians of the nearest area; 0 for one that holds the place."""
        held = holders(self._pieces, place, work)
        ring, radians = (min(held), 0.0) if held else nearest(self._pieces, place.vector, work)
        return self._codes[ring], radians


def parse_territory(data: bytes, work: Work | None = None) -> Territory:
    """A territory from the bytes of its file; TerritoryError, WorkError or CanonicalError for anything else.

    `work` is what reading it and all questions about it may take; without it each of them has a bound of its own.
    """
    if len(data) > TERRITORY_BYTES_MAX:
        raise TerritoryError("territory.size", f"more than {TERRITORY_BYTES_MAX} bytes")
    body = canonical.decode_object(data)
    if body.keys() != _FIELDS or body["kind"] != KIND:
        raise TerritoryError("territory.fields", "a field missing or unknown")
    if type(body["v"]) is not int or body["v"] != 1:
        raise TerritoryError("territory.version", "a territory file of an unknown version", where="v")
    for field in ("name", "version"):
        _text(body[field], field)
    for source in _items(body["sources"], "sources"):
        _text(source, "sources")
    _check_points(body["areas"])
    reading = work or Work()
    areas = tuple(_read_area(value, reading) for value in _items(body["areas"], "areas"))
    if len({area.code for area in areas}) != len(areas):
        raise TerritoryError("territory.area_twice", "two areas of the same code")
    home = _items(body["home"], "home")
    if not home or sorted(area.code for area in areas if area.status == HOME) != home:
        raise TerritoryError("territory.home", "home is not the sorted list of the areas that are home")
    if not any(area.counts_as == FOREIGN for area in areas):
        raise TerritoryError("territory.no_foreign", "without foreign land every place would be home")
    return Territory(body, areas, digest=canonical.digest(data), work=work)


def _check_points(areas: object) -> None:
    """Counted before anything is computed from them; whatever has another shape is refused where it is read."""
    numbers = 0
    for area in _items(areas, "areas"):
        rings = area.get("rings") if isinstance(area, dict) else None
        for ring in rings if isinstance(rings, list) else ():
            numbers += len(ring) if isinstance(ring, list) else 0
    if numbers > 2 * POINTS_MAX:
        raise TerritoryError("territory.points", f"more than {POINTS_MAX} points", where="areas")


def _read_area(value: object, work: Work) -> Area:
    if not isinstance(value, dict):
        raise TerritoryError("territory.area", "an area is an object")
    code, status = value.get("code"), value.get("status")
    if not isinstance(code, str) or not _code(code):
        raise TerritoryError("territory.area", "an area without a code")
    wanted = _AREA_FIELDS | {"counts_as"} if status == DISPUTED else _AREA_FIELDS
    if value.keys() != wanted or status not in (HOME, FOREIGN, DISPUTED):
        raise TerritoryError("territory.area", "a field missing, unknown or of a wrong value", where=code)
    counts_as = str(value.get("counts_as", status))
    if counts_as not in {HOME, FOREIGN}:
        raise TerritoryError(
            "territory.undecided", "a disputed area counts as home or as foreign", where=code
        )
    rings = tuple(_read_ring(ring, code) for ring in _items(value["rings"], code))
    if not rings:
        raise TerritoryError("territory.area", "an area without land", where=code)
    pieces = cut(rings)
    if next(nested(rings, pieces, work), None) is not None:
        raise TerritoryError(
            "territory.hole", "a ring inside a ring of the same area could only be a hole", where=code
        )
    return Area(code, _text(value["name"], code), str(status), counts_as, rings, tuple(pieces))


def _read_ring(value: object, code: str) -> Points:
    if not isinstance(value, list) or len(value) % 2 or any(type(number) is not int for number in value):
        raise TerritoryError(
            "territory.ring", "a ring is a flat list of longitudes and latitudes", where=code
        )
    points: Points = list(zip(value[::2], value[1::2], strict=True))
    if len(points) < _POINTS_MIN or points[0] != points[-1]:
        raise TerritoryError("territory.open", "a ring that does not end where it begins", where=code)
    turned = 0
    for (west, low), (east, high) in itertools.pairwise(points):
        step = turn(west, east)
        turned += step
        if not (-LONGITUDE_UDEG_MAX <= west <= LONGITUDE_UDEG_MAX and abs(low) < LATITUDE_UDEG_MAX):
            raise TerritoryError("territory.range", "a point that is nowhere on the Earth", where=code)
        if (not step and low == high) or abs(step) >= EDGE_UDEG_MAX or abs(high - low) >= EDGE_UDEG_MAX:
            raise TerritoryError("territory.edge", "an edge of no length, or of 90 degrees", where=code)
    if turned > 0:
        raise TerritoryError("territory.pole", "a ring around the north pole", where=code)
    if not 0 < ring_area(points) < _SPHERE_HALF:
        raise TerritoryError("territory.winding", "a ring that does not run counter-clockwise", where=code)
    return points


def _items(value: object, where: str) -> list[object]:
    if not isinstance(value, list) or len(value) > _AREAS_MAX:
        raise TerritoryError("territory.list", f"a list of at most {_AREAS_MAX} is needed", where=where)
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > _TEXT_MAX or not value.isprintable():
        raise TerritoryError("territory.text", "text of 1 to 255 printable characters", where=where)
    return value


def _whole(value: object, limit: int, where: str) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise TerritoryError("territory.number", f"a whole number from 0 to {limit} is needed", where=where)
    return value
