"""T4: a key abroad behind the fastest line there can be never passes, whatever is put before it."""

from __future__ import annotations

import math
import random

import pytest

from sekisho_verify.location import KM_PER_NS, TOO_FAR, bound_km
from tests.guarantor import landmark_world
from tests.support import delayline
from tests.verify.japan import CITIES, LIMITS_MS, ROUNDS_PER_CITY, accepted, japan
from tests.verify.places import territory


@pytest.mark.parametrize("city", CITIES)
def test_t04_no_relay_passes_however_fast_its_line(city: str) -> None:
    """The key is on the nearest foreign coast, over a line at the speed of light, on top of any base delay.

    The line is the shortest this map allows. Ten thousand by the arithmetic of `judge`, each thousandth by itself.
    """
    chance = random.Random(city)
    nearest = japan().nearest_foreign(CITIES[city]).distance_km
    foreign_ns = min(math.ceil(nearest / KM_PER_NS), round(LIMITS_MS[city] * 1e6))
    passed = honest = 0
    for number in range(ROUNDS_PER_CITY):
        base_ns = int(min(chance.expovariate(1 / 200_000) for _ in range(10)))
        passed += bound_km(foreign_ns + base_ns) < nearest
        near_ns = 160_000 + 300_000 + int(min(chance.expovariate(1 / 300_000) for _ in range(20)))
        honest += bound_km(near_ns) < nearest
        if not number % 1000:
            assert not accepted(city, foreign_ns + base_ns)
            assert accepted(city, near_ns) == (bound_km(near_ns) < nearest)
    assert (passed, honest) == (0, ROUNDS_PER_CITY)
    assert not accepted(city, foreign_ns)


def test_t04_three_milliseconds_cannot_leave_japan_from_tokyo_and_can_from_fukuoka() -> None:
    assert accepted("Tokyo", 3_300_000)
    assert not accepted("Fukuoka", 3_300_000)


def test_t04_a_real_relay_over_the_shortest_foreign_line_is_refused() -> None:
    """The key answers at the far end of a line of 1.35 ms there and back; the near end only relays."""
    with (
        landmark_world.site() as port,
        delayline.running("127.0.0.1", port, milliseconds=LIMITS_MS["Fukuoka"] / 2) as relayed,
    ):
        measurers = landmark_world.landmarks(relayed)
        found = landmark_world.verdict([each.measure()[0] for each in measurers], measurers)
    reach_km = territory().nearest_foreign(landmark_world.NEAR_ABROAD).distance_km
    assert reach_km < LIMITS_MS["Fukuoka"] * 1e6 * KM_PER_NS
    assert [finding.state for finding in found.findings] == [TOO_FAR] * 2
    assert not found.accepted
