"""What could come next on the command line; asked by the shells' completion scripts.

Words come from the catalogue. Ids come from the server within 0.3 s of the start or not at all: a shell that
hangs on Tab is worse than one that completes less.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence

from sekisho_client import settings
from sekisho_client.commands import Catalogue, Entry

ANSWER_SECONDS = 0.3
_GLOBALS = ("--json", "--lang", "--url", "--no-progress", "--help")
_IDS = 50


def candidates(known: Catalogue, words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Print each candidate for the last of `words` (which may be empty) with a tab and what it means."""
    typed = words[-1] if words else ""
    language = settings.language_of(environment) or "en"
    for word, about in _next(known, [w for w in words[:-1] if not w.startswith("-")], typed, language):
        if word.startswith(typed):
            sys.stdout.write(f"{word}\t{about}\n")
    sys.stdout.flush()
    return 0


def _next(known: Catalogue, before: list[str], typed: str, language: str) -> Iterator[tuple[str, str]]:
    if not before:
        yield from ((word, entry.about[language]) for word, entry in known.daily.items())
        yield from ((noun, about[language]) for noun, about in known.nouns.items())
        yield from ((one, entry.about[language]) for (one, verb), entry in known.by_words.items() if not verb)
        return
    noun = known.noun_of(before[0])
    if noun and len(before) == 1 and not typed.startswith("-"):
        yield from ((verb, entry.about[language]) for verb, entry in known.verbs(noun).items())
    entry, given = _entry(known, noun, before)
    if entry is None:
        return
    if typed.startswith("-"):
        yield from ((field.option, field.help[language]) for field in entry.fields if not field.word)
        yield from ((option, "") for option in _GLOBALS)
        return
    positions = [field for field in entry.fields if field.word]
    if given < len(positions):
        yield from ((choice, "") for choice in positions[given].choices)
        if positions[given].where == "path":
            yield from _ids(known, entry.noun)


def _entry(known: Catalogue, noun: str, before: list[str]) -> tuple[Entry | None, int]:
    """The command so far and how many of its own words stand there."""
    if noun and len(before) > 1 and (noun, before[1]) in known.by_words:
        return known.by_words[noun, before[1]], len(before) - 2
    if before[0] in known.daily:
        return known.daily[before[0]], len(before) - 1
    return known.by_words.get((before[0], "")), len(before) - 1


def _ids(known: Catalogue, noun: str) -> list[tuple[str, str]]:
    """Ids that the noun's list shows, if the server is quick."""
    listing = known.by_words.get((noun, "list"))
    if listing is None or not listing.page or listing.module:
        return []
    found: list[tuple[str, str]] = []
    thread = threading.Thread(target=_ask, args=(listing, found), daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    return list(found)


def _ask(listing: Entry, found: list[tuple[str, str]]) -> None:
    """In a thread that may be left behind: nothing here may print or raise."""
    try:
        from sekisho_client.client import connect  # noqa: PLC0415 - the HTTP library is slow to load

        with connect(settings.load(os.environ), timeout_seconds=ANSWER_SECONDS, tries=1) as client:
            items = client.call(listing.name)["items"]
        found += [(str(item["id"]), str(item.get("name", ""))) for item in items[:_IDS] if "id" in item]
    except Exception:  # noqa: BLE001 - no ids then
        return
