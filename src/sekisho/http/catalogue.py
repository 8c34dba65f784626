"""The catalogue of commands that the client and the command line are driven by.

It is written into the client's package, because a person's machine has no control plane to ask, and because
help must come at once. Everything in it follows from the table of routes; a test holds the file equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

import msgspec

from sekisho.http import decode, openapi, spelling
from sekisho.http.route import Route
from sekisho.http.words import FIELDS, NOUNS, word
from sekisho.kernel.command import Kind
from sekisho_wire.problems import Text

Json: TypeAlias = dict[str, Any]

_CONTINUES = ("cursor", "after")
_PROBLEM = "Details"


def catalogue(routes: Sequence[Route]) -> Json:
    """Commands by name, nouns and words; only JSON values, in a fixed order."""
    nouns = sorted({route.cli[0] for route in routes if route.cli})
    commands = {
        route.spec.name: _command(route) for route in sorted(routes, key=lambda route: route.spec.name)
    }
    fields = {field["name"] for entry in commands.values() for field in entry["fields"]}
    columns = {column for route in routes for column in route.columns}
    plain = {name for name in FIELDS if ":" not in name}
    return {
        "version": version("sekisho"),
        "nouns": {noun: _text(NOUNS.get(noun, Text(noun, noun))) for noun in nouns},
        "commands": commands,
        "words": {name: _word(name) for name in sorted(fields | columns | plain)},
    }


def encode(value: Json) -> str:
    """The catalogue as text: one command per line, so that a change to one shows as one."""
    lines = ["{", f' "version": {_dump(value["version"])},']
    for part in ("nouns", "commands", "words"):
        entries = [f"  {_dump(name)}: {_dump(entry)}" for name, entry in value[part].items()]
        lines += [f' "{part}": {{', ",\n".join(entries), " }" if part == "words" else " },"]
    return "\n".join([*lines, "}", ""])


def without_words(routes: Sequence[Route]) -> list[str]:
    """Names that people would see bare: fields, columns and members without a word, nouns without a meaning."""
    found = catalogue(routes)
    schemas = openapi.document(routes)["components"]["schemas"]
    members = {
        name
        for title, schema in schemas.items()
        for name in schema.get("properties", ())
        if title != _PROBLEM and name.removesuffix("_ja") not in FIELDS
    }
    bare = [f"field {name}" for name in found["words"] if name not in FIELDS]
    bare += [f"member {name}" for name in sorted(members)]
    return bare + [f"noun {noun}" for noun in found["nouns"] if noun not in NOUNS]


def _dump(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _text(text: Text) -> Json:
    return {"en": text.en, "ja": text.ja}


def _word(name: str) -> Json:
    known = word(name)
    return {"heading": _text(known.heading), "help": _text(known.help), "sample": known.sample}


def _command(route: Route) -> Json:
    spec = route.spec
    entry: Json = {
        "method": route.method,
        "path": route.path,
        "kind": spec.kind.value,
        "en": spec.en,
        "ja": spec.ja,
        "fields": _fields(route),
    }
    optional: Json = {
        "cli": list(route.cli) if route.cli else None,
        "daily": route.daily,
        "columns": list(route.columns),
        "people": 2 if spec.two_people else None,
        "page": _page(route),
        "media": route.media if route.download else "",
        "final": route.final,
        "keyed": spec.kind is Kind.RECORDED,
    }
    return entry | {name: value for name, value in optional.items() if value}


def _page(route: Route) -> str:
    """The field that continues a list, `-` for a list that is always whole, nothing for what is no list."""
    if not spelling.is_page(route.spec.result):
        return ""
    return next((name for name in _CONTINUES if name in route.command.__struct_fields__), "-")


def _fields(route: Route) -> list[Json]:
    schemas = openapi.schema_of(route)
    ordered = {name: position for position, name in enumerate((*route.placeholders, *route.words))}
    fields = sorted(
        msgspec.structs.fields(route.command), key=lambda field: ordered.get(field.name, len(ordered))
    )
    return [_field(route, field, schemas[spelling.api_name(field.name)]) for field in fields]


def _field(route: Route, field: msgspec.structs.FieldInfo, schema: Json) -> Json:
    where = "path" if field.name in route.placeholders else "body" if route.takes_body else "query"
    kind, choices = _kind(field, schema)
    if field.name in route.files:
        kind = "file"
    entry: Json = {"name": spelling.api_name(field.name), "in": where, "kind": kind}
    optional: Json = {
        "choices": choices,
        "many": decode.takes_many(field) and kind != "json",
        "required": field.required,
        "word": field.name in (*route.placeholders, *route.words),
        "on": kind == "boolean" and field.default is True,
    }
    own = FIELDS.get(f"{route.spec.name}:{entry['name']}")
    if own is not None:
        optional |= {"help": _text(own.help), "sample": own.sample}
    return entry | {name: value for name, value in optional.items() if value}


def _kind(field: msgspec.structs.FieldInfo, schema: Json) -> tuple[str, list[Any]]:
    """How a value is written on the command line: text, integer, number, boolean, moment, or JSON."""
    if decode.is_moment(field):
        return "moment", []
    plain = openapi.resolved(field, schema)
    if plain.get("type") == "array":
        plain = openapi.resolved(field, plain.get("items", {}))
        if plain.get("type") in {"array", "object"} or not plain:
            return "json", []
    if plain.get("enum"):
        return "text", plain["enum"]
    kinds = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}
    return kinds.get(str(plain.get("type")), "json"), []
