"""Exhaustive search of a finite domain, cut short wherever the outcome is already certain.

Every variable a formula asks for is given each of its values in turn; a branch ends as soon as all formulas that
matter are decided, so that a region of many tuples is visited once. Each visit counts against the budget.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from sekisho.charter.formulas import Domains, Formula, Variable

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
        denied, first = _any(self.forbids.values(), region)
        if denied:
            return Verdict(denied=True, permitted=False, ask=None)
        permitted, second = _any(self.permits.values(), region)
        return Verdict(denied=False, permitted=permitted, ask=first or second)

    def deciding(self, region: Region) -> tuple[str, ...]:
        """The rules that deny for certain, or else those that permit."""
        for formulas in (self.forbids, self.permits):
            certain = tuple(rule for rule, formula in formulas.items() if rule and formula(region) is True)
            if certain:
                return certain
        return ()


def _any(formulas: Iterable[Formula], region: Region) -> tuple[bool, Variable | None]:
    """Whether one holds for certain; if none does, the first variable that one of them still asks for."""
    ask = None
    for formula in formulas:
        value = formula(region)
        if value is True:
            return True, None
        if ask is None and isinstance(value, Variable):
            ask = value
    return False, ask


def regions(
    step: Callable[[Region], Variable | bool],
    domains: Domains,
    budget: Budget,
    *,
    start: Region | None = None,
) -> Iterator[Region]:
    """Every region within `start` for which `step` answers True.

    `step` answers False to drop a region, and a variable to have it split.
    """
    waiting: list[dict[Variable, Any]] = [dict(start or {})]
    while waiting:
        region = waiting.pop()
        budget.spend()
        if not consistent(region):
            continue
        answer = step(region)
        if answer is True:
            yield region
        elif isinstance(answer, Variable):
            waiting += [{**region, answer: value} for value in reversed(domains.of(answer))]


def consistent(region: Region) -> bool:
    """Whether some request can look like this: an empty set has no members, one entity has one set of facts."""
    for variable, value in region.items():
        empty = Variable("filled", variable.path)
        if variable.kind == "member" and value and region.get(empty) is False:
            return False
    if not _in_turn(region):
        return False
    entities = [(variable.path, value) for variable, value in region.items() if variable.kind == "entity"]
    for (left, first), (right, second) in itertools.combinations(entities, 2):
        if first == second and not _agree(region, left, right):
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
