"""Which requests two charters answer differently, in terms of what the rules that differ look at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sekisho.charter.analysis import RULE_ACTIONS, Kind, compiler_for, fact, kinds, rulebook
from sekisho.charter.compiled import Charter
from sekisho.charter.conditions import Compiler
from sekisho.charter.formulas import Domains, UnsupportedError, Variable
from sekisho.charter.policies import Policy
from sekisho.charter.search import Budget, ExhaustedError, Region, Rulebook, Verdict, regions

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
    """The rules of two charters for one kind of request: those of both, and those that only one of them has."""

    common: Rulebook
    before: Rulebook
    after: Rulebook


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
    shared = [name for name in before.shapes.actions if name in after.shapes.actions]
    parted = {name: _parted(before, after, name) for name in shared}
    seen: set[tuple[object, ...]] = set()
    for kind, _ in itertools.chain(kinds(before, shared), kinds(after, shared)):
        parts = parted[kind.action]
        everybody = kind.action in RULE_ACTIONS
        sort = (
            tuple(tuple(one.key for one in part) for part in parts),
            kind.principal,
            kind.resource,
            everybody,
        )
        if not any(parts[1:]) or sort in seen:
            continue
        seen.add(sort)
        compiler = compiler_for(after.shapes, kind)
        books = [rulebook(compiler, part, open_to_all=everybody) for part in parts]
        yield kind, _Sides(*books), compiler


def _parted(before: Charter, after: Charter, action: str) -> tuple[list[Policy], ...]:
    """The policies that speak of an action: those of both charters, of the first alone, of the second alone."""
    mine = {_body(one): one for one in before.policies if one.speaks_of(before.shapes.actions[action])}
    yours = {_body(one): one for one in after.policies if one.speaks_of(after.shapes.actions[action])}
    kept = [one for body, one in yours.items() if body in mine]
    gone = [one for body, one in mine.items() if body not in yours]
    return kept, gone, [one for body, one in yours.items() if body not in mine]


def _body(policy: Policy) -> bytes:
    """What a policy says, whatever it is called."""
    parts = {name: value for name, value in policy.form.items() if name != "annotations"}
    return msgspec.json.encode(parts, order="sorted")


def _undecided(sides: _Sides, domains: Domains, budget: Budget) -> Iterator[Region]:
    """Regions, in terms of the differing rules alone, where these rules do not come to the same.

    Left out are those that a common rule denies whatever else is true.
    """

    def step(region: Region, left: _Sides) -> tuple[Variable | bool, _Sides]:
        common, old, new = (
            left.common.verdict(region),
            left.before.verdict(region),
            left.after.verdict(region),
        )
        if common.denied or (old.denied and new.denied):
            return False, left
        differ = (old.denied, old.permitted) != (new.denied, new.permitted)
        return old.ask or new.ask or differ, _Sides(common.left, old.left, new.left)

    return regions(step, domains, budget, sides)


def _row(kind: Kind, sides: _Sides, within: Region, search: tuple[Domains, Budget]) -> Iterator[_Row]:
    """At most one row: the region, if some request in it is really answered differently."""
    old, new = sides.before.verdict(within), sides.after.verdict(within)

    def allowed(own: Verdict, common: Verdict) -> bool:
        return not own.denied and (own.permitted or common.permitted)

    def step(region: Region, left: Rulebook) -> tuple[Variable | bool, Rulebook]:
        common = left.verdict(region)
        differ = not common.denied and allowed(old, common) != allowed(new, common)
        return common.ask or differ, common.left

    witness = next(regions(step, *search, sides.common, start=within), None)
    if witness is not None:
        allowed_after = allowed(new, sides.common.verdict(witness))
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
