"""What Cedar's validator does not ask of a charter, and we do."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from sekisho.charter.errors import LINT, CharterError
from sekisho.charter.policies import Node, Policy, children, expressions, operator
from sekisho.charter.rules import CLOSED, RESERVED
from sekisho.charter.stores import ANNOTATION, read_networks
from sekisho.charter.texts import FAMILIES, family

_ID = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_UPPER, _LOWER = frozenset({"<", "<="}), frozenset({">", ">="})


def check(policies: Iterable[Policy]) -> None:
    """Raise `charter.lint` for the first rule that breaks a habit; see `faults`."""
    for rule, what in faults(tuple(policies)):
        raise CharterError(LINT, rule=rule, what=what)


def faults(policies: tuple[Policy, ...]) -> Iterator[tuple[str, str]]:
    """Rule and fault: ids present, unique and not ours; forbids explained; time spans bounded on both sides."""
    counts = Counter(policy.id for policy in policies)
    for policy in policies:
        name = policy.id or policy.key
        if not _ID.fullmatch(policy.id):
            yield name, "needs an @id of letters, digits, dots and dashes"
        elif counts[policy.id] > 1:
            yield name, "this @id is used more than once"
        elif policy.id in RESERVED or policy.id.startswith(CLOSED.rstrip(":")):
            yield name, "this @id is reserved"
        if policy.effect == "forbid" and not _explained(policy):
            yield name, "a forbid needs its sentence: @en and @ja, or the id of a known family"
        if not _networks_read(policy):
            yield name, f"@{ANNOTATION} needs IP networks, such as 203.0.113.0/24, separated by commas"
        if unbounded(policy):
            yield name, "durationSince needs both bounds: a moment in the future must not count as recent"


def _explained(policy: Policy) -> bool:
    own = bool(policy.annotations.get("en")) and bool(policy.annotations.get("ja"))
    return own or family(policy.id) in FAMILIES


def _networks_read(policy: Policy) -> bool:
    if ANNOTATION not in policy.annotations:
        return True
    try:
        read_networks(policy.annotations[ANNOTATION] or "")
    except ValueError:
        return False
    return True


def unbounded(policy: Policy) -> bool:
    """Whether some `a.durationSince(b)` is compared from above only or from below only."""
    signs: defaultdict[bytes, set[str]] = defaultdict(set)
    for body in expressions((policy,)):
        for sign, pair in _spans(body):
            signs[pair].add(sign)
    return any(not (found & _UPPER and found & _LOWER) for found in signs.values())


def _spans(node: Node) -> Iterator[tuple[str, bytes]]:
    """Each comparison of a span as (sign with the span on the left, the span); a span elsewhere has sign ''."""
    name = operator(node)
    flipped = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
    if name == "durationSince":
        yield "", msgspec.json.encode(node, order="sorted")
    for index, child in enumerate(children(node)):
        if name in flipped and operator(child) == "durationSince":
            yield (name if index == 0 else flipped[name]), msgspec.json.encode(child, order="sorted")
        else:
            yield from _spans(child)
