"""How values are spelled in JSON: moments as RFC 3339, lists as pages, every answer one object.

Inside, a moment is an integer of milliseconds since the epoch in a field ending `_ms`; in the API it is text in
UTC in a field ending `_at`, null for 0. A duration never ends in `_ms` in a command or a view.
"""

from __future__ import annotations

import types
import typing
from typing import Any, TypeAlias

import msgspec

from sekisho.kernel.clock import parse_rfc3339, rfc3339

JsonValue: TypeAlias = Any
"""A JSON value whose shape is a schema's or a command's."""

INSIDE, OUTSIDE = "_ms", "_at"


def api_name(name: str) -> str:
    """A field's name in JSON: `ended_ms` is `ended_at`, and plain `time_ms` is `time`."""
    if name == "time" + INSIDE:
        return "time"
    return name.removesuffix(INSIDE) + OUTSIDE if name.endswith(INSIDE) else name


def moment_ms(text: str) -> int:
    """Milliseconds since the epoch of a moment as the API takes it; ValueError for one without a zone."""
    return parse_rfc3339(text)


def is_list(result: object) -> bool:
    """Whether an answer of this type is a list that the API shows as one page."""
    return typing.get_origin(result) in {list, tuple}


def is_page(result: object) -> bool:
    """Whether an answer of this type has `items` and `next`."""
    return is_list(result) or {"items", "next"} <= set(getattr(result, "__struct_fields__", ()))


def is_object(result: object) -> bool:
    """Whether an answer of this type is an object already; other scalars are wrapped as `result`."""
    if isinstance(result, types.UnionType) or typing.get_origin(result) is typing.Union:
        return all(is_object(inner) for inner in typing.get_args(result))
    return hasattr(result, "__struct_fields__") or typing.get_origin(result) is dict or result is msgspec.Raw


def answer(result: object) -> dict[str, Any]:
    """What the API answers for a command's result."""
    plain = _respell(msgspec.json.decode(msgspec.json.encode(result)))
    if isinstance(plain, list):
        return {"items": plain, "next": None}
    if plain is None:
        return {}
    if not isinstance(plain, dict):
        return {"result": plain}
    if "items" in plain and "next" in plain:
        plain["next"] = plain["next"] or None
    return plain


def _respell(value: object) -> object:
    if isinstance(value, list):
        return [_respell(item) for item in value]
    if isinstance(value, dict):
        return dict(_respell_pair(name, inner) for name, inner in value.items())
    return value


def _respell_pair(name: str, value: object) -> tuple[str, object]:
    if name.endswith(INSIDE) and (value is None or (isinstance(value, int) and not isinstance(value, bool))):
        return api_name(name), rfc3339(value) if value else None
    return name, _respell(value)


def respell_schema(schema: JsonValue) -> JsonValue:
    """The same change, made to a JSON schema of the type."""
    if isinstance(schema, list):
        return [respell_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: respell_schema(inner) for name, inner in schema.items() if name != "properties"}
    if isinstance(changed.get("pattern"), str):
        # Python's end of text; JSON Schema speaks ECMAScript, where `$` is just that.
        changed["pattern"] = changed["pattern"].replace(r"\Z", "$")
    if "properties" in schema:
        changed["properties"] = dict(
            _schema_pair(name, inner) for name, inner in schema["properties"].items()
        )
    if "required" in schema:
        changed["required"] = [api_name(name) for name in schema["required"]]
    return changed


def _schema_pair(name: str, schema: JsonValue) -> tuple[str, JsonValue]:
    if not name.endswith(INSIDE):
        return name, respell_schema(schema)
    described = {"description": schema["description"]} if "description" in schema else {}
    return api_name(name), {"type": ["string", "null"], "format": "date-time", **described}
