"""From the bytes of a request to a command, or to one clear problem.

msgspec alone would take duplicate keys, U+0000 and integers of any size, so the JSON is read by the standard
library with its hooks, walked once, and only then converted by msgspec against the command's type.
"""

from __future__ import annotations

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
from sekisho.http.routes import Route
from sekisho.kernel.command import Command
from sekisho_wire import problems
from sekisho_wire.problems import Text

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
    if route.takes_body:
        body = read_object(given.body) if given.body else {}
        values |= _body_values(route, fields, body)
        _no_other(list(query), [])
    else:
        if given.body:
            raise RefusedError(NO_BODY, method=route.method)
        _no_other(list(query), [name for name in fields if fields[name].name not in route.placeholders])
        values |= {fields[name].name: _lax(fields[name], texts) for name, texts in query.items()}
    check_values(values)
    try:
        return msgspec.convert(values, route.command)
    except msgspec.ValidationError as error:
        raise complaints.refuse(error, route.command) from None


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
            raise RefusedError(NUMBER_RANGE, field=name[:200])


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


def _body_values(
    route: Route, fields: Mapping[str, msgspec.structs.FieldInfo], body: dict[str, Any]
) -> dict[str, Any]:
    known = [name for name, field in fields.items() if field.name not in route.placeholders]
    _no_other(list(body), known)
    return {fields[name].name: _moment(fields[name], value) for name, value in body.items()}


def _no_other(given: list[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            raise complaints.unknown_field(_printable(name), known, _printable(name))


def _moment(field: msgspec.structs.FieldInfo, value: object) -> object:
    if not is_moment(field) or value is None:
        return value
    try:
        return spelling.moment_ms(str(value))
    except (TypeError, ValueError, OverflowError):
        what = Text(
            "a moment such as 2026-11-20T05:03:11Z is needed",
            "2026-11-20T05:03:11Zのような日時が必要です",
        )
        raise RefusedError(
            problems.INPUT_INVALID, field=spelling.api_name(field.name), texts={"what": what}
        ) from None


def _lax(field: msgspec.structs.FieldInfo, texts: list[str]) -> object:
    """The value of a field given as text: numbers and booleans are read from their usual spelling."""
    many = takes_many(field)
    if len(texts) > 1 and not many:
        raise RefusedError(DUPLICATE_FIELD, field=spelling.api_name(field.name))
    if is_moment(field):
        return _moment(field, texts[0])
    try:
        converted = msgspec.convert(texts if many else texts[0], field.type, strict=False)
    except msgspec.ValidationError as error:
        raise complaints.refuse(_at(error, spelling.api_name(field.name)), type(None)) from None
    return msgspec.to_builtins(converted)


def _at(error: msgspec.ValidationError, name: str) -> msgspec.ValidationError:
    """The complaint about a lone value, placed at its field's name."""
    what, _, path = str(error).partition(" - at `$")
    return msgspec.ValidationError(f"{what} - at `$.{name}{path or '`'}")
