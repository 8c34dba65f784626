"""Values of the kernel as Cedar's JSON, and the slice of a request as canonical bytes.

The slice is what a decision looked at, without the time: its digest is what records call `facts`. References are
`{"id", "type"}`, moments `{"ms"}`, sets sorted arrays. Cedar is given the same content in its own spelling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sekisho.charter.schema import Shapes
from sekisho.charter.vocabulary import IDENTITY, NOW, Attribute
from sekisho.kernel.clock import rfc3339
from sekisho.kernel.facts import Entity, Moment, Ref, Value

_LARGEST = 2**53
encoder = msgspec.json.Encoder(order="sorted")


class MalformedError(Exception):
    """A value that no charter can speak of; its text names the type, never the value."""


def cedar_value(value: Value) -> Any:  # noqa: ANN401 - JSON of any shape
    """One value in Cedar's JSON; MalformedError for a type or number outside the shared subset."""
    if isinstance(value, str) or value is True or value is False:
        return value
    if type(value) is int and -_LARGEST < value < _LARGEST:
        return value
    if isinstance(value, Ref):
        return {"__entity": {"type": value.type, "id": value.id}}
    if isinstance(value, frozenset):
        return sorted(_text(item) for item in value)
    if isinstance(value, Moment):
        return {"__extn": {"fn": "datetime", "arg": cedar_moment(value.ms)}}
    if isinstance(value, Mapping):
        return {_text(name): cedar_value(part) for name, part in value.items()}
    raise MalformedError(type(value).__name__)


def _text(item: object) -> str:
    if not isinstance(item, str):
        raise MalformedError(type(item).__name__)
    return item


def cedar_moment(time_ms: int) -> str:
    """The argument of Cedar's `datetime`; MalformedError outside the years 1 to 9999."""
    try:
        return rfc3339(time_ms)
    except (ValueError, OverflowError, OSError, TypeError) as error:
        raise MalformedError("datetime") from error


def cedar_entity(entity: Entity, shapes: Shapes) -> dict[str, Any]:
    """One entity in Cedar's JSON, with its id as an attribute where its type has one."""
    attributes = cedar_value(entity.attributes)
    if shapes.attribute(entity.ref.type, IDENTITY) is not None:
        if IDENTITY in attributes:
            raise MalformedError(IDENTITY)
        attributes[IDENTITY] = entity.ref.id
    return {
        "uid": {"type": entity.ref.type, "id": entity.ref.id},
        "attrs": attributes,
        "parents": [{"type": parent.type, "id": parent.id} for parent in entity.parents],
    }


def references(values: Mapping[str, Value]) -> Iterator[Ref]:
    """Every reference in some attributes, also inside records."""
    for value in values.values():
        kind = type(value)
        if kind is Ref:
            yield value  # pyrefly: ignore[invalid-yield] - `kind` has told
        elif kind not in _FLAT and isinstance(value, Mapping):
            yield from references(value)


_CEDAR_TYPE: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "long": int,
    "bool": bool,
    "datetime": Moment,
    "strings": frozenset,
    "entity": Ref,
    "record": Mapping,
}


def misfit(where: str, values: Mapping[str, Value], shape: Mapping[str, Attribute]) -> str:
    """The first attribute that does not fit, in words for whoever wrote the caller; empty when all do.

    Names attributes and types, never values.
    """
    for name in sorted({*values, *shape} - {NOW, IDENTITY}):
        wanted = shape.get(name)
        if wanted is None:
            return f"{where}.{name} is not in the schema"
        if name not in values:
            if wanted.required:
                return f"{where}.{name} is missing"
            continue
        value = values[name]
        flag_as_number = wanted.kind == "long" and isinstance(value, bool)
        foreign = isinstance(value, Ref) and value.type != wanted.entity
        if flag_as_number or foreign or not isinstance(value, _CEDAR_TYPE[wanted.kind]):
            got = value.type if isinstance(value, Ref) else type(value).__name__
            return f"{where}.{name} is a {got}, not {wanted.entity or wanted.kind}"
        if isinstance(value, Mapping):
            inner = misfit(f"{where}.{name}", value, {field.name: field for field in wanted.fields})
            if inner:
                return inner
    return ""


_FLAT = frozenset({str, int, bool, frozenset, Moment})


def moments(values: Mapping[str, Value]) -> Iterator[int]:
    """Every moment in some attributes, in milliseconds."""
    for value in values.values():
        if isinstance(value, Moment):
            yield value.ms
        elif isinstance(value, Mapping):
            yield from moments(value)


class Slice(msgspec.Struct, frozen=True):
    """Everything one decision can depend on but the time. Its canonical JSON is the body of `facts`."""

    action: str
    context: Mapping[str, Value]
    entities: msgspec.Raw
    principal: Entity
    resource: Entity
    v: int = 1


def encode_entities(entities: Iterable[Entity]) -> msgspec.Raw:
    """Slow entities as they stand in a slice: an array sorted by type and id."""
    return msgspec.Raw(encoder.encode(sorted(entities, key=lambda entity: entity.ref)))
