"""T3: the verdict rests on c in vacuum, not on two thirds of it, which lines exist that beat."""

from __future__ import annotations

import pytest

from sekisho_verify.location import bound_km
from tests.verify.japan import CITIES, accepted, japan


def test_t03_the_verdict_uses_light_in_vacuum_and_not_in_glass() -> None:
    """1.7 ms at Fukuoka: two thirds of c would say 170 km and accept; c says 255 km, and Korea is 202 km away."""
    assert bound_km(1_700_000) * 2 / 3 < japan().nearest_foreign(CITIES["Fukuoka"]).distance_km < 255
    assert bound_km(1_700_000) == pytest.approx(255, abs=0.5)
    assert not accepted("Fukuoka", 1_700_000)
    assert accepted("Fukuoka", 1_000_000)
