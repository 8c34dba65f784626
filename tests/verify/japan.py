"""The real map and four cities on it, read once a process; fetched with npm as scripts/territory.py does it."""

from __future__ import annotations

import functools
from typing import Any

from scripts import territory as builder
from sekisho_verify.location import Claim, Policy, judge
from sekisho_verify.location_territory import Territory, parse_territory
from tests.support import components
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


@functools.lru_cache(maxsize=1)
def whole_map() -> dict[str, Any]:
    try:
        return builder.read_map(builder.archive())
    except builder.TerritoryInputError as error:
        components.missing("the map", str(error))
        raise


@functools.lru_cache(maxsize=1)
def japan() -> Territory:
    return parse_territory(composed(whole_map()))


def composed(document: dict[str, Any], **decisions: str) -> bytes:
    decided = {code.replace("_", "-"): counts for code, counts in decisions.items()}
    return builder.compose(document, home={"JP": "Japan"}, version="test", decisions=DOMESTIC | decided)


def landmarks(city: str, rtt_ns: int) -> list[Held]:
    organisations = {"exchange": "exchange", "university": "university", "carrier": "carrier"}
    return [
        Held(landmark=name, organisation=whose, place=CITIES[city], rtt_ns=rtt_ns)
        for name, whose in organisations.items()
    ]


def accepted(city: str, rtt_ns: int) -> bool:
    held = landmarks(city, rtt_ns)
    question = case(
        [each.known() for each in held],
        territory=japan(),
        claim=Claim("site_1", public_of("agent"), CITIES[city]),
        policy=Policy(liars_max=1, rounds_min=ROUNDS),
    )
    return judge([each.write() for each in held], question).accepted
