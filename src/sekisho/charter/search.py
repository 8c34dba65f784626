"""Exhaustive search of a finite domain, cut short wherever the outcome is already certain.

Every variable a formula asks for is given each of its values in turn; a branch ends as soon as all formulas that
matter are decided, so that a region of many tuples is visited once. What is decided in a region is so in each region
within it, and is not asked again there. Each visit counts against the budget.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from sekisho.charter.formulas import Domains, Formula, Variable

_Left = TypeVar("_Left")

TUPLES_MAX = 200_000
SECONDS_MAX = 60.0

Region: TypeAlias = Mapping[Variable, Any]
"""Values of some variables; whatever the others are, the outcome is the same."""


class ExhaustedError(Exception):
    """The budget ended before the domain did."""


class Budget:
    """Visits and seconds that a whole analysis may use. Owned by one thread."""

    def __init__(
        self, clock: Callable[[], float], *, tuples: int = TUPLES_MAX, seconds: float = SECONDS_MAX
    ) -> None:
        """`clock` counts seconds and never runs back."""
        self._clock = clock
        self._left = tuples
        self._until = clock() + seconds
        self.visited = 0

    def spend(self) -> None:
        """Count one visit; ExhaustedError when there is nothing left."""
        self.visited += 1
        if self.visited > self._left or (self.visited % 256 == 0 and self._clock() > self._until):
            raise ExhaustedError


class Verdict(msgspec.Struct, frozen=True):
    """How a region is answered, as far as that is certain. `allowed` is None while it depends on what to ask."""

    denied: bool
    permitted: bool
    ask: Variable | None
    left: Rulebook
    """What still decides in the regions within this one."""

    @property
    def allowed(self) -> bool | None:
        """Allowed, denied, or not certain yet."""
        if self.denied:
            return False
        return None if self.ask is not None else self.permitted


class Rulebook(msgspec.Struct, frozen=True):
    """Formulas of the policies that apply to one action, principal type and resource type, by rule id."""

    forbids: Mapping[str, Formula]
    permits: Mapping[str, Formula]

    def verdict(self, region: Region) -> Verdict:
        """What is certain in this region. One rule that denies is enough."""
        denied, first, forbids = _any(self.forbids, region)
        if denied:
            return Verdict(denied=True, permitted=False, ask=None, left=Rulebook(forbids, {}))
        permitted, second, permits = _any(self.permits, region)
        left = Rulebook(forbids, permits)
        return Verdict(denied=False, permitted=permitted, ask=first or second, left=left)

    def deciding(self, region: Region) -> tuple[str, ...]:
        """The rules that deny for certain, or else those that permit."""
        for formulas in (self.forbids, self.permits):
            certain = tuple(rule for rule, formula in formulas.items() if rule and formula(region) is True)
            if certain:
                return certain
        return ()


def _any(
    formulas: Mapping[str, Formula], region: Region
) -> tuple[bool, Variable | None, Mapping[str, Formula]]:
    """Whether one holds for certain; if none does, the first variable that one still asks for; what may yet hold."""
    ask, left = None, dict[str, Formula]()
    for rule, formula in formulas.items():
        value = formula(region)
        if value is True:
            return True, None, {rule: formula}
        if value is not False:
            left[rule] = formula
            ask = ask or value
    return False, ask, left


def regions(
    step: Callable[[Region, _Left], tuple[Variable | bool, _Left]],
    domains: Domains,
    budget: Budget,
    left: _Left,
    *,
    start: Region | None = None,
) -> Iterator[Region]:
    """Every region within `start` for which `step` answers True.

    `step` answers False to drop a region, and a variable to have it split. With its answer it says what is left to
    decide in the regions within, which it is given there; `left` is what it is given first.
    """
    first = dict(start or {})
    waiting: list[tuple[dict[Variable, Any], Variable | None, _Left]] = [(first, None, left)]
    while waiting:
        region, last, given = waiting.pop()
        budget.spend()
        if not consistent(region, last):
            continue
        answer, rest = step(region, given)
        if answer is True:
            yield region
        elif isinstance(answer, Variable):
            waiting += [({**region, answer: value}, answer, rest) for value in reversed(domains.of(answer))]


def consistent(region: Region, last: Variable | None = None) -> bool:
    """Whether some request can look like this: an empty set has no members, one entity has one set of facts.

    With `last`, the region is known to have been consistent before that variable was given.
    """
    kind = last.kind if last else None
    if kind in {None, "member", "filled"} and not _filled(region):
        return False
    if kind in {None, "entity"} and not _in_turn(region):
        return False
    entities = [(variable.path, value) for variable, value in region.items() if variable.kind == "entity"]
    for (left, first), (right, second) in itertools.combinations(entities, 2):
        if first == second and not _agree(region, left, right):
            return False
    return True


def _filled(region: Region) -> bool:
    for variable, value in region.items():
        if variable.kind == "member" and value and region.get(Variable("filled", variable.path)) is False:
            return False
    return True


def _in_turn(region: Region) -> bool:
    """Whether entities the charter does not name are numbered in the order met: other orders are the same case."""
    highest: dict[str, int] = {}
    for variable, value in region.items():
        if variable.kind == "entity" and value.id.startswith("("):
            number = int(value.id[1:-1])
            if number > highest.get(value.type, 0) + 1:
                return False
            highest[value.type] = max(number, highest.get(value.type, 0))
    return True


def _agree(region: Region, left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    for variable, value in region.items():
        if variable.path[: len(left)] == left and len(variable.path) > len(left):
            twin = Variable(variable.kind, (*right, *variable.path[len(left) :]), variable.element)
            if region.get(twin, value) != value:
                return False
    return True
