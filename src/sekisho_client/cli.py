"""`sekisho <noun> <verb> [what]`: finds the command that was meant, asks it, shows the answer.

Nothing heavy is imported before a server is really asked: help, mistakes and completion must be instant.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sekisho_client import arguments, settings
from sekisho_client.commands import Catalogue, Entry, catalogue
from sekisho_client.help import Help
from sekisho_client.refusals import INTERNAL, INTERRUPTED, ProblemError, Refused, nearest
from sekisho_client.render import Screen
from sekisho_client.session import Session

if TYPE_CHECKING:
    from sekisho_client.client import Client

_COMPLETE = "__complete"
_HELP = "help"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; answers the exit status and prints every problem itself."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    screen = Screen(
        sys.stdout,
        sys.stderr,
        language=_early_language(words),
        as_json="--json" in words,
        catalogue=catalogue(),
    )
    try:
        return _run(words, screen)
    except Refused as refused:
        screen.refused(refused)
        return refused.exit_status
    except ProblemError as problem:
        screen.problem(problem.details)
        return problem.exit_status
    except KeyboardInterrupt:
        screen.refused(Refused("client.interrupted"))
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; that is no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("SEKISHO_DEBUG"):
            raise
        screen.refused(
            Refused("client.internal", kind=type(error).__name__, hint="SEKISHO_DEBUG=1 sekisho ...")
        )
        return INTERNAL


def _run(words: list[str], screen: Screen) -> int:
    known = screen.catalogue
    if words[:1] == [_COMPLETE]:
        from sekisho_client.complete import candidates

        return candidates(known, words[1:], os.environ)
    given, rest = _globals(words, screen.language)
    if given.get("version"):
        sys.stdout.write(f"sekisho {known.version}\n")
        return 0
    wants_help = bool(given.get("help"))
    if rest[:1] == [_HELP]:
        wants_help, rest = True, _globals(rest[1:], screen.language)[1]
    helper = Help(known, screen.language)
    if not rest:
        sys.stdout.write(helper.top())
        return 0
    found = _find(known, rest, wants_help=wants_help or _asks_help(rest))
    if isinstance(found, str):
        sys.stdout.write(helper.noun(found))
        return 0
    entry, own = found
    if wants_help or _asks_help(own):
        sys.stdout.write(helper.command(entry))
        return 0
    parsed = vars(arguments.parser_for(entry, screen.language).parse_args(own))
    return _do(entry, {**given, **parsed}, screen)


def _globals(words: Sequence[str], language: str) -> tuple[dict[str, Any], list[str]]:
    """Global options before the first word, and the rest."""
    parser = arguments.Parser("sekisho", language)
    arguments.add_globals(parser)
    parser.add_argument("--version", action="store_true", default=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parsed = vars(parser.parse_args(list(words)))
    return parsed, parsed.pop("rest")


def _find(known: Catalogue, words: Sequence[str], *, wants_help: bool) -> tuple[Entry, list[str]] | str:
    """The command meant and its own words, or a noun whose verbs should be shown."""
    first, second = words[0], words[1] if len(words) > 1 else ""
    noun = known.noun_of(first)
    if noun and (noun, second) in known.by_words and second:
        return known.by_words[noun, second], list(words[2:])
    if first in known.daily:
        return known.daily[first], list(words[1:])
    if (first, "") in known.by_words:
        return known.by_words[first, ""], list(words[1:])
    if not noun:
        names = [*known.daily, *known.nouns, *(its for its, verb in known.by_words if not verb)]
        near = nearest(first, names)
        raise Refused(
            "input.unknown_command", word=first, hint=f"sekisho {near}" if near else "sekisho --help"
        )
    listing = known.by_words.get((noun, "list"))
    takes_words = listing is not None and any(field.word for field in listing.fields)
    if second and not second.startswith("-") and not takes_words:
        near = nearest(second, known.verbs(noun))
        hint = f"sekisho {noun} {near}" if near else f"sekisho {noun} --help"
        raise Refused("input.unknown_command", word=f"{noun} {second}", hint=hint)
    default = listing or known.by_words.get((noun, "show"))
    if default is None or wants_help or (default is not listing and default.fields):
        return noun
    return default, list(words[1:])


def _asks_help(words: Sequence[str]) -> bool:
    plain = list(words)[: list(words).index("--")] if "--" in words else words
    return "--help" in plain or "-h" in plain


def _early_language(words: Sequence[str]) -> str:
    """The language before anything is parsed, so that mistakes are told in it too."""
    for index, word in enumerate(words):
        given = word.removeprefix("--lang=") if word.startswith("--lang=") else ""
        if word == "--lang" and index + 1 < len(words):
            given = words[index + 1]
        if given in settings.LANGUAGES:
            return given
    found = settings.language_of(os.environ)
    if found:
        return found
    try:
        return settings.read(settings.path(os.environ)).get("language", "en")
    except Refused:
        return "en"


def _do(entry: Entry, parsed: Mapping[str, Any], screen: Screen) -> int:
    chosen = settings.load(os.environ, url=parsed.get("url", ""), language=parsed.get("lang", ""))
    session = Session(
        settings=chosen,
        screen=screen,
        entry=entry,
        progress=not parsed.get("no_progress"),
        yes=bool(parsed.get("_yes")),
        take_all=bool(parsed.get("_all")),
        output=parsed.get("_output", ""),
    )
    own = arguments.values(entry, parsed)
    run = import_module(f"sekisho_client.verbs.{entry.module}").run if entry.module else _ask
    if entry.final:
        _confirm(session)
    return int(run(session, own))


def _confirm(session: Session) -> None:
    """Ask before what cannot be undone; without a terminal the flag must have been passed."""
    if session.yes:
        return
    if not sys.stdin.isatty() or session.screen.as_json:
        raise Refused("input.needs_yes", hint=f"sekisho {session.entry.words} --yes ...")
    question = session.screen.say(
        "This cannot be undone. Go on? [y/N] ", "取り消せません。実行しますか。[y/N] "
    )
    sys.stderr.write(question)
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Refused("input.not_confirmed")


def _ask(session: Session, values: dict[str, Any]) -> int:
    """A generated verb: ask the command, show what it answers."""
    from sekisho_client.client import connect

    entry, screen = session.entry, session.screen
    with connect(session.settings) as client:
        if entry.media:
            return _save(session, client, values)
        if session.take_all:
            answer: Any = {"items": list(client.pages(entry.name, **values)), "next": None}
        else:
            answer = client.call(entry.name, **values)
    if entry.two_people and isinstance(answer, dict) and "proposal" in answer and not screen.as_json:
        screen.line("!", screen.say("Waits for a second person to approve.", "2人目の承認を待っています。"))
        screen.answer(answer, ())
        screen.hint(f"sekisho proposal approve {answer['proposal']}")
        return 0
    screen.answer(answer, entry.columns)
    if entry.page and isinstance(answer, dict) and answer.get("next"):
        screen.hint(f"sekisho {entry.words} --{entry.page} {answer['next']}")
    return 0


def _save(session: Session, client: Client, values: dict[str, Any]) -> int:
    """A command that answers with a file."""
    target = session.output
    if not target:
        raise Refused("input.missing", name="--output")
    if target == "-":
        if session.screen.as_json:
            raise Refused(
                "input.usage", what="--json, --output -", hint=f"sekisho {session.entry.words} --output FILE"
            )
        sys.stdout.flush()
        sys.stdout.buffer.write(client.fetch(session.entry.name, **values))
        return 0
    size_bytes = client.download(session.entry.name, Path(target), **values)
    if session.screen.as_json:
        session.screen.json({"file": target, "size_bytes": size_bytes})
    else:
        session.screen.line("✓", f"{target}  {size_bytes:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
