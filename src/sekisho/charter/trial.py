"""JSON from people as charter values, guided by the schema: for trying out requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sekisho.charter.compiled import Charter
from sekisho.charter.model import EntityInput
from sekisho.charter.vocabulary import IDENTITY, NOW, Attribute
from sekisho.charter.worlds import World
from sekisho.kernel.clock import parse_rfc3339
from sekisho.kernel.errors import InvalidInputError
from sekisho.kernel.facts import Entity, Moment, Ref, Value

KindT = TypeVar("KindT")


def entity(charter: Charter, world: World, given: EntityInput, where: str) -> Entity:
    """The entity meant; InvalidInputError names the attribute that does not fit its type."""
    shape = charter.shapes.entities.get(given.type)
    if shape is None:
        raise InvalidInputError(field=f"{where}.type", what=f"unknown type {given.type[:64]!r}")
    ref = Ref(given.type, given.id)
    if given.attributes is None:
        return world.entities.get(ref) or Entity(ref)
    attributes = record(given.attributes, shape, f"{where}.attributes")
    parents = tuple(Ref("Team", parent) for parent in given.parents)
    return Entity(ref, attributes, parents)


def record(given: Mapping[str, Any], shape: Mapping[str, Attribute], where: str) -> dict[str, Value]:
    """Every attribute of a shape that is given; unknown and missing ones are refused by name."""
    wanted = {name: attribute for name, attribute in shape.items() if name not in {IDENTITY, NOW}}
    for name in given:
        if name not in wanted:
            raise InvalidInputError(field=f"{where}.{name[:64]}", what="not in the schema")
    for name, attribute in wanted.items():
        if attribute.required and name not in given:
            raise InvalidInputError(field=f"{where}.{name}", what="missing")
    return {name: _value(value, wanted[name], f"{where}.{name}") for name, value in given.items()}


def _value(given: object, attribute: Attribute, where: str) -> Value:
    if attribute.kind == "record":
        if not isinstance(given, dict):
            raise InvalidInputError(field=where, what="expected an object")
        return record(given, {field.name: field for field in attribute.fields}, where)
    if attribute.kind == "entity":
        return Ref(attribute.entity, _checked(given, str, where))
    return _SCALARS[attribute.kind](given, where)


def _checked(given: object, kind: type[KindT], where: str) -> KindT:
    # Not isinstance: `true` is no number here.
    if not isinstance(given, kind) or type(given) is not kind:
        raise InvalidInputError(field=where, what=f"expected {kind.__name__}")
    return given


def _moment(given: object, where: str) -> Moment:
    try:
        return Moment(parse_rfc3339(_checked(given, str, where)))
    except ValueError as error:
        raise InvalidInputError(field=where, what="expected an RFC 3339 moment") from error


def _texts(given: object, where: str) -> frozenset[str]:
    return frozenset(_checked(item, str, where) for item in _checked(given, list, where))


_SCALARS: Mapping[str, Callable[[object, str], Value]] = {
    "string": lambda given, where: _checked(given, str, where),
    "long": lambda given, where: _checked(given, int, where),
    "bool": lambda given, where: _checked(given, bool, where),
    "datetime": _moment,
    "strings": _texts,
}
