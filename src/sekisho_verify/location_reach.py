"""What land is nearest to a place: rings cut into short pieces, so that most of a map need not be looked at."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sekisho_verify.errors import VerifyError
from sekisho_verify.location_sphere import (
    LONGITUDE_UDEG_MAX,
    Place,
    Points,
    Vector,
    angle,
    crossings,
    segment_angle,
    to_vector,
    turn,
)

STEPS_MAX = 1 << 26
"""Enough for a map of a million points and a hundred questions about it; some minutes at the very most."""
_PIECE_EDGES = 64
_WHOLE_TURN = 2 * LONGITUDE_UDEG_MAX


class WorkError(VerifyError):
    """A map, or questions about maps, that would take longer than any real ones."""


class Work:
    """Steps (pieces and edges looked at) that may still be taken; shared by all that must not take long together."""

    def __init__(self, steps: int = STEPS_MAX) -> None:
        self.left = steps

    def take(self, steps: int) -> None:
        """WorkError once there are not as many left."""
        self.left -= steps
        if self.left < 0:
            raise WorkError("territory.work", "more work than the maps of any bundle take")


class Piece(NamedTuple):
    """A run of the edges of ring `ring`: the cap and the span of longitudes (udeg, going east) they lie in.

    Arcs between points of a cap of less than 90 degrees stay in it, and never leave the longitudes of their ends.
    """

    ring: int
    points: Points
    centre: Vector
    radius: float
    west: int
    width: int


def cut(rings: Sequence[Points]) -> list[Piece]:
    """The pieces of closed rings, each naming its ring by its place in the list."""
    return [piece for number, ring in enumerate(rings) for piece in _pieces(number, ring)]


def holders(pieces: Sequence[Piece], place: Place, work: Work | None = None) -> frozenset[int]:
    """The rings whose inside holds the place."""
    crossed: Counter[int] = Counter()
    work = work or Work()
    work.take(len(pieces))
    longitude = place.longitude_udeg
    for piece in pieces:
        if (longitude - piece.west) % _WHOLE_TURN <= piece.width:
            work.take(len(piece.points))
            crossed[piece.ring] += crossings(piece.points, place)
    return frozenset(ring for ring, count in crossed.items() if count % 2)


def nested(rings: Sequence[Points], pieces: Sequence[Piece], work: Work | None = None) -> Iterator[int]:
    """The rings that lie in another one, every point of them; rings that only touch or cross are not among them.

    `pieces` are what the rings were cut into.
    """
    work = work or Work()
    for number, ring in enumerate(rings):
        work.take(len(rings))
        around = frozenset(range(len(rings))) - {number}
        for longitude, latitude in ring:
            around &= holders(pieces, Place(latitude, longitude), work)
            if not around:
                break
        if around:
            yield number


def nearest(pieces: Sequence[Piece], p: Vector, work: Work | None = None) -> tuple[int, float]:
    """Ring and angle in radians of the nearest edge; pi where there is none.

    Takes the pieces in the order of the least they could be away, until that is more than what was found.
    """
    best, ring = math.pi, -1
    work = work or Work()
    work.take(len(pieces))
    queue = [(angle(p, piece.centre) - piece.radius, number) for number, piece in enumerate(pieces)]
    heapq.heapify(queue)
    while queue and queue[0][0] < best:
        piece = pieces[heapq.heappop(queue)[1]]
        work.take(len(piece.points))
        vectors = [to_vector(*point) for point in piece.points]
        found = min(segment_angle(p, a, b) for a, b in itertools.pairwise(vectors))
        if found < best:
            best, ring = found, piece.ring
    return ring, best


def _pieces(number: int, ring: Points) -> Iterator[Piece]:
    for start in range(0, len(ring) - 1, _PIECE_EDGES):
        points = ring[start : start + _PIECE_EDGES + 1]
        vectors = [to_vector(*point) for point in points]
        middle = [math.fsum(axis) for axis in zip(*vectors, strict=True)]
        length = math.hypot(*middle)
        centre = (middle[0] / length, middle[1] / length, middle[2] / length) if length else vectors[0]
        radius = max(angle(centre, vector) for vector in vectors)
        at = low = high = points[0][0]
        for (before, _), (after, _) in itertools.pairwise(points):
            at += turn(before, after)
            low, high = min(low, at), max(high, at)
        # A cap of 90 degrees or more bounds nothing: the whole sphere then.
        yield Piece(number, points, centre, radius if radius < math.pi / 2 else math.pi, low, high - low)
