"""Formulas over finitely many questions about a request: what conditions of policies are compiled to.

A formula asks for *variables*: the value of an attribute, whether a set contains a text, whether an optional
attribute is there, which entity a reference names. Given an assignment it answers yes, no, or the first variable it
still needs. Moments are counted in milliseconds from the time of the decision. While a condition is compiled, each
comparison leaves the values at which it changes in `Domains`, each ±1, so that the domain of every variable is
finite and misses no case.

What this cannot express (arithmetic, `like`, tags, records as values, other extension functions) raises
UnsupportedError: the explanation then stays general, and an analysis refuses the charter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from sekisho.kernel.facts import Ref

OTHER, ANOTHER = "(other)", "(another)"
"""Two texts that stand for every text a charter does not name."""


class UnsupportedError(Exception):
    """A condition uses something formulas cannot express; the text names it."""


class Variable(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """One question about a request. `element` is the text asked for in a set, or the moment of a literal."""

    kind: Literal["text", "number", "flag", "moment", "literal", "entity", "member", "filled", "has", "in"]
    path: tuple[str, ...]
    element: str = ""


class Assignment(Protocol):
    """Values of some variables: a mapping, or whatever looks them up when asked."""

    def get(self, variable: Variable, /) -> Any:  # noqa: ANN401 - of the variable's own type
        """The value, or None while it is not given."""
        ...


Formula: TypeAlias = Callable[[Assignment], "bool | Variable"]


def yes(_given: Assignment) -> bool:
    """The formula that always holds."""
    return True


def no(_given: Assignment) -> bool:
    """The formula that never holds."""
    return False


def both(left: Formula, right: Formula) -> Formula:
    """And; false as soon as one side is, whatever the other still needs."""
    if left is no or right is no:
        return no
    if left is yes or right is yes:
        return right if left is yes else left

    def holds(given: Assignment) -> bool | Variable:
        first = left(given)
        if first is False:
            return False
        second = right(given)
        return second if first is True or second is False else first

    return holds


def either(left: Formula, right: Formula) -> Formula:
    """Or; true as soon as one side is."""
    return negation(both(negation(left), negation(right)))


def negation(inner: Formula) -> Formula:
    """The opposite; what is still needed stays so."""
    if inner is yes or inner is no:
        return no if inner is yes else yes

    def holds(given: Assignment) -> bool | Variable:
        value = inner(given)
        return value if isinstance(value, Variable) else not value

    return holds


def every(parts: Iterable[Formula]) -> Formula:
    """And over any number; holds for none."""
    return functools.reduce(both, parts, yes)


def some(parts: Iterable[Formula]) -> Formula:
    """Or over any number; fails for none."""
    return functools.reduce(either, parts, no)


def test(variable: Variable, holds_for: Callable[[Any], bool]) -> Formula:
    """Whether the variable's value passes."""

    def holds(given: Assignment) -> bool | Variable:
        value = given.get(variable)
        return variable if value is None else holds_for(value)

    return holds


def asks(variable: Variable) -> Formula:
    """A variable whose value is itself yes or no."""
    return test(variable, bool)


def compares(left: Variable, right: Variable, same: Callable[[Any, Any], bool]) -> Formula:
    """Two variables against each other."""

    def holds(given: Assignment) -> bool | Variable:
        mine, yours = given.get(left), given.get(right)
        if mine is None or yours is None:
            return left if mine is None else right
        return same(mine, yours)

    return holds


def contains(path: tuple[str, ...], text: Variable) -> Formula:
    """Whether the set at `path` has the text that another variable holds: which question follows depends on it."""

    def holds(given: Assignment) -> bool | Variable:
        value = given.get(text)
        if value is None:
            return text
        member = Variable("member", path, value)
        found = given.get(member)
        return member if found is None else bool(found)

    return holds


class Domains:
    """The values of each variable between which some formula compiled with it can tell."""

    def __init__(self) -> None:
        """Start empty; compiling fills it."""
        self._values: dict[Variable, set[Any]] = {}
        self._compared: set[Variable] = set()
        self._types: dict[Variable, str] = {}

    def add(self, variable: Variable, *values: object) -> None:
        """Note the variable, and values that it is compared with."""
        self._values.setdefault(variable, set()).update(values)

    def near(self, variable: Variable, number: int) -> None:
        """Note a number that the variable is compared with, and its neighbours."""
        self.add(variable, number - 1, number, number + 1)

    def link(self, left: Variable, right: Variable) -> None:
        """Two texts are compared with each other: each takes the other's values, and one more."""
        self.add(left)
        self.add(right)
        shared = self._values[left] | self._values[right]
        joined = [self._values[left], self._values[right]]
        for variable, values in self._values.items():
            if any(values is one for one in joined):
                self._values[variable] = shared
        self._compared |= {left, right}

    def entity(self, variable: Variable, kind: str, *named: Ref) -> None:
        """The identity of a reference of type `kind` is compared, perhaps with entities named in the charter."""
        self.add(variable, *named)
        self._types[variable] = kind

    def of(self, variable: Variable) -> tuple[Any, ...]:
        """Every value to try, in a fixed order."""
        found = self._values.get(variable, set())
        match variable.kind:
            case "text":
                others = (OTHER, ANOTHER) if variable in self._compared else (OTHER,)
                return (*sorted(found), *others)
            case "number":
                return tuple(sorted(found | {0}))
            case "moment" | "literal":
                return tuple(sorted(found | {-1, 0, 1}))
            case "entity":
                kind = self._types[variable]
                peers = [peer for peer, other in self._types.items() if other == kind]
                named = {ref for peer in peers for ref in self._values[peer]}
                return (*sorted(named), *(Ref(kind, f"({number})") for number in range(1, len(peers) + 1)))
            case _:
                return (False, True)
