"""Parsing and dispatch of `sekishod`; each command's work is in a file of its own."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from sekisho.kernel import config
from sekisho.kernel.errors import DeniedError, SekishoError
from sekisho.server.texts import HELP
from sekisho_wire.problems import Exit, Language
from sekisho_wire.usage import parser_in

Run = Callable[["Call"], int]


class Call(msgspec.Struct, frozen=True):
    """One invocation: settings in force, parsed arguments, language, and whether the answer is JSON."""

    settings: config.Settings
    arguments: argparse.Namespace
    language: Language
    as_json: bool

    def write(self, value: object, text: str) -> None:
        """The answer: JSON on demand, else text; nothing else ever goes to standard output."""
        line = msgspec.json.encode(value).decode() if self.as_json else text
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Something on the way, for a person; standard error."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `sekishod`; answers the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    language = _language(words)
    parsed = _parser(language).parse_args(words)
    try:
        file = Path(parsed.config) if parsed.config else config.default_file()
        settings = config.load(file, os.environ)
        run: Run = parsed.run
        return run(Call(settings, parsed, language, parsed.json))
    except SekishoError as error:
        sys.stderr.write(f"error: {sentence(error, language)}  [{error.code}]\n")
        if error.problem.hint:
            hint = error.problem.hint.render(language, error.filled(language))
            sys.stderr.write(f"hint: {hint}\n")
        return int(error.problem.exit)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)


def sentence(error: SekishoError, language: Language) -> str:
    """An error's sentence in the caller's language."""
    if isinstance(error, DeniedError):
        return error.sentence(language)
    return error.problem.text.render(language, error.filled(language))


def _language(words: Sequence[str]) -> Language:
    """`--lang`, else SEKISHO_LANG, else the locale; read before parsing because the help is in it."""
    named = next((words[at + 1] for at, word in enumerate(words[:-1]) if word == "--lang"), "")
    variables = (os.environ.get(name, "") for name in ("SEKISHO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"))
    found = named or next((value for value in variables if value), "")
    return Language.JA if found.lower().startswith("ja") else Language.EN


def _parser(language: Language) -> argparse.ArgumentParser:
    def says(key: str) -> str:
        return HELP[key].render(language, {})

    parser = parser_in(language)(prog="sekishod", description=says(""), add_help=False)
    _common(parser, says)
    verbs = parser.add_subparsers(title=says("commands"), metavar="", required=True)

    def verb(name: str, run: Run) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=says(name), description=says(name), add_help=False)
        added.add_argument("-h", "--help", action="help", help=says("help"))
        added.set_defaults(run=run)
        return added

    _init(verb("init", _lazy("initialise")), says)
    for name in ("up", "serve", "migrate", "fsck", "doctor"):
        verb(name, _lazy(name))
    verb("backup", _lazy("backup")).add_argument("target", help=says("target"))
    restore = verb("restore", _lazy("restore"))
    restore.add_argument("source", help=says("source"))
    restore.add_argument("--tokens", required=True, help=says("tokens"))
    verb("config", _lazy("config")).add_argument("what", nargs="?", default="show", choices=["show"])
    return parser


def _common(parser: argparse.ArgumentParser, says: Callable[[str], str]) -> None:
    parser.add_argument("-h", "--help", action="help", help=says("help"))
    parser.add_argument("--config", default="", help=says("file"))
    parser.add_argument("--lang", default="", choices=["en", "ja"], help=says("lang"))
    parser.add_argument("--json", action="store_true", help=says("json"))


def _init(parser: argparse.ArgumentParser, says: Callable[[str], str]) -> None:
    parser.add_argument("--organisation", required=True, help=says("organisation"))
    parser.add_argument("--jurisdiction", default="JP", help=says("jurisdiction"))
    parser.add_argument("--admin", action="append", required=True, help=says("admin"))
    parser.add_argument("--charter", default="", help=says("charter"))


def _lazy(name: str) -> Run:
    """Help must be quick: what a command needs is imported when it runs."""

    def run(call: Call) -> int:
        found: Run = getattr(importlib.import_module(f"sekisho.server.{_HOMES[name]}"), name)
        return found(call)

    return run


_HOMES = {
    "initialise": "operations",
    "fsck": "operations",
    "doctor": "operations",
    "config": "operations",
    "up": "service",
    "serve": "service",
    "migrate": "service",
    "backup": "backup",
    "restore": "backup",
}
"""Which file does a command's work."""
