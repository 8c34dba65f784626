"""Geometry on the sphere against an oracle that knows none: lines cut into many points, areas by counting."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sekisho_verify.location_reach import cut, holders, nearest, nested
from sekisho_verify.location_sphere import (
    CURVATURE_KM_MIN,
    Place,
    Points,
    Vector,
    angle,
    distance_km,
    ring_area,
    segment_angle,
    to_vector,
    turn,
)

SEMI_MAJOR_KM, FLATTENING = 6378.137, 1 / 298.257223563
STEPS = 2000

longitudes = st.integers(-180_000_000, 180_000_000)
latitudes = st.integers(-89_000_000, 89_000_000)
places = st.builds(Place, latitudes, longitudes)


def _between(a: Vector, b: Vector, share: float) -> Vector:
    x, y, z = (p * (1 - share) + q * share for p, q in zip(a, b, strict=True))
    length = math.hypot(x, y, z)
    return x / length, y / length, z / length


def _haversine(a: Place, b: Place) -> float:
    low, high = math.radians(a.latitude_udeg / 1e6), math.radians(b.latitude_udeg / 1e6)
    wide = math.radians((b.longitude_udeg - a.longitude_udeg) / 1e6)
    return 2 * math.asin(
        math.sqrt(
            min(
                1.0,
                math.sin((high - low) / 2) ** 2 + math.cos(low) * math.cos(high) * math.sin(wide / 2) ** 2,
            )
        )
    )


@given(places, places)
def test_angles_are_those_of_the_haversine(a: Place, b: Place) -> None:
    assert angle(a.vector, b.vector) == pytest.approx(_haversine(a, b), abs=2e-8)


@given(places, st.integers(-900_000, 900_000), st.integers(-900_000, 900_000))
def test_a_distance_is_never_longer_than_on_the_ellipsoid(a: Place, north: int, east: int) -> None:
    """Summed along the straight line in coordinates, a path on the ellipsoid, so at least its shortest one."""
    b = Place(max(-89_000_000, min(89_000_000, a.latitude_udeg + north)), a.longitude_udeg + east)
    squared = FLATTENING * (2 - FLATTENING)
    length, parts = 0.0, 200
    for part in range(parts):
        latitude = math.radians(
            (a.latitude_udeg + (b.latitude_udeg - a.latitude_udeg) * (part + 0.5) / parts) / 1e6
        )
        w = math.sqrt(1 - squared * math.sin(latitude) ** 2)
        meridian, normal = SEMI_MAJOR_KM * (1 - squared) / w**3, SEMI_MAJOR_KM / w
        step = math.radians((b.latitude_udeg - a.latitude_udeg) / 1e6 / parts)
        aside = math.radians(east / 1e6 / parts)
        length += math.hypot(meridian * step, normal * math.cos(latitude) * aside)
    assert distance_km(a, b) <= length + 1e-6


def test_the_radius_is_the_smallest_the_ellipsoid_has() -> None:
    radius_km = SEMI_MAJOR_KM * (1 - FLATTENING * (2 - FLATTENING))
    assert radius_km == pytest.approx(CURVATURE_KM_MIN, abs=1e-3)


@given(places, places, places)
def test_the_nearest_point_of_an_arc_is_found_not_only_its_ends(p: Place, a: Place, b: Place) -> None:
    assume(angle(a.vector, b.vector) < math.radians(89))
    found = segment_angle(p.vector, a.vector, b.vector)
    walked = min(angle(p.vector, _between(a.vector, b.vector, step / STEPS)) for step in range(STEPS + 1))
    assert found <= walked + 1e-9
    assert walked - found < math.radians(89) / STEPS


def test_the_middle_of_a_long_edge_is_nearer_than_its_ends() -> None:
    a, b, p = (Place(0, east).vector for east in (-40_000_000, 40_000_000, 0))
    above = Place(5_000_000, 0).vector
    assert segment_angle(above, a, b) == pytest.approx(math.radians(5))
    assert segment_angle(p, a, b) == pytest.approx(0, abs=1e-12)
    assert segment_angle(Place(0, 50_000_000).vector, a, b) == pytest.approx(math.radians(10))
    assert segment_angle(Place(0, 179_000_000).vector, a, b) > math.radians(130)
    assert segment_angle(above, a, a) == pytest.approx(angle(above, a))


@given(longitudes, longitudes)
def test_a_turn_is_the_shorter_way(start: int, end: int) -> None:
    way = turn(start, end)
    assert -180_000_000 <= way < 180_000_000
    assert (start + way - end) % 360_000_000 == 0


def _square(place: Place, half: int) -> Points:
    west, south = place.longitude_udeg - half, place.latitude_udeg - half
    east, north = place.longitude_udeg + half, place.latitude_udeg + half
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [(turn(0, longitude), latitude) for longitude, latitude in corners]


def _cap_ring(centre: Place, radius: float, corners: int) -> Points:
    """A regular polygon around any point of the sphere, counter-clockwise seen from outside."""
    x, y, z = centre.vector
    east = (-y, x, 0.0) if math.hypot(x, y) > 1e-9 else (0.0, 1.0, 0.0)
    length = math.hypot(*east)
    east = (east[0] / length, east[1] / length, 0.0)
    north = (-z * east[1], z * east[0], x * east[1] - y * east[0])
    ring = []
    for number in range(corners):
        way = 2 * math.pi * number / corners
        point = tuple(
            math.cos(radius) * c + math.sin(radius) * (math.cos(way) * e + math.sin(way) * n)
            for c, e, n in zip((x, y, z), east, north, strict=True)
        )
        ring.append(
            (
                round(math.degrees(math.atan2(point[1], point[0])) * 1e6),
                round(math.degrees(math.asin(max(-1.0, min(1.0, point[2])))) * 1e6),
            )
        )
    return [*ring, ring[0]]


@given(
    st.builds(Place, st.integers(-60_000_000, 60_000_000), longitudes),
    st.floats(0.005, 0.4),
    st.integers(16, 60),
)
def test_the_area_of_a_round_ring_is_that_of_its_cap_in_either_direction(
    centre: Place, radius: float, corners: int
) -> None:
    ring = _cap_ring(centre, radius, corners)
    cap = 2 * math.pi * (1 - math.cos(radius))
    assert 0.96 * cap < ring_area(ring) < 1.0001 * cap
    assert ring_area(ring[::-1]) == pytest.approx(4 * math.pi - ring_area(ring))


def test_a_ring_around_a_pole_has_the_area_of_its_cap() -> None:
    south = [(turn(0, -step * 10_000_000), -70_000_000) for step in range(37)]
    cap = 2 * math.pi * (1 - math.sin(math.radians(70)))
    assert ring_area(south) == pytest.approx(cap, rel=0.02)
    assert ring_area(south[::-1]) == pytest.approx(4 * math.pi - ring_area(south))


@given(
    st.builds(Place, st.integers(-60_000_000, 60_000_000), longitudes),
    st.floats(0.01, 0.35),
    places,
)
def test_a_ring_holds_what_is_nearer_to_its_middle(centre: Place, radius: float, place: Place) -> None:
    ring = _cap_ring(centre, radius, 48)
    away = angle(centre.vector, place.vector)
    assume(not 0.97 * radius < away < 1.001 * radius)
    assert bool(holders(cut([ring]), place)) == (away < radius)
    assert holders(cut([ring]), centre) == {0}


@given(
    st.lists(st.builds(Place, st.integers(-60_000_000, 60_000_000), longitudes), min_size=1, max_size=8),
    places,
)
def test_the_nearest_edge_is_the_nearest_of_all(centres: list[Place], place: Place) -> None:
    """Pruning changes nothing: against every edge of every ring."""
    rings = [_cap_ring(centre, 0.01 * (number + 1), 70) for number, centre in enumerate(centres)]
    _, found = nearest(cut(rings), place.vector)
    every = min(
        segment_angle(place.vector, to_vector(*a), to_vector(*b)) for ring in rings for a, b in pairwise(ring)
    )
    assert found == every


def test_long_rings_are_cut_into_pieces_of_the_whole_sphere_where_a_cap_would_bound_nothing() -> None:
    equator = [(turn(0, -step * 60_000_000), -1_000_000) for step in range(7)]
    (piece,) = cut([equator])
    assert piece.radius == math.pi
    assert nearest([piece], Place(4_000_000, 0).vector)[1] == pytest.approx(math.radians(5), abs=0.02)


def test_nothing_is_near_where_there_is_nothing() -> None:
    assert nearest([], Place(0, 0).vector) == (-1, math.pi)


def test_rings_inside_rings_are_found_and_neighbours_are_not() -> None:
    outer, inner, beside = (
        _square(Place(0, 0), 5_000_000),
        _square(Place(0, 0), 1_000_000),
        _square(Place(0, 10_000_000), 5_000_000),
    )
    rings, apart = [outer, inner, beside], [outer, beside]
    assert list(nested(rings, cut(rings))) == [1]
    assert not list(nested(apart, cut(apart)))
