"""The commands this client knows: the server's, from the catalogue, and those written by hand.

The catalogue is generated from the server's table of routes. A hand-written verb has the same shape and takes
the place of a generated one with the same words.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sekisho_client.refusals import Refused, nearest
from sekisho_client.verbs import BY_HAND

_IRREGULAR: Mapping[str, str] = {"data": "data", "evidence": "evidence", "me": "me", "person": "people"}
CATALOGUE = Path(__file__).with_name("catalogue.json")


class Field(NamedTuple):
    """One thing a command takes. `kind` is text, file, integer, number, boolean, moment or json."""

    name: str
    kind: str
    where: str
    required: bool
    word: bool
    many: bool
    on: bool
    choices: tuple[str, ...]
    help: Mapping[str, str]
    sample: str

    @property
    def option(self) -> str:
        """`--name`, or `--no-name` for what is on unless said otherwise."""
        return f"--{'no-' if self.on else ''}{self.name.replace('_', '-')}"


class Entry(NamedTuple):
    """One command. `name` is the server's (`compute.job.submit`); `module` is where a hand-written one lives.

    `page` is the field that continues a list, `-` for a list that is always whole.
    """

    name: str
    noun: str
    verb: str
    daily: str
    about: Mapping[str, str]
    fields: tuple[Field, ...]
    method: str
    path: str
    columns: tuple[str, ...]
    media: str
    module: str
    examples: tuple[str, ...]
    page: str
    keyed: bool
    final: bool
    two_people: bool

    @property
    def words(self) -> str:
        """How it is called: `job show`, or `status`."""
        return f"{self.noun} {self.verb}".strip()


class Catalogue:
    """Every command by name and by words. Read once; it is under a millisecond of JSON."""

    def __init__(self, text: str) -> None:
        """Take the generated text, then lay the hand-written verbs over it."""
        value = json.loads(text)
        self.version: str = value["version"]
        self.words: Mapping[str, Any] = value["words"]
        self.nouns: dict[str, Mapping[str, str]] = dict(value["nouns"])
        self.by_name: dict[str, Entry] = {
            name: self._entry(name, entry) for name, entry in value["commands"].items()
        }
        self.by_words: dict[tuple[str, str], Entry] = {
            (entry.noun, entry.verb): entry for entry in self.by_name.values() if entry.noun
        }
        for words, given in BY_HAND.items():
            noun, _, verb = words.partition(" ")
            if given.get("needs") and given["needs"] not in self.by_name:
                continue
            self.by_words[noun, verb] = self._entry("", {"cli": [noun, verb], **given})
            if verb:
                self.nouns.setdefault(noun, given.get("noun", {"en": noun, "ja": noun}))
        self.daily: dict[str, Entry] = {
            entry.daily: entry for entry in sorted(self.by_words.values(), key=_daily_order) if entry.daily
        }

    def noun_of(self, word: str) -> str:
        """The noun that a word names in the singular or the plural, or nothing."""
        return next((noun for noun in self.nouns if word in {noun, plural(noun)}), "")

    def verbs(self, noun: str) -> dict[str, Entry]:
        """A noun's verbs, listing first."""
        found = {verb: entry for (its, verb), entry in self.by_words.items() if its == noun}
        return dict(sorted(found.items(), key=lambda pair: (pair[0] != "list", pair[0])))

    def named(self, name: str) -> Entry:
        """The server's command of this name; Refused with the nearest one."""
        if name not in self.by_name:
            raise Refused("input.unknown_command", word=name, hint=nearest(name, self.by_name))
        return self.by_name[name]

    def heading(self, name: str, language: str) -> str:
        """What stands over a column."""
        known = self.words.get(name)
        return str(known["heading"][language]) if known else name.replace("_", " ")

    def _entry(self, name: str, given: Mapping[str, Any]) -> Entry:
        noun, verb = given.get("cli") or ("", "")
        return Entry(
            name=name,
            noun=noun,
            verb=verb,
            daily=given.get("daily", ""),
            about={"en": given["en"], "ja": given["ja"]},
            fields=tuple(self._field(field) for field in given.get("fields", ())),
            method=given.get("method", ""),
            path=given.get("path", ""),
            columns=tuple(given.get("columns", ())),
            media=given.get("media", ""),
            module=given.get("module", ""),
            examples=tuple(given.get("examples", ())),
            page=given.get("page", ""),
            keyed=bool(given.get("keyed")),
            final=bool(given.get("final")),
            two_people=given.get("people") == 2,  # noqa: PLR2004 - two people
        )

    def _field(self, given: Mapping[str, Any]) -> Field:
        name = given["name"]
        word = self.words.get(name, {"help": {"en": name, "ja": name}, "sample": "..."})
        return Field(
            name=name,
            kind=given.get("kind", "text"),
            where=given.get("in", ""),
            required=bool(given.get("required")),
            word=bool(given.get("word")),
            many=bool(given.get("many")),
            on=bool(given.get("on")),
            choices=tuple(str(choice) for choice in given.get("choices", ())),
            help=given.get("help", word["help"]),
            sample=given.get("sample", word["sample"]),
        )


def _daily_order(entry: Entry) -> int:
    order = ("run", "plan", "jobs", "why", "logs", "cancel", "chat", "status", "login", "open")
    return order.index(entry.daily) if entry.daily in order else len(order)


def plural(noun: str) -> str:
    """`job` to `jobs`, `policy` to `policies`, `person` to `people`, `access` to itself."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("s"):
        return noun
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


@functools.lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """The catalogue that came with this client."""
    return Catalogue(CATALOGUE.read_text(encoding="utf-8"))
