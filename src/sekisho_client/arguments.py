"""One command's arguments: from its fields to an argparse parser, and from words to values."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sekisho_client.commands import Entry, Field
from sekisho_client.refusals import Refused, nearest


class Parser(argparse.ArgumentParser):
    """argparse without its own words: mistakes become refusals, help is ours."""

    def __init__(self, program: str, language: str) -> None:
        """`program` is what the person typed so far."""
        super().__init__(prog=program, add_help=False, allow_abbrev=False)
        self.language = language

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def error(self, message: str) -> NoReturn:
        """Called by argparse for every mistake."""
        from sekisho_wire.usage import CODE, in_words  # noqa: PLC0415 - nothing of the wire is loaded for help

        options = [
            option[2:] for action in self._actions for option in action.option_strings if option[:2] == "--"
        ]
        unknown = next(iter(re.findall(r"unrecognized arguments: --([\w-]+)", message)), "")
        near = nearest(unknown, options) if unknown else ""
        what = in_words(message, self.language)
        raise Refused(CODE, what=what, hint=f"{self.prog} --{near}" if near else f"{self.prog} --help")


def add_globals(parser: argparse.ArgumentParser) -> None:
    """Options that every command takes, before or after its words."""
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    parser.add_argument("--lang", choices=("en", "ja"), default=argparse.SUPPRESS)
    parser.add_argument("--url", default=argparse.SUPPRESS)
    parser.add_argument("--no-progress", action="store_true", default=argparse.SUPPRESS)
    parser.add_argument("-h", "--help", action="store_true", default=argparse.SUPPRESS)


def parser_for(entry: Entry, language: str) -> Parser:
    """The parser of one command's own words."""
    parser = Parser(f"sekisho {entry.words}", language)
    add_globals(parser)
    for field in entry.fields:
        _add(parser, field)
    if entry.page:
        parser.add_argument("--all", action="store_true", dest="_all")
    if entry.media:
        parser.add_argument("-o", "--output", dest="_output", default="")
    if entry.final:
        parser.add_argument("--yes", action="store_true", dest="_yes")
    return parser


def _add(parser: Parser, field: Field) -> None:
    metavar = field.name.upper()
    if field.word:
        nargs = "+" if field.many else None if field.required else "?"
        parser.add_argument(field.name, metavar=metavar, nargs=nargs)
        return
    common: dict[str, Any] = {"dest": field.name, "default": None}
    if field.kind == "boolean" and not field.required:
        parser.add_argument(field.option, action="store_const", const=not field.on, **common)
    else:
        action = "append" if field.many else "store"
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, action=action, metavar=metavar, required=field.required, **common)


def values(entry: Entry, parsed: Mapping[str, Any]) -> dict[str, Any]:
    """The fields' values as the server takes them; what was not given is left out."""
    found: dict[str, Any] = {}
    for field in entry.fields:
        given = parsed.get(field.name)
        if given is None:
            continue
        if isinstance(given, bool):
            found[field.name] = given
        else:
            found[field.name] = [_value(field, one) for one in given] if field.many else _value(field, given)
    return found


def _value(field: Field, given: str) -> object:
    if field.choices and given not in field.choices:
        raise _bad(field, given, " | ".join(field.choices), nearest(given, field.choices))
    match field.kind:
        case "integer":
            return _integer(field, given)
        case "number":
            return _number(field, given)
        case "boolean":
            return _boolean(field, given)
        case "moment":
            return _moment(field, given)
        case "file":
            return read_text(given)
        case "json":
            return _json(field, given)
        case _:
            return given


def _bad(field: Field, given: object, kind: str, hint: str = "") -> Refused:
    name = field.name.upper() if field.word else field.option
    return Refused("input.bad_value", name=name, value=str(given)[:100], kind=kind, hint=hint)


def _integer(field: Field, given: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,15}", given):
        raise _bad(field, given, "integer")
    return int(given)


def _number(field: Field, given: str) -> float:
    if not re.fullmatch(r"[+-]?\d{1,15}(\.\d{1,15})?", given):
        raise _bad(field, given, "number")
    return float(given)


def _boolean(field: Field, given: str) -> bool:
    if given not in {"true", "false"}:
        raise _bad(field, given, "true | false")
    return given == "true"


def _moment(field: Field, given: str) -> str:
    try:
        zoned = datetime.datetime.fromisoformat(given).tzinfo is not None
    except ValueError:
        zoned = False
    if not zoned:
        raise _bad(field, given, "2026-12-31T00:00:00Z")
    return given


def _json(field: Field, given: str) -> object:
    """A JSON value, or the content of a file named after `@`."""
    try:
        return json.loads(read_text(given[1:]) if given.startswith("@") else given)
    except json.JSONDecodeError as error:
        raise _bad(field, given, f"JSON ({error.lineno}:{error.colno})") from None


def read_text(name: str) -> str:
    """A file's text, `-` for standard input; Refused with the nearest name beside it."""
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("input.bad_file", path=name) from None
    except OSError:
        raise Refused("input.no_file", path=name, hint=near_file(name)) from None


def near_file(name: str) -> str:
    """A file in the same folder whose name is nearly this one, or nothing."""
    path = Path(name)
    try:
        beside: Sequence[str] = [one.name for one in path.parent.iterdir()]
    except OSError:
        return ""
    found = nearest(path.name, beside)
    return str(path.parent / found) if found and str(path.parent) != "." else found
