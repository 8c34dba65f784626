"""Charter text taken apart: policies with their scopes, conditions and what of a request they look at.

Cedar parses and validates; this file only walks the JSON form of what Cedar parsed, so that the engine knows what
a decision can depend on and lints and analysis have something to look at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import cedarpy
import msgspec

from sekisho.charter.errors import UNREADABLE, CharterError
from sekisho.charter.schema import Action
from sekisho.charter.vocabulary import IDENTITY, NOW
from sekisho.kernel.clock import parse_rfc3339

Node: TypeAlias = Mapping[str, Any]
"""One expression in Cedar's JSON form: an object with the operator as its only key."""

POLICIES_MAX = 500
TEXT_BYTES_MAX = 256 * 1024
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_SPAN = re.compile(r"(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?")
_SPAN_UNITS_MS = (86_400_000, 3_600_000, 60_000, 1_000, 1)
_DATE_LENGTH = len("2026-11-20")


class Policy(msgspec.Struct, frozen=True):
    """One permit or forbid. `key` is Cedar's positional name, `id` its `@id` (empty when it has none)."""

    key: str
    id: str
    effect: Literal["permit", "forbid"]
    form: Node
    annotations: Mapping[str, str | None]

    @property
    def conditions(self) -> tuple[tuple[bool, Node], ...]:
        """Each `when` as (True, expression) and `unless` as (False, expression); all must hold."""
        return tuple((item["kind"] == "when", item["body"]) for item in self.form["conditions"])

    def speaks_of(self, action: Action) -> bool:
        """Whether the scope lets this policy apply to `action` for some principal and resource."""
        scope = self.form["action"]
        if scope["op"] == "All":
            return True
        names = {entity["id"] for entity in scope.get("entities", ()) or (scope["entity"],)}
        if scope["op"] == "==":
            return action.name in names
        return action.name in names or not names.isdisjoint(action.groups)


def read_policies(text: str) -> tuple[Policy, ...]:
    """Every policy in the order written; CharterError for what Cedar cannot parse, and for templates."""
    if len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
        raise CharterError(UNREADABLE, what=f"longer than {TEXT_BYTES_MAX} bytes")
    try:
        document = msgspec.json.decode(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise CharterError(UNREADABLE, what=_brief(error)) from error
    if document["templates"] or document["templateLinks"]:
        raise CharterError(UNREADABLE, what="templates are not part of a charter")
    forms: Mapping[str, Node] = document["staticPolicies"]
    if not 0 < len(forms) <= POLICIES_MAX:
        raise CharterError(
            UNREADABLE, what=f"{len(forms)} policies; between 1 and {POLICIES_MAX} are possible"
        )
    keys = sorted(forms, key=lambda key: int(key.removeprefix("policy")))
    return tuple(_policy(key, forms[key]) for key in keys)


def _policy(key: str, form: Node) -> Policy:
    annotations = form.get("annotations", {})
    return Policy(key, annotations.get("id") or "", form["effect"], form, annotations)


def policy_set(policies: Iterable[Policy]) -> cedarpy.PolicySet:
    """Cedar's handle for some policies of a charter; each keeps its key and `@id`."""
    return cedarpy.PolicySet.from_json_str(set_form({policy.key: policy.form for policy in policies}))


def set_form(forms: Mapping[str, Node]) -> str:
    """Cedar's JSON form of a set of policies, by key."""
    nothing: dict[str, Node] = {}
    document = {"staticPolicies": forms, "templates": nothing, "templateLinks": ()}
    return msgspec.json.encode(document).decode()


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def operator(node: Node) -> str:
    """The one key of an expression."""
    return next(iter(node))


def children(node: Node) -> Iterator[Node]:
    """The operands of an expression, left to right."""
    body = node[operator(node)]
    if operator(node) in {"Value", "Var", "Slot"}:
        return
    if operator(node) == "Record":
        yield from body.values()
    elif isinstance(body, list):
        yield from body
    else:
        for name in ("left", "right", "arg", "if", "then", "else", "in"):
            if name in body:
                yield body[name]


def walk(node: Node) -> Iterator[Node]:
    """An expression and everything inside it."""
    yield node
    for child in children(node):
        yield from walk(child)


def expressions(policies: Iterable[Policy]) -> Iterator[Node]:
    """Every condition of every policy."""
    for policy in policies:
        for _, body in policy.conditions:
            yield body


def literal(node: Node) -> str | int | bool | None:
    """The Python value of a literal: text, number, bool; None for anything else."""
    value = node.get("Value") if operator(node) == "Value" else None
    return value if isinstance(value, str | int | bool) else None


def span_ms(node: Node) -> int | None:
    """Milliseconds of a `duration("...")` literal, or None."""
    if operator(node) != "duration":
        return None
    match = _SPAN.fullmatch(str(literal(node["duration"][0])))
    if match is None:
        return None
    total = sum(
        int(count or 0) * unit for count, unit in zip(match.groups()[1:], _SPAN_UNITS_MS, strict=True)
    )
    return -total if match[1] else total


def instant_ms(node: Node) -> int | None:
    """Milliseconds since the epoch of a `datetime("...")` literal, or None."""
    if operator(node) != "datetime":
        return None
    text = str(literal(node["datetime"][0]))
    return parse_rfc3339(text + "T00:00:00Z" if len(text) == _DATE_LENGTH else text)


def is_now(node: Node) -> bool:
    """Whether the expression is `context.now`."""
    return operator(node) == "." and node["."]["attr"] == NOW and node["."]["left"] == {"Var": "context"}


class NowUse(msgspec.Struct, frozen=True):
    """How some policies use the time of the decision.

    `simple`: only in comparisons whose outcome changes at a datetime fact or literal, give or take one duration
    literal, so that the decision is constant between those breakpoints.
    """

    simple: bool
    offsets_ms: tuple[int, ...]
    literals_ms: tuple[int, ...]


def now_use(policies: Iterable[Policy]) -> NowUse:
    """Read off what `NowUse` says from the conditions of `policies`."""
    bodies = list(expressions(policies))
    nodes = [node for body in bodies for node in walk(body)]
    spans = {span for node in nodes if (span := span_ms(node)) is not None}
    literals = {instant for node in nodes if (instant := instant_ms(node)) is not None}
    return NowUse(
        all(_simple(body) for body in bodies),
        tuple(sorted({0, *spans, *(-span for span in spans)})),
        tuple(sorted(literals)),
    )


def _simple(node: Node) -> bool:
    if operator(node) in COMPARISONS:
        sides = list(children(node))
        if not any(_touches_now(side) for side in sides):
            return True
        return _simple_comparison(sides[0], sides[1]) or _simple_comparison(sides[1], sides[0])
    if operator(node) == ".":
        return not is_now(node) and (node["."]["left"] == {"Var": "context"} or _simple(node["."]["left"]))
    if operator(node) == "has":
        return node["has"]["left"] == {"Var": "context"} or _simple(node["has"]["left"])
    return node != {"Var": "context"} and all(_simple(child) for child in children(node))


def _touches_now(node: Node) -> bool:
    """Whether the value may depend on `now`; `context` as a whole does."""
    if is_now(node):
        return True
    if operator(node) in {".", "has"} and node[operator(node)]["left"] == {"Var": "context"}:
        return False
    return node == {"Var": "context"} or any(_touches_now(child) for child in children(node))


def _simple_comparison(left: Node, right: Node) -> bool:
    """`now` against a plain moment, or the time between the two against a literal duration."""
    if is_now(left):
        return _plain_moment(right)
    if operator(left) == "offset":
        base, span = left["offset"]
        return is_now(base) and span_ms(span) is not None and _plain_moment(right)
    if operator(left) == "durationSince" and span_ms(right) is not None:
        first, second = left["durationSince"]
        return (is_now(first) and _plain_moment(second)) or (is_now(second) and _plain_moment(first))
    return False


def _plain_moment(node: Node) -> bool:
    """A fact or a literal: an attribute reached from principal, resource or context, or `datetime("...")`."""
    if instant_ms(node) is not None:
        return True
    if is_now(node):
        return False
    while operator(node) == ".":
        node = node["."]["left"]
    return operator(node) == "Var"


def looks_at_identity(policies: Iterable[Policy], variable: Literal["principal", "resource"]) -> bool:
    """Whether a policy can tell two principals (resources) apart that differ in nothing but their id."""
    for policy in policies:
        scope = policy.form[variable]
        if scope["op"] in {"==", "in"} or "in" in scope:
            return True
        if any(_tells_identity(body, variable) for _, body in policy.conditions):
            return True
    return False


def _tells_identity(node: Node, variable: str) -> bool:
    name = operator(node)
    if node == {"Var": variable}:
        return True
    if name in {".", "has", "is"} and node[name]["left"] == {"Var": variable}:
        if name == ".":
            return bool(node["."]["attr"] == IDENTITY)
        return name == "is" and "in" in node["is"]
    return any(_tells_identity(child, variable) for child in children(node))
