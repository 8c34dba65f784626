"""What people and programs see: tables by display width, tab-separated lists, JSON, problems.

Whatever came from the server is cleaned of control characters before it reaches a terminal, where an escape
sequence in a job's name would otherwise be obeyed.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from sekisho_client.commands import Catalogue
from sekisho_client.refusals import Refused

GREEN, RED, YELLOW, CYAN = 32, 31, 33, 36
_MARKS = {"✓": GREEN, "✗": RED, "!": YELLOW, "-": 0, " ": 0}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_GAP = "  "
_THOUSAND = 1000
_JAPANESE = "_ja"


class Screen:
    """Standard output and standard error of one run, in one language. Owns every line the program prints."""

    def __init__(
        self, out: TextIO, err: TextIO, *, language: str, as_json: bool, catalogue: Catalogue
    ) -> None:
        """Colour and alignment are for terminals only."""
        self.out = out
        self.err = err
        self.language = language
        self.as_json = as_json
        self.catalogue = catalogue
        self.terminal = out.isatty() and not as_json
        self._colour = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def say(self, english: str, japanese: str) -> str:
        """One of two sentences, in this screen's language."""
        return japanese if self.language == "ja" else english

    def line(self, mark: str, text: str) -> None:
        """One line that begins with one of the marks ✓ ✗ ! - or a blank; nothing when JSON is asked for."""
        if not self.as_json:
            self._print(f"{self._paint(mark, _MARKS[mark])} {clean(text)}")

    def text(self, text: str) -> None:
        """One plain line."""
        self._print(clean(text))

    def hint(self, command: str) -> None:
        """A command that can be pasted, for people only."""
        if self.terminal:
            self.err.write(f"{self._paint('hint:', CYAN)} {clean(command)}\n")

    def progress(self, text: str) -> None:
        """One plain line on standard error, whatever standard output is."""
        self.err.write(clean(text) + "\n")
        self.err.flush()

    def overwrite(self, text: str) -> None:
        """A line that the next one replaces; on a terminal only, so that a log file does not fill with it."""
        if self.err.isatty():
            self.err.write("\r\x1b[K" + clean(text))
            self.err.flush()

    def json(self, value: object) -> None:
        """One JSON value on one line: what `--json` promises, and nothing else on standard output."""
        self._print(json.dumps(value, ensure_ascii=not _is_utf8(self.out)))

    def answer(self, value: object, columns: Sequence[str]) -> None:
        """A command's result: a list as a table, anything else as its members."""
        if self.as_json:
            self.json(value)
        elif isinstance(value, dict) and isinstance(value.get("items"), list):
            self.table(value["items"], columns or _columns([self._spoken(row) for row in value["items"]]))
        elif isinstance(value, dict):
            self.members(value)
        else:
            self._print(self._cell(value))

    def table(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """A table on a terminal; with tabs, full moments and no alignment anywhere else."""
        spoken = [self._spoken(row) for row in rows]
        names = [self.catalogue.heading(column, self.language) for column in columns]
        cells = [[self._cell(row.get(column), column) for column in columns] for row in spoken]
        if not self.terminal:
            for line in [names, *cells]:
                self._print("\t".join(cell.replace("\t", " ") for cell in line))
            return
        lines = [[name.upper() for name in names], *cells]
        widths = [max(width(line[index]) for line in lines) for index in range(len(columns))]
        right = [bool(spoken) and _is_number(spoken[0].get(column)) for column in columns]
        for line in lines:
            padded = [pad(cell, widths[index], right=right[index]) for index, cell in enumerate(line)]
            self._print(_GAP.join(padded).rstrip())

    def members(self, value: Mapping[str, Any], indent: str = "") -> None:
        """An object, one member a line; lists of objects become tables below it."""
        value = self._spoken(value)
        plain = {
            name: inner
            for name, inner in value.items()
            if not _is_rows(inner) and not isinstance(inner, dict)
        }
        labels = {name: self.catalogue.heading(name, self.language) for name in plain}
        widest = max((width(label) for label in labels.values()), default=0)
        for name, inner in plain.items():
            label = pad(labels[name], widest) if self.terminal else labels[name]
            self._print(
                f"{indent}{label}{_GAP if self.terminal else chr(9)}{self._cell(inner, name, long=True)}".rstrip(
                    " "
                )
            )
        for name, inner in value.items():
            if name in plain or not inner:
                continue
            self._print(f"{indent}{self.catalogue.heading(name, self.language)}:")
            if isinstance(inner, dict):
                self.members(inner, indent + "  ")
            else:
                spoken = [self._spoken(row) for row in inner]
                self.table(spoken, _columns(spoken))

    def problem(self, details: Mapping[str, Any]) -> None:
        """A problem on standard error: one object for programs; for people a sentence, its rules and a hint."""
        if self.as_json:
            self.err.write(json.dumps(details, ensure_ascii=not _is_utf8(self.err)) + "\n")
            return
        red = self._paint("error:", RED)
        self.err.write(
            f"{red} {clean(str(details.get('detail', '')))}  [{clean(str(details.get('code', '')))}]\n"
        )
        others = [one for one in details.get("errors", ()) if one.get("sentence") != details.get("reason")]
        if others:
            self.err.write("\n")
            widest = max(width(str(one.get("rule", ""))) for one in others)
            for one in others:
                rule = pad(clean(str(one.get("rule", ""))), widest)
                self.err.write(f"  {rule}{_GAP}{clean(str(one.get('sentence', '')))}\n")
        for hint in (details.get("hint"), *_record_hint(details)):
            if hint:
                self.err.write(f"{self._paint('hint:', CYAN)} {clean(str(hint))}\n")

    def refused(self, refused: Refused) -> None:
        """A refusal of this side, shown like any problem."""
        self.problem(refused.details(self.language))

    def _spoken(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of a sentence in both languages (`why`, `why_ja`) the one that this screen speaks, under one name."""
        if {"rule", "en", "ja"} <= value.keys():
            return {"rule": value["rule"], "sentence": value[self.language]}
        pairs = {name for name in value if name + _JAPANESE in value}
        if not pairs:
            return value
        return {
            name: (value[name + _JAPANESE] or inner) if name in pairs and self.language == "ja" else inner
            for name, inner in value.items()
            if name.removesuffix(_JAPANESE) not in pairs or name in pairs
        }

    def _print(self, text: str) -> None:
        self.out.write(text + "\n")

    def _paint(self, text: str, colour: int) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text

    def _cell(self, value: object, name: str = "", *, long: bool = False) -> str:
        if value is None or value in ("", []):
            return "-" if self.terminal else ""
        if isinstance(value, bool):
            return self.say("yes" if value else "no", "はい" if value else "いいえ")
        if isinstance(value, list):
            return ", ".join(self._cell(one) for one in value)
        if isinstance(value, dict):
            return ", ".join(f"{clean(str(name))}={self._cell(inner)}" for name, inner in value.items())
        text = clean(str(value))
        if self.terminal and isinstance(value, str) and _MOMENT.fullmatch(value):
            return moment(value, language=self.language, long=long)
        if isinstance(value, int) and self.terminal:
            return size(value) if name.endswith("_bytes") else f"{value:,}"
        return text if long and self.terminal else text.replace("\n", " ")


def moment(text: str, *, language: str, long: bool, now_seconds: float | None = None) -> str:
    """A moment for people: in a list its age, over a day and in an object its date with the zone."""
    then = datetime.datetime.fromisoformat(text)
    # A person's own clock decides how old a thing looks to that person; nothing is decided by it.
    now_seconds = time.time() if now_seconds is None else now_seconds  # noqa: TID251 - see the line above
    local = then.astimezone()
    if long:
        date = f"{local:%Y年%-m月%-d日}" if language == "ja" else f"{local:%Y-%m-%d}"
        return f"{date} {local:%H:%M:%S %Z}"
    age_seconds = now_seconds - then.timestamp()
    if 0 <= age_seconds < _DAY:
        return _age(int(age_seconds), language)
    if local.year != datetime.datetime.fromtimestamp(now_seconds, local.tzinfo).year:
        return f"{local:%Y年%-m月%-d日}" if language == "ja" else f"{local:%-d %b %Y}"
    return f"{local:%-m月%-d日 %H:%M}" if language == "ja" else f"{local:%-d %b %H:%M}"


def _age(seconds: int, language: str) -> str:
    units = ((_HOUR, "h", "時間"), (_MINUTE, "min", "分"), (1, "s", "秒"))
    size, english, japanese = next(unit for unit in units if seconds >= unit[0] or unit[0] == 1)
    count = seconds // size
    return f"{count}{japanese}前" if language == "ja" else f"{count} {english} ago"


def size(count_bytes: int) -> str:
    """Bytes as people say them: `12.4 GB`, in steps of a thousand."""
    amount, units = float(count_bytes), iter(("B", "kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while abs(amount) >= _THOUSAND and unit != "PB":
        amount, unit = amount / _THOUSAND, next(units)
    return f"{amount:.1f} {unit}" if unit != "B" else f"{count_bytes} B"


def clean(text: str) -> str:
    """The text without what a terminal would obey; line ends and tabs stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def width(text: str) -> int:
    """Columns of a terminal that a text takes: two for wide characters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """The text filled with blanks to a display width."""
    blanks = " " * max(0, columns - width(text))
    return blanks + text if right else text + blanks


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Columns of rows that nobody described: the plain members of the first."""
    first: Mapping[str, Any] = next(iter(rows), {})
    return [name for name, value in first.items() if not isinstance(value, dict) and not _is_rows(value)]


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_utf8(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", "") or "").lower().replace("-", "") == "utf8"


def _record_hint(details: Mapping[str, Any]) -> list[str]:
    """A denial is evidence: say where."""
    record = details.get("record")
    return [f"sekisho record show {record}"] if record else []
