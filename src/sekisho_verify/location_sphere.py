"""Distances and areas on the Earth, never longer than the real ones.

Points are unit vectors made from geodetic latitude and longitude. An angle between two of them, times the smallest
radius of curvature the WGS 84 ellipsoid has anywhere (6335.439 km, along the meridian at the equator), is a lower bound
of the real distance: every line element of the ellipsoid is at least that radius times the element of the unit sphere.
With the mean radius (6371.009 km) a distance could come out 0.6 % longer than it is, and land beyond reach that is not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

CURVATURE_KM_MIN = 6335.439
"""a(1 - e^2) of WGS 84."""
UDEG_PER_DEGREE = 1_000_000
LATITUDE_UDEG_MAX = 90 * UDEG_PER_DEGREE
LONGITUDE_UDEG_MAX = 180 * UDEG_PER_DEGREE

_RADIANS_PER_UDEG = math.pi / LONGITUDE_UDEG_MAX
_PARALLEL = 1e-15
_FULL = 4 * math.pi
_STEEP = 0.9

Vector = tuple[float, float, float]
Points = Sequence[tuple[int, int]]
"""Longitude and latitude in millionths of a degree, in the order of a line."""


class Place(NamedTuple):
    """A point in millionths of a degree (0.11 m), north and east positive."""

    latitude_udeg: int
    longitude_udeg: int

    @property
    def vector(self) -> Vector:
        """The point on the unit sphere."""
        return to_vector(self.longitude_udeg, self.latitude_udeg)


def to_vector(longitude_udeg: int, latitude_udeg: int) -> Vector:
    """Unit vector of a point; longitude first, as in maps."""
    latitude, longitude = latitude_udeg * _RADIANS_PER_UDEG, longitude_udeg * _RADIANS_PER_UDEG
    width = math.cos(latitude)
    return width * math.cos(longitude), width * math.sin(longitude), math.sin(latitude)


def angle(a: Vector, b: Vector) -> float:
    """Radians between two unit vectors, exact for near and for opposite ones alike."""
    half = math.dist(a, b) / 2
    if half < _STEEP:  # beyond it the chord hardly grows with the angle
        return 2 * math.asin(half)
    return 2 * math.acos(min(1.0, math.hypot(a[0] + b[0], a[1] + b[1], a[2] + b[2]) / 2))


def distance_km(a: Place, b: Place) -> float:
    """Lower bound of the distance between two places, at most 1.1 % below it."""
    return CURVATURE_KM_MIN * angle(a.vector, b.vector)


def segment_angle(p: Vector, a: Vector, b: Vector) -> float:
    """Radians from a point to the nearest point of the shorter great-circle arc from `a` to `b`."""
    nx, ny, nz = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    length = math.hypot(nx, ny, nz)
    if length > _PARALLEL:
        # Beside the arc, not beyond its ends: on the inner side of the two planes that stand on the ends.
        past_a = (
            p[0] * (ny * a[2] - nz * a[1]) + p[1] * (nz * a[0] - nx * a[2]) + p[2] * (nx * a[1] - ny * a[0])
        )
        past_b = (
            p[0] * (b[1] * nz - b[2] * ny) + p[1] * (b[2] * nx - b[0] * nz) + p[2] * (b[0] * ny - b[1] * nx)
        )
        if past_a > 0 and past_b > 0:
            height = (p[0] * nx + p[1] * ny + p[2] * nz) / length
            return abs(math.asin(max(-1.0, min(1.0, height))))
    return min(angle(p, a), angle(p, b))


def ring_area(points: Points) -> float:
    """Area to the left of a closed ring of (longitude, latitude) in steradians, from 0 to 4 pi.

    A ring that runs clockwise around an island has nearly the whole sphere to its left.
    """
    total, turned = 0.0, 0
    tangents = [math.tan(latitude * _RADIANS_PER_UDEG / 2) for _, latitude in points]
    for index in range(len(points) - 1):
        step = turn(points[index][0], points[index + 1][0])
        turned += step
        if step:
            half = math.tan(step * _RADIANS_PER_UDEG / 2)
            low, high = tangents[index], tangents[index + 1]
            total -= 2 * math.atan2(half * (low + high), 1 + low * high)
    return (total + (_FULL / 2 if turned else 0)) % _FULL


def turn(start_udeg: int, end_udeg: int) -> int:
    """The shorter way from one longitude to another, east positive."""
    return (end_udeg - start_udeg + LONGITUDE_UDEG_MAX) % (2 * LONGITUDE_UDEG_MAX) - LONGITUDE_UDEG_MAX


def crossings(points: Points, place: Place) -> int:
    """How often edges cross the meridian from a place to the north pole.

    Odd for a closed ring that holds the place, unless it also holds the pole.
    """
    count = 0
    latitude = place.latitude_udeg * _RADIANS_PER_UDEG
    for (start, low), (end, high) in itertools.pairwise(points):
        from_start, from_end = turn(place.longitude_udeg, start), turn(place.longitude_udeg, end)
        if (from_start > 0) == (from_end > 0) or abs(from_start - from_end) >= LONGITUDE_UDEG_MAX:
            continue
        count += _arc_latitude((from_start, low), (from_end, high)) > latitude
    return count


def _arc_latitude(start: tuple[int, int], end: tuple[int, int]) -> float:
    """Latitude in radians at which an arc crosses longitude zero."""
    west, east = start[0] * _RADIANS_PER_UDEG, end[0] * _RADIANS_PER_UDEG
    low, high = math.tan(start[1] * _RADIANS_PER_UDEG), math.tan(end[1] * _RADIANS_PER_UDEG)
    return math.atan((low * math.sin(east) - high * math.sin(west)) / math.sin(east - west))
