"""From the bytes of a request to a command, or to one clear problem.

msgspec alone would take duplicate keys, U+0000 and integers of any size, so the JSON is read by the standard
library with its hooks, walked once, and only then converted by msgspec against the command's type.
"""

from __future__ import annotations

import functools
import json
import math
import typing
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from sekisho.http import complaints, spelling
from sekisho.http.errors import (
    BAD_CHARACTER,
    DUPLICATE_FIELD,
    NO_BODY,
    NOT_JSON,
    NOT_OBJECT,
    NOT_UTF8,
    NUMBER_RANGE,
    TOO_DEEP,
    RefusedError,
)
from sekisho.http.route import Route
from sekisho.kernel.command import Command
from sekisho_wire import problems
from sekisho_wire.problems import Language, Text

DEPTH_MAX = 32
QUERY_FIELDS_MAX = 100
LARGEST = 2**53 - 1
"""Beyond it JSON readers disagree, and neither database column nor evidence holds it."""

LANGUAGE = "lang"
"""The one query parameter that belongs to no command."""


class Input(msgspec.Struct, frozen=True):
    """What a request carries for its command, before anything was looked at."""

    path: Mapping[str, str]
    query: bytes
    body: bytes


def command_from(route: Route, given: Input) -> Command[Any]:
    """The command of a route; RefusedError with an `input.*` code for everything that is not exactly one."""
    fields = {spelling.api_name(field.name): field for field in msgspec.structs.fields(route.command)}
    values = {name: _lax(field_of(route, name), [text]) for name, text in given.path.items()}
    query = parse_query(given.query)
    if given.body and not route.takes_body:
        raise RefusedError(NO_BODY, method=route.method)
    in_query = [
        name for name in fields if fields[name].name not in route.placeholders and not route.takes_body
    ]
    _no_other(list(query), in_query)
    values |= {fields[name].name: _lax(fields[name], texts) for name, texts in query.items()}
    check_values(values)
    if given.body:
        body = read_object(given.body)
        check_values(body)
        values |= _body_values(route, body)
    try:
        return msgspec.convert(values, route.command)
    except msgspec.ValidationError as error:
        raise complaints.refuse(error) from None


def field_of(route: Route, name: str) -> msgspec.structs.FieldInfo:
    """One field of the route's command; KeyError where the table names a field that is not there."""
    return {field.name: field for field in msgspec.structs.fields(route.command)}[name]


def is_moment(field: msgspec.structs.FieldInfo) -> bool:
    """Whether the API takes this field as an RFC 3339 text."""
    return field.name.endswith(spelling.INSIDE)


def takes_many(field: msgspec.structs.FieldInfo) -> bool:
    """Whether the field is a collection, given in a query by repeating it."""
    kind = inspect.type_info(field.type)
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return any(isinstance(one, inspect.CollectionType | inspect.VarTupleType) for one in kinds)


def parse_query(query: bytes) -> dict[str, list[str]]:
    """Query parameters in order, `lang` left out; `input.not_utf8` and `input.malformed` for what is not one."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except UnicodeDecodeError:
        raise RefusedError(NOT_UTF8) from None
    except ValueError:
        what = Text("more than {limit} query parameters", "クエリの項目数が{limit}を超えています")
        raise RefusedError(problems.INPUT_MALFORMED, limit=QUERY_FIELDS_MAX, texts={"what": what}) from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name != LANGUAGE:
            found.setdefault(name, []).append(value)
        elif value not in set(Language):
            what = Text("en or ja is needed", "enまたはjaが必要です")
            raise RefusedError(problems.INPUT_INVALID, field=LANGUAGE, texts={"what": what})
    return found


def read_object(body: bytes) -> dict[str, Any]:
    """One JSON object of distinct names."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError(NOT_UTF8) from None
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise RefusedError(NOT_JSON, line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise RefusedError(TOO_DEEP, limit=DEPTH_MAX) from None
    if not isinstance(value, dict):
        raise RefusedError(NOT_OBJECT)
    return value


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse, anywhere inside, what msgspec takes and we do not."""
    stack: list[tuple[str, Any, int]] = [(name, value, 1) for name, value in values.items()]
    while stack:
        name, value, depth = stack.pop()
        if depth > DEPTH_MAX:
            raise RefusedError(TOO_DEEP, limit=DEPTH_MAX)
        if isinstance(value, dict):
            for key, inner in value.items():
                _check_text(key, name)
                stack.append((f"{name}.{key}", inner, depth + 1))
        elif isinstance(value, list):
            stack += [(f"{name}[{index}]", inner, depth + 1) for index, inner in enumerate(value)]
        elif isinstance(value, str):
            _check_text(value, name)
        elif isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= LARGEST):
            raise RefusedError(NUMBER_RANGE, field=_printable(name))


def _check_text(text: str, name: str) -> None:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in _suspicious(text)):
        raise RefusedError(BAD_CHARACTER, field=_printable(name))


def _suspicious(text: str) -> str:
    """The text, or nothing when it can be encoded, which is the quick test for a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text
    return ""


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode().replace("\0", "?")[:200]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise RefusedError(DUPLICATE_FIELD, field=_printable(name))
        found[name] = value
    return found


def _no_constant(name: str) -> typing.NoReturn:
    what = Text("{name} is not JSON", "{name}はJSONの値ではありません")
    raise RefusedError(problems.INPUT_MALFORMED, name=name, texts={"what": what})


def _integer(digits: str) -> int:
    # int() refuses thousands of digits by raising, and takes its time over hundreds.
    return int(digits) if len(digits) < 20 else LARGEST + 1  # noqa: PLR2004 - longer than any 64-bit number


def _body_values(route: Route, body: dict[str, Any]) -> dict[str, Any]:
    """A body's values under the names that the command has for them."""
    described = _described(route.command)
    open_fields = tuple(field for field in described.fields if field.encode_name not in route.placeholders)
    return _struct(open_fields, body, "")


@functools.lru_cache(maxsize=1024)
def _described(command: type[Command[Any]]) -> inspect.StructType:
    found = inspect.type_info(command)
    if not isinstance(found, inspect.StructType):
        raise TypeError(command.__name__)
    return found


def _struct(fields: tuple[inspect.Field, ...], value: dict[str, Any], path: str) -> dict[str, Any]:
    """An object's values under inside names, objects within it too; `input.unknown_field` for any other name."""
    known = {spelling.api_name(field.encode_name): field for field in fields}
    _no_other(list(value), list(known), path)
    found: dict[str, Any] = {}
    for name, inner in value.items():
        field, place = known[name], f"{path}{name}"
        is_time = field.encode_name.endswith(spelling.INSIDE)
        found[field.encode_name] = (
            _moment(field.type, inner, place) if is_time else _inside(field.type, inner, place)
        )
    return found


def _inside(kind: inspect.Type, value: object, path: str) -> object:
    """The same for any value; whatever does not fit its type is left for msgspec to complain about."""
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    structs = [one for one in kinds if isinstance(one, inspect.StructType)]
    for one in kinds:
        if isinstance(one, inspect.StructType) and isinstance(value, dict):
            if len(structs) > 1:
                return value  # only its tag says which of them is meant, and msgspec reads that
            return _struct(one.fields, value, f"{path}.")
        if isinstance(one, inspect.DictType) and isinstance(value, dict):
            return {name: _inside(one.value_type, inner, f"{path}.{name}") for name, inner in value.items()}
        if isinstance(one, inspect.CollectionType) and isinstance(value, list):
            return [_inside(one.item_type, inner, f"{path}[{index}]") for index, inner in enumerate(value)]
    return value


def _no_other(given: list[str], known: list[str], path: str = "") -> None:
    for name in given:
        if name not in known:
            raise complaints.unknown_field(_printable(name), known, path + _printable(name))


def _moment(kind: inspect.Type, value: object, path: str) -> object:
    """Milliseconds of an RFC 3339 text. Null is "no such moment": 0 inside, unless the field knows null itself."""
    if value is None:
        return None if isinstance(kind, inspect.UnionType) else 0
    try:
        if isinstance(value, str) and (found := spelling.moment_ms(value)) >= 0:
            return found
    except (ValueError, OverflowError):
        pass
    what = Text(
        "a moment such as 2026-11-20T05:03:11Z is needed",
        "2026-11-20T05:03:11Zのような日時が必要です",
    )
    raise RefusedError(problems.INPUT_INVALID, field=_printable(path), texts={"what": what})


def _lax(field: msgspec.structs.FieldInfo, texts: list[str]) -> object:
    """The value of a field given as text: numbers and booleans are read from their usual spelling."""
    many = takes_many(field)
    if len(texts) > 1 and not many:
        raise RefusedError(DUPLICATE_FIELD, field=spelling.api_name(field.name))
    if is_moment(field):
        return _moment(inspect.type_info(field.type), texts[0], spelling.api_name(field.name))
    try:
        converted = msgspec.convert(texts if many else texts[0], field.type, strict=False)
    except msgspec.ValidationError as error:
        raise complaints.refuse(_at(error, spelling.api_name(field.name))) from None
    return msgspec.to_builtins(converted)


def _at(error: msgspec.ValidationError, name: str) -> msgspec.ValidationError:
    """The complaint about a lone value, placed at its field's name."""
    what, _, path = str(error).partition(" - at `$")
    return msgspec.ValidationError(f"{what} - at `$.{name}{path or '`'}")
