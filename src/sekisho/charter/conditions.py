"""Compiles conditions of policies, in Cedar's JSON form, to formulas for one kind of principal and resource."""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from sekisho.charter.formulas import (
    Domains,
    Formula,
    UnsupportedError,
    Variable,
    asks,
    both,
    compares,
    contains,
    either,
    every,
    negation,
    no,
    some,
    test,
    yes,
)
from sekisho.charter.policies import COMPARISONS, Node, Policy, instant_ms, is_now, literal, operator, span_ms
from sekisho.charter.schema import Action, Shapes
from sekisho.charter.vocabulary import Attribute
from sekisho.kernel.facts import Ref

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": python.eq,
    "!=": python.ne,
    "<": python.lt,
    "<=": python.le,
    ">": python.gt,
    ">=": python.ge,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_KINDS: Mapping[str, Any] = {
    "string": "text",
    "long": "number",
    "bool": "flag",
    "datetime": "moment",
    "entity": "entity",
}


class Place(msgspec.Struct, frozen=True):
    """Something reached by attributes from principal, resource or context, with its type."""

    path: tuple[str, ...]
    type: Attribute

    def variable(self) -> Variable:
        """The question for its value."""
        if self.type.kind not in _KINDS:
            raise UnsupportedError(f"{'.'.join(self.path)} as a value")
        return Variable(_KINDS[self.type.kind], self.path)


class Compiler:
    """Compiles for one action, principal type and resource type; collects domains on the way."""

    def __init__(self, shapes: Shapes, action: Action, principal: str, resource: str) -> None:
        """The types decide `is`, `has` and which attributes there are."""
        self._shapes = shapes
        self._action = action
        self._types = {"principal": principal, "resource": resource}
        self.domains = Domains()
        self._operators: Mapping[str, Callable[[Node], Formula]] = {
            "Value": self._value,
            "&&": self._connective,
            "||": self._connective,
            "!": self._negated,
            "if-then-else": self._choice,
            "has": self._has,
            "is": self._is,
            "in": self._in,
            ".": self._flag,
            "contains": self._sets,
            "containsAll": self._sets,
            "containsAny": self._sets,
            "isEmpty": self._sets,
        }

    def policy(self, policy: Policy) -> Formula:
        """The whole policy: scope and all conditions."""
        formula = self.scope(policy)
        for holds, body in policy.conditions:
            if formula is no:
                break
            condition = self.formula(body)
            formula = both(formula, condition if holds else negation(condition))
        return formula

    def scope(self, policy: Policy) -> Formula:
        """What the scope says of principal and resource; the action is decided already."""
        formula: Formula = yes if policy.speaks_of(self._action) else no
        for name in ("principal", "resource"):
            scope = policy.form[name]
            if scope["op"] == "is" and scope["entity_type"] != self._types[name]:
                return no
            inside = scope["in"] if "in" in scope else scope if scope["op"] == "in" else None
            if inside is not None:
                formula = both(formula, self._member_of(name, inside["entity"]))
            if scope["op"] == "==":
                formula = both(formula, self._is_entity(self._place({"Var": name}), scope["entity"]))
        return formula

    def formula(self, node: Node) -> Formula:
        """One expression of type Bool; UnsupportedError for what formulas cannot express."""
        name = operator(node)
        if name in COMPARISONS:
            return self._comparison(name, node[name]["left"], node[name]["right"])
        compile_operator = self._operators.get(name)
        if compile_operator is None:
            raise UnsupportedError(name)
        return compile_operator(node)

    def _value(self, node: Node) -> Formula:
        return yes if node["Value"] is True else no

    def _negated(self, node: Node) -> Formula:
        return negation(self.formula(node["!"]["arg"]))

    def _choice(self, node: Node) -> Formula:
        body = node["if-then-else"]
        condition = self.formula(body["if"])
        then = no if condition is no else self.formula(body["then"])
        otherwise = no if condition is yes else self.formula(body["else"])
        return either(both(condition, then), both(negation(condition), otherwise))

    def _is(self, node: Node) -> Formula:
        body = node["is"]
        place = self._place(body["left"])
        inside = self._member_of_path(place, body["in"]) if "in" in body else yes
        return both(yes if place.type.entity == body["entity_type"] else no, inside)

    def _in(self, node: Node) -> Formula:
        return self._member_of_path(self._place(node["in"]["left"]), node["in"]["right"])

    def _flag(self, node: Node) -> Formula:
        place = self._place(node)
        if place.type.kind != "bool":
            raise UnsupportedError(".".join(place.path))
        self.domains.add(place.variable())
        return asks(place.variable())

    def _connective(self, node: Node) -> Formula:
        """Left first: a decided left side spares the right one, which may not even be typed for these entities."""
        name = operator(node)
        body = node[name]
        left = self.formula(body["left"])
        if name == "&&":
            return no if left is no else both(left, self.formula(body["right"]))
        return yes if left is yes else either(left, self.formula(body["right"]))

    def _place(self, node: Node) -> Place:
        name = operator(node)
        if name == "Var" and node["Var"] in self._types:
            variable = node["Var"]
            return Place((variable,), Attribute(variable, "entity", entity=self._types[variable]))
        if name != ".":
            raise UnsupportedError(name)
        left, attribute = node["."]["left"], node["."]["attr"]
        if left == {"Var": "context"}:
            return Place(("context", attribute), self._known(self._action.context.get(attribute), attribute))
        base = self._place(left)
        return Place((*base.path, attribute), self._known(self._step(base.type, attribute), attribute))

    def _known(self, found: Attribute | None, name: str) -> Attribute:
        if found is None:
            raise UnsupportedError(name)
        return found

    def _step(self, base: Attribute, name: str) -> Attribute | None:
        if base.kind == "record":
            return next((field for field in base.fields if field.name == name), None)
        return self._shapes.attribute(base.entity, name)

    def _has(self, node: Node) -> Formula:
        left, name = node["has"]["left"], node["has"]["attr"]
        if left == {"Var": "context"}:
            path, found = ("context",), self._action.context.get(name)
        else:
            base = self._place(left)
            path, found = base.path, self._step(base.type, name)
        if found is None or found.required:
            return no if found is None else yes
        variable = Variable("has", (*path, name))
        self.domains.add(variable)
        return asks(variable)

    def _member_of(self, name: str, entity: Mapping[str, str]) -> Formula:
        return self._member_of_path(self._place({"Var": name}), {"Value": {"__entity": entity}})

    def _member_of_path(self, place: Place, right: Node) -> Formula:
        value = right.get("Value")
        if not isinstance(value, Mapping) or "__entity" not in value:
            raise UnsupportedError("in")
        entity = value["__entity"]
        variable = Variable("in", place.path, f"{entity['type']}::{entity['id']}")
        self.domains.add(variable)
        return asks(variable)

    def _is_entity(self, place: Place, entity: Mapping[str, str]) -> Formula:
        if place.type.entity != entity["type"]:
            return no
        named, variable = Ref(entity["type"], entity["id"]), place.variable()
        self.domains.entity(variable, place.type.entity, named)
        return test(variable, lambda value: value == named)

    def _sets(self, node: Node) -> Formula:
        name = operator(node)
        body = node[name]
        if name == "isEmpty":
            return negation(self._ask("filled", self._set_place(body["arg"]), ""))
        left, right = body["left"], body["right"]
        if operator(left) == "Set":
            return self._in_literals(name, _texts(left), right)
        place = self._set_place(left)
        if name == "contains":
            return self._contains(place, right)
        members = [self._ask("member", place, text) for text in _texts(right)]
        return every(members) if name == "containsAll" else some(members)

    def _in_literals(self, name: str, texts: tuple[str, ...], right: Node) -> Formula:
        """`["a", "b"].contains(x)`."""
        place = self._place(right)
        if name != "contains" or place.type.kind != "string":
            raise UnsupportedError(name)
        self.domains.add(place.variable(), *texts)
        return test(place.variable(), lambda value: value in texts)

    def _set_place(self, node: Node) -> Place:
        place = self._place(node)
        if place.type.kind != "strings":
            raise UnsupportedError(".".join(place.path))
        return place

    def _ask(self, kind: Literal["member", "filled"], place: Place, text: str) -> Formula:
        variable = Variable(kind, place.path, text)
        self.domains.add(variable)
        return asks(variable)

    def _contains(self, place: Place, right: Node) -> Formula:
        """`set.contains("text")`, or of an attribute: which question follows depends on the attribute's value."""
        text = literal(right)
        if isinstance(text, str):
            return self._ask("member", place, text)
        asked = self._place(right)
        if asked.type.kind != "string":
            raise UnsupportedError("contains")
        self.domains.add(asked.variable())
        return contains(place.path, asked.variable())

    def _comparison(self, name: str, left: Node, right: Node) -> Formula:
        for first, second, sign in ((left, right, name), (right, left, _MIRRORED[name])):
            formula = self._against(sign, first, second)
            if formula is not None:
                return formula
        return self._places(name, self._place(left), self._place(right))

    def _against(self, name: str, left: Node, right: Node) -> Formula | None:
        """A fact against a literal, or the time against a fact; None when it is neither, this way round."""
        if operator(left) == "durationSince" and span_ms(right) is not None:
            return self._since(name, left["durationSince"], span_ms(right) or 0)
        if is_now(left):
            return self._moment(_MIRRORED[name], right, 0)
        if (
            operator(left) == "offset"
            and is_now(left["offset"][0])
            and span_ms(left["offset"][1]) is not None
        ):
            return self._moment(_MIRRORED[name], right, span_ms(left["offset"][1]) or 0)
        entity = right.get("Value") if isinstance(right.get("Value"), Mapping) else None
        if entity is not None and "__entity" in entity:
            same = self._is_entity(self._place(left), entity["__entity"])
            return negation(same) if name == "!=" else same
        value = literal(right)
        if value is None or operator(left) == "Value":
            return None
        return self._literal(name, self._place(left), value)

    def _literal(self, name: str, place: Place, value: str | int) -> Formula:
        variable, compare = place.variable(), _COMPARE[name]
        if variable.kind == "number" and isinstance(value, int):
            self.domains.near(variable, value)
        else:
            self.domains.add(variable, *((value,) if variable.kind == "text" else ()))
        return test(variable, lambda found: compare(found, value))

    def _since(self, name: str, sides: Iterable[Node], span: int) -> Formula:
        first, second = sides
        if is_now(first):
            # now - t CMP span, with t counted from now: t is compared with -span, mirrored.
            return self._moment(_MIRRORED[name], second, -span)
        if is_now(second):
            return self._moment(name, first, span)
        raise UnsupportedError("durationSince between two facts")

    def _moment(self, name: str, node: Node, from_now_ms: int) -> Formula:
        """`node` compared with the time `from_now_ms` from now."""
        instant = instant_ms(node)
        variable = (
            Variable("literal", (), str(instant)) if instant is not None else self._place(node).variable()
        )
        if variable.kind not in {"moment", "literal"} or is_now(node):
            raise UnsupportedError("context.now")
        self.domains.near(variable, from_now_ms)
        compare = _COMPARE[name]
        return test(variable, lambda found: compare(found, from_now_ms))

    def _places(self, name: str, left: Place, right: Place) -> Formula:
        """Two facts against each other: only whether they are the same."""
        first, second, compare = left.variable(), right.variable(), _COMPARE[name]
        if (
            name not in {"==", "!="}
            or first.kind != second.kind
            or first.kind not in {"entity", "text", "flag"}
        ):
            raise UnsupportedError(f"{'.'.join(left.path)} {name} {'.'.join(right.path)}")
        if first.kind == "entity":
            if left.type.entity != right.type.entity:
                return no if name == "==" else yes
            self.domains.entity(first, left.type.entity)
            self.domains.entity(second, right.type.entity)
        elif first.kind == "text":
            self.domains.link(first, second)
        else:
            self.domains.add(first)
            self.domains.add(second)
        return compares(first, second, compare)


def _texts(node: Node) -> tuple[str, ...]:
    if operator(node) != "Set":
        raise UnsupportedError(operator(node))
    texts = tuple(text for item in node["Set"] if isinstance(text := literal(item), str))
    if len(texts) != len(node["Set"]):
        raise UnsupportedError("a set of anything but text")
    return texts
