"""The pure part of deciding: reserved rule names, the floor no charter lifts, breakpoints in time, narrowing."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping

import msgspec

from sekisho.charter.vocabulary import ANYWHERE
from sekisho.kernel.facts import Entity, Ref, Value

FLOOR_LEVEL = 2
"""From here up data never leaves its residency, whatever the charter says."""

FLOOR = "floor"
GENESIS = "genesis"
NO_CHARTER_RULE = "no-charter"
NO_PERMIT = "no-permit"
MALFORMED = "malformed"
EVALUATION = "evaluation"
CLOSED = "closed:"
"""Prefix of the rule that names the type of something a request refers to and that does not exist."""

RESERVED = frozenset({FLOOR, GENESIS, NO_CHARTER_RULE, NO_PERMIT, MALFORMED, EVALUATION})


def under_floor(
    resource: Mapping[str, Value], context: Mapping[str, Value], country_of: Callable[[Ref], Value | None]
) -> bool:
    """Whether data of level 2 and above would come to a country outside its residency.

    Looks at the country of the context's site and at an export's destination. Where the context carries a level
    or a residency of its own (a prompt beside its model), the higher level and that residency count. A level that
    is not a number counts as the highest, and a country that is unknown or empty as outside.
    """
    places = _places(context, country_of)
    if not places:
        return False
    residency = context.get("residency", resource.get("residency"))
    if residency is None:
        return False
    levels = [values.get("level", 0) for values in (resource, context)]
    if all(isinstance(level, int) and level < FLOOR_LEVEL for level in levels):
        return False
    allowed = residency if isinstance(residency, frozenset) else frozenset[str]()
    return ANYWHERE not in allowed and any(not place or place not in allowed for place in places)


def _places(context: Mapping[str, Value], country_of: Callable[[Ref], Value | None]) -> list[str]:
    found: list[str] = []
    site = context.get("site")
    if isinstance(site, Ref):
        country = country_of(site)
        found.append(country if isinstance(country, str) else "")
    if "destination" in context:
        destination = context["destination"]
        found.append(destination if isinstance(destination, str) else "")
    return found


def breakpoints(
    moments_ms: Iterable[int], offsets_ms: Iterable[int], literals_ms: Iterable[int]
) -> tuple[int, ...]:
    """Every time at which a decision may change: each datetime fact and literal, give or take each duration."""
    offsets = tuple(offsets_ms)
    return tuple(sorted({moment + offset for moment in (*moments_ms, *literals_ms) for offset in offsets}))


def interval(points: tuple[int, ...], now_ms: int) -> tuple[int, bool]:
    """Names the stretch of time between two breakpoints, or the breakpoint itself, that `now_ms` lies in."""
    index = bisect.bisect_left(points, now_ms)
    return index, index < len(points) and points[index] == now_ms


class Wishes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a team or a job asks for beyond the charter. An empty set of a field asks for nothing."""

    countries: frozenset[str] = frozenset()
    """Only sites in these countries."""
    jurisdictions: frozenset[str] = frozenset()
    """Only operators whose own and whose parent's jurisdiction is among these."""
    operators: frozenset[str] = frozenset()
    """Only these operators, by organisation id."""
    egress: frozenset[str] = frozenset()
    """Only these kinds of egress: of `none`, `allowlist-jp`, `allowlist`, `unproven`, `open`."""


class Candidate(msgspec.Struct, frozen=True):
    """A site that the charter allows, with its operator and the egress the job would have there."""

    site: Entity
    operator: Entity
    egress: str


def narrow(candidates: Iterable[Candidate], *wishes: Wishes) -> dict[Ref, tuple[str, ...]]:
    """For each candidate's site the fields of any wish it does not meet; an empty tuple means it stays.

    Wishes only take away: what the charter denied is not among the candidates and cannot come back.
    """
    return {
        candidate.site.ref: tuple(sorted({field for wish in wishes for field in _unmet(candidate, wish)}))
        for candidate in candidates
    }


def _unmet(candidate: Candidate, wish: Wishes) -> Iterable[str]:
    operator = candidate.operator.attributes
    if wish.countries and candidate.site.attributes.get("country") not in wish.countries:
        yield "countries"
    if wish.jurisdictions and not wish.jurisdictions.issuperset(
        {str(operator.get("jurisdiction", "")), str(operator.get("parent_jurisdiction", ""))}
    ):
        yield "jurisdictions"
    if wish.operators and candidate.operator.ref.id not in wish.operators:
        yield "operators"
    if wish.egress and candidate.egress not in wish.egress:
        yield "egress"
