"""What a charter allows over its whole finite domain: whether data can leak, and whether anybody can govern.

The domain holds every literal of the charter, each ±1, and one more text; only what the policies of an action look
at counts. A charter that cannot be searched within the budget, or that says something formulas cannot express, is
refused rather than trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sekisho.charter.compiled import Charter
from sekisho.charter.conditions import Compiler
from sekisho.charter.errors import LEAKS, LOCKED, UNDECIDED, CharterError
from sekisho.charter.formulas import (
    Domains,
    Formula,
    UnsupportedError,
    Variable,
    asks,
    both,
    contains,
    either,
    negation,
    no,
    test,
    yes,
)
from sekisho.charter.policies import Policy, expressions, operator, walk
from sekisho.charter.rules import FLOOR_LEVEL
from sekisho.charter.schema import Action, Shapes
from sekisho.charter.search import Budget, ExhaustedError, Region, Rulebook, regions
from sekisho.charter.vocabulary import ANYWHERE, GROUPS, Side

GOVERNING = ("charter.version.draft", "charter.version.activate")
RULE_ACTIONS = frozenset(group.any_action for group in GROUPS if group.side is Side.RULE)
_MOVING = frozenset(group.name for group in GROUPS if group.moves_data)


class Kind(msgspec.Struct, frozen=True):
    """One kind of request: what a formula is compiled for."""

    action: str
    principal: str
    resource: str


def check_leaks(charter: Charter, budget: Budget) -> None:
    """Raise `charter.leaks` with an example if level 2 or above could leave its residency, whoever asks.

    Permits are not relied on: a permit added later must not open a hole. Raises `charter.undecided` when the
    search ends without an answer.
    """
    moving = [name for name, action in charter.shapes.actions.items() if action.groups & _MOVING]
    # What is about residency first: asking for what the others look at would split the domain for nothing.
    first = frozenset(policy.key for policy in charter.policies if _looks_at(policy, "residency"))
    for kind, policies in kinds(charter, moving):
        ordered = sorted(policies, key=lambda policy: policy.key not in first)
        try:
            found = _leak(charter, kind, ordered, budget)
        except ExhaustedError as error:
            raise CharterError(UNDECIDED, what=f"{kind.action}: more than the search may visit") from error
        except UnsupportedError as error:
            raise CharterError(UNDECIDED, what=f"{kind.action}: cannot analyse {error}") from error
        if found is not None:
            raise CharterError(LEAKS, action=kind.action, example="; ".join(described(found)))


def _leak(charter: Charter, kind: Kind, policies: Iterable[Policy], budget: Budget) -> Region | None:
    compiler = compiler_for(charter.shapes, kind)
    outside = _outside(compiler.domains, charter.shapes, charter.shapes.actions[kind.action], kind.resource)
    if outside is None:
        return None
    book = rulebook(compiler, policies, open_to_all=True)

    def step(region: Region, left: Rulebook) -> tuple[Variable | bool, Rulebook]:
        leaving = outside(region)
        if leaving is False:
            return False, left
        verdict = left.verdict(region)
        if verdict.denied:
            return False, left
        return leaving if isinstance(leaving, Variable) else verdict.ask or True, verdict.left

    return next(regions(step, compiler.domains, budget, book), None)


def _outside(domains: Domains, shapes: Shapes, action: Action, resource: str) -> Formula | None:
    """Level 2 or above, and the place not in the residency; None for actions that move no data to a place."""
    place = next(
        (path for name, path in _PLACES.items() if name in action.context),
        None,
    )
    own = "residency" in action.context
    if place is None or not (own or shapes.attribute(resource, "residency")):
        return None
    residency = ("context" if own else "resource", "residency")
    levels = [("resource", "level")] if shapes.attribute(resource, "level") else []
    levels += [("context", "level")] if "level" in action.context else []
    high: Formula = no
    for path in levels:
        level = Variable("number", path)
        domains.near(level, FLOOR_LEVEL)
        high = either(high, test(level, lambda value: bool(value >= FLOOR_LEVEL)))
    country = Variable("text", place)
    domains.add(country)
    anywhere = asks(Variable("member", residency, ANYWHERE))
    return both(high, negation(either(contains(residency, country), anywhere)))


_PLACES: Mapping[str, tuple[str, ...]] = {
    "destination": ("context", "destination"),
    "site": ("context", "site", "country"),
}


def check_governable(charter: Charter, budget: Budget) -> None:
    """Raise `charter.locked` if no person at all could draft and activate the charter after this one."""
    for name in GOVERNING:
        plan = charter.plan(name)
        kind = Kind(name, "User", "Charter")
        if plan is None or not _satisfiable(charter, kind, plan.policies, budget):
            raise CharterError(LOCKED, action=name, needed=2)


def _satisfiable(charter: Charter, kind: Kind, policies: Iterable[Policy], budget: Budget) -> bool:
    compiler = compiler_for(charter.shapes, kind)
    try:
        book = rulebook(compiler, policies)

        def step(region: Region, left: Rulebook) -> tuple[Variable | bool, Rulebook]:
            verdict = left.verdict(region)
            answer = verdict.allowed if verdict.allowed is not None else (verdict.ask or False)
            return answer, verdict.left

        return next(regions(step, compiler.domains, budget, book), None) is not None
    except (ExhaustedError, UnsupportedError) as error:
        raise CharterError(UNDECIDED, what=f"{kind.action}: cannot analyse {error}") from error


def _looks_at(policy: Policy, attribute: str) -> bool:
    nodes = (node for body in expressions((policy,)) for node in walk(body))
    return any(operator(node) == "." and node["."]["attr"] == attribute for node in nodes)


def compiler_for(shapes: Shapes, kind: Kind) -> Compiler:
    """A compiler for one kind of request."""
    return Compiler(shapes, shapes.actions[kind.action], kind.principal, kind.resource)


def rulebook(compiler: Compiler, policies: Iterable[Policy], *, open_to_all: bool = False) -> Rulebook:
    """Formulas of `policies` by rule id, but for those that never hold.

    `open_to_all` takes a permit for everybody in place of theirs.
    """
    compiled = [(policy, formula) for policy in policies if (formula := compiler.policy(policy)) is not no]
    forbids = {policy.id: formula for policy, formula in compiled if policy.effect == "forbid"}
    permits = {policy.id: formula for policy, formula in compiled if policy.effect == "permit"}
    return Rulebook(forbids, {"": yes} if open_to_all else permits)


def kinds(charter: Charter, names: Iterable[str]) -> Iterator[tuple[Kind, tuple[Policy, ...]]]:
    """Every kind of request once: actions that the same policies speak of in the same way are one."""
    seen: set[tuple[object, ...]] = set()
    for name in sorted(names, key=lambda one: (not one.endswith(".any"), one)):
        action = charter.shapes.actions[name]
        policies = tuple(policy for policy in charter.policies if policy.speaks_of(action))
        for principal in action.principals:
            for resource in action.resources:
                keys = tuple(policy.key for policy in policies)
                sort = (keys, tuple(sorted(action.context)), principal, resource, name in RULE_ACTIONS)
                if sort not in seen:
                    seen.add(sort)
                    yield Kind(name, principal, resource), policies


def described(region: Region) -> tuple[str, ...]:
    """A region in words: one fact per variable, in the order of their paths."""
    return tuple(fact(variable, (region[variable],)) for variable in sorted(region))


def fact(variable: Variable, values: tuple[Any, ...]) -> str:
    """`resource.level is 2, 3`: one variable with the values it may have."""
    path, value = ".".join(variable.path), values[0]
    if len(values) > 1 and isinstance(value, bool):
        return f"{path} {variable.element} is either".replace("  ", " ")
    match variable.kind:
        case "member":
            return f"{path} {'has' if value else 'lacks'} {variable.element}"
        case "has":
            return f"{path} is {'there' if value else 'absent'}"
        case "filled":
            return f"{path} is {'not empty' if value else 'empty'}"
        case "in":
            return f"{path} is {'in' if value else 'not in'} {variable.element}"
        case "moment" | "literal":
            return f"{path or variable.element} is {', '.join(_apart(span) for span in values)}"
        case "entity":
            return f"{path} is {', '.join(ref.id for ref in values)}"
        case _:
            return f"{path} is {', '.join(str(one) for one in values)}"


def _apart(span_ms: int) -> str:
    if span_ms == 0:
        return "now"
    return f"{abs(span_ms)} ms {'ahead' if span_ms > 0 else 'ago'}"
