"""Which requests two charters answer differently, in terms of what the rules that differ look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sekisho.charter.analysis import RULE_ACTIONS, Kind, compiler_for, fact, kinds, rulebook
from sekisho.charter.compiled import Charter
from sekisho.charter.conditions import Compiler
from sekisho.charter.formulas import Domains, UnsupportedError, Variable
from sekisho.charter.policies import Policy
from sekisho.charter.search import Budget, ExhaustedError, Region, Rulebook, regions

CHANGES_MAX = 200


class Change(msgspec.Struct, frozen=True):
    """A region of requests that two charters answer differently.

    `when` names only what the differing rules look at: among the requests it describes, those that no other rule
    decides change from allowed to denied or back.
    """

    action: str
    principals: tuple[str, ...]
    resources: tuple[str, ...]
    when: tuple[str, ...]
    allowed_before: bool
    allowed_after: bool
    rules: tuple[str, ...]
    """The rules that deny on the denying side; where none does, the permits of the allowing side."""


class Changes(msgspec.Struct, frozen=True):
    """All changes, or the first `CHANGES_MAX`; `complete` is False when the search was cut short."""

    items: tuple[Change, ...]
    complete: bool
    visited: int


class _Row(msgspec.Struct, frozen=True):
    kind: Kind
    when: Mapping[Variable, tuple[Any, ...]]
    allowed_after: bool
    rules: tuple[str, ...]


class _Sides(msgspec.Struct, frozen=True):
    """The two charters for one kind of request: whole, and reduced to the rules that differ."""

    before: Rulebook
    after: Rulebook
    only_before: Rulebook
    only_after: Rulebook


def changes(before: Charter, after: Charter, budget: Budget) -> Changes:
    """Compare action by action, over the actions both schemas know.

    For the abstract actions of rule groups every permit counts as given, so that rules are compared before a
    command of the group exists.
    """
    rows: list[_Row] = []
    complete = True
    try:
        for kind, sides, compiler in _kinds(before, after):
            found: list[_Row] = []
            try:
                for region in _undecided(sides, compiler.domains, budget):
                    found += _row(kind, sides, region, (compiler.domains, budget))
            finally:
                rows += _joined(found)
    except (ExhaustedError, UnsupportedError):
        complete = False
    merged = _merged(rows)
    return Changes(tuple(merged[:CHANGES_MAX]), complete and len(merged) <= CHANGES_MAX, budget.visited)


def _kinds(before: Charter, after: Charter) -> Iterator[tuple[Kind, _Sides, Compiler]]:
    old, new = _bodies(before.policies), _bodies(after.policies)
    seen: set[tuple[object, ...]] = set()
    shared = [name for name in before.shapes.actions if name in after.shapes.actions]
    for charter in (before, after):
        for kind, _ in kinds(charter, shared):
            action = after.shapes.actions[kind.action]
            mine = [one for one in before.policies if one.speaks_of(before.shapes.actions[kind.action])]
            yours = [one for one in after.policies if one.speaks_of(action)]
            gone = [one for one in mine if _body(one) not in new]
            come = [one for one in yours if _body(one) not in old]
            sort = (
                tuple(one.key for one in mine),
                tuple(one.key for one in yours),
                kind.principal,
                kind.resource,
            )
            if not (gone or come) or (*sort, kind.action in RULE_ACTIONS) in seen:
                continue
            seen.add((*sort, kind.action in RULE_ACTIONS))
            compiler = compiler_for(after.shapes, kind)
            everybody = kind.action in RULE_ACTIONS
            books = [rulebook(compiler, some, open_to_all=everybody) for some in (mine, yours)]
            parts = [rulebook(compiler, some, open_to_all=everybody) for some in (gone, come)]
            yield kind, _Sides(*books, *parts), compiler


def _body(policy: Policy) -> bytes:
    """What a policy says, whatever it is called."""
    parts = {name: value for name, value in policy.form.items() if name != "annotations"}
    return msgspec.json.encode(parts, order="sorted")


def _bodies(policies: Iterable[Policy]) -> frozenset[bytes]:
    return frozenset(_body(policy) for policy in policies)


def _undecided(sides: _Sides, domains: Domains, budget: Budget) -> Iterator[Region]:
    """Regions, in terms of the differing rules alone, where these rules do not come to the same."""

    def step(region: Region) -> Variable | bool:
        old, new = sides.only_before.verdict(region), sides.only_after.verdict(region)
        if old.denied and new.denied:
            return False
        ask = old.ask or new.ask
        return ask if ask is not None else (old.denied, old.permitted) != (new.denied, new.permitted)

    return regions(step, domains, budget)


def _row(kind: Kind, sides: _Sides, within: Region, search: tuple[Domains, Budget]) -> Iterator[_Row]:
    """At most one row: the region, if some request in it is really answered differently."""

    def step(region: Region) -> Variable | bool:
        old, new = sides.before.verdict(region), sides.after.verdict(region)
        if old.allowed is not None and new.allowed is not None:
            return old.allowed != new.allowed
        if old.denied and new.denied:
            return False
        return old.ask or new.ask or False

    witness = next(regions(step, *search, start=within), None)
    if witness is not None:
        allowed_after = bool(sides.after.verdict(witness).allowed)
        allowing, denying = (sides.after, sides.before) if allowed_after else (sides.before, sides.after)
        named = denying.deciding(witness) or allowing.deciding(witness)
        yield _Row(kind, {variable: (value,) for variable, value in within.items()}, allowed_after, named)


def _joined(rows: list[_Row]) -> list[_Row]:
    """Rows that differ in the values of one variable become one row with all these values."""
    for variable in sorted({variable for row in rows for variable in row.when}):
        groups: dict[Any, list[_Row]] = {}
        for row in rows:
            rest = tuple(sorted((one, values) for one, values in row.when.items() if one != variable))
            groups.setdefault((repr(rest), variable in row.when, row.allowed_after, row.rules), []).append(
                row
            )
        rows = [_one(group, variable) for group in groups.values()]
    return rows


def _one(group: list[_Row], variable: Variable) -> _Row:
    first = group[0]
    if variable not in first.when:
        return first
    values = {value: None for row in group for value in row.when[variable]}
    return msgspec.structs.replace(first, when={**first.when, variable: tuple(values)})


def _merged(rows: list[_Row]) -> list[Change]:
    """Say once what is the same for several types of principals and resources."""
    found: dict[tuple[object, ...], Change] = {}
    for row in rows:
        when = tuple(fact(variable, row.when[variable]) for variable in sorted(row.when))
        key = (row.kind.action, when, row.allowed_after, row.rules)
        known = found.get(key)
        principals = {row.kind.principal, *(known.principals if known else ())}
        resources = {row.kind.resource, *(known.resources if known else ())}
        found[key] = Change(
            row.kind.action,
            tuple(sorted(principals)),
            tuple(sorted(resources)),
            when,
            not row.allowed_after,
            row.allowed_after,
            row.rules,
        )
    return list(found.values())
