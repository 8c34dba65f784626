"""Shell text read into its statements: one a line, however many lines it is written on.

Only as much of the grammar as it takes to see what a line does: words, what ends or joins commands, and what the shell
replaces before it starts anything. What cannot be read so is answered as unreadable, never guessed.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

SAME_OUTPUT: Final = re.compile(r"[12]?>&[12](?=\s|$)")
"""One output sent where the other goes: no file, no further command."""
HERE_DOCUMENT: Final = re.compile(r"<<(-?)[ \t]*(?:'([^'\n]+)'|\"([^\"\n]+)\"|\\?([\w.]+))")
NAME: Final = re.compile(r"\$(?:\w+|[?$!#@*-])")
ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*\+?=")


class UnreadableError(ValueError):
    """A quote, bracket or here-document that never ends, or too many inside each other."""


class Word(NamedTuple):
    """One word as it is written, on one line, and where it begins and ends in the whole text."""

    text: str
    start: int
    end: int


class Statement(NamedTuple):
    """One line with all it goes on to; `text` is what was written, without the line's end.

    `operators` are what joins, ends or redirects commands; `expansions` what the shell itself replaces (`$NAME`,
    `${...}`, `$(...)`, backticks), which is not what stands in single quotes.
    """

    text: str
    start: int
    words: tuple[Word, ...]
    operators: tuple[str, ...]
    expansions: tuple[str, ...]

    @property
    def command(self) -> int:
        """The number of the first word that is no assignment."""
        return next(
            (at for at, word in enumerate(self.words) if not ASSIGNMENT.match(word.text)), len(self.words)
        )

    @property
    def first(self) -> str:
        """The first word, or nothing."""
        return self.words[0].text if self.words else ""


def statements(text: str) -> list[Statement]:
    """The text's statements in order; their texts joined by line ends are the text again. UnreadableError."""
    scanner = _Scanner(text)
    found: list[Statement] = []
    try:
        while True:
            found.append(scanner.statement())
            if scanner.at >= len(text):
                return found
            scanner.at += 1
    except RecursionError as error:
        raise UnreadableError from error


def unquoted(word: str) -> str:
    """A word without the quotes around it, for comparing it with words that need none."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word


class _Scanner:
    """Walks through the text once; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.at = 0
        self._words: list[Word] = []
        self._operators: list[str] = []
        self._expansions: list[str] = []

    def statement(self) -> Statement:
        """The statement from here to the line's end."""
        start = self.at
        for collected in (self._words, self._operators, self._expansions):
            collected.clear()
        documents: list[tuple[str, bool]] = []
        while self.at < len(self._text) and self._text[self.at] != "\n":
            self._token(documents)
        for delimiter, tabs in documents:
            self._skip_document(delimiter, tabs=tabs)
        text = self._text[start : self.at]
        return Statement(text, start, tuple(self._words), tuple(self._operators), tuple(self._expansions))

    def _token(self, documents: list[tuple[str, bool]]) -> None:
        text, at = self._text, self.at
        if text[at] in " \t":
            self.at += 1
        elif text.startswith("\\\n", at):
            self.at += 2
        elif text[at] == "#":
            end = text.find("\n", at)
            self.at = len(text) if end < 0 else end
        elif same := SAME_OUTPUT.match(text, at):
            self.at = same.end()
        elif document := HERE_DOCUMENT.match(text, at):
            documents.append((document[2] or document[3] or document[4], bool(document[1])))
            self._operators.append("<<")
            self.at = document.end()
        elif text[at] in ";&|<>()":
            self._operators.append(text[at])
            self.at += 1
        else:
            self._word()

    def _word(self) -> None:
        start = self.at
        while self.at < len(self._text) and self._text[self.at] not in " \t\n;&|<>()":
            self._piece()
        text = self._text[start : self.at].replace("\\\n", "")
        self._words.append(Word(text, start, self.at))

    def _piece(self) -> None:
        """One character, or everything that belongs together with it."""
        match self._text[self.at]:
            case "\\":
                self.at += 2
            case "'":
                self.at = self._after("'", self.at + 1)
            case '"':
                self._quoted()
            case "$" | "`":
                self._expansion()
            case _:
                self.at += 1

    def _quoted(self) -> None:
        self.at += 1
        while self._here() != '"':
            if self._here() == "\\":
                self.at += 2
            elif self._here() in "$`":
                self._expansion()
            else:
                self.at += 1
        self.at += 1

    def _expansion(self) -> None:
        start, text = self.at, self._text
        if text[start] == "`":
            self.at = self._after("`", start + 1)
        elif text.startswith("$'", start):
            self.at = self._after("'", start + 2)
            return
        elif text.startswith(("$(", "${"), start):
            self._bracketed(text[start + 1])
        else:
            name = NAME.match(text, start)
            self.at = name.end() if name else start + 1
            if name is None:
                return
        self._expansions.append(text[start : self.at])

    def _bracketed(self, opening: str) -> None:
        """Up to the bracket that closes this one; what is inside is looked at by whoever cares."""
        closing, depth = {"(": ")", "{": "}"}[opening], 0
        self.at += 1
        while True:
            letter = self._here()
            if letter == "\\":
                self.at += 2
                continue
            if letter == "'":
                self.at = self._after("'", self.at + 1)
                continue
            if letter == '"':
                kept = len(self._expansions)
                self._quoted()
                del self._expansions[kept:]
                continue
            depth += (letter == opening) - (letter == closing)
            self.at += 1
            if not depth:
                return

    def _here(self) -> str:
        if self.at >= len(self._text):
            raise UnreadableError
        return self._text[self.at]

    def _after(self, letter: str, start: int) -> int:
        """The place behind the next such letter that no backslash hides; in plain single quotes none hides."""
        plain = letter == "'" and not self._text.startswith("$'", start - 2)
        while start < len(self._text):
            if self._text[start] == "\\" and not plain:
                start += 2
            elif self._text[start] == letter:
                return start + 1
            else:
                start += 1
        raise UnreadableError

    def _skip_document(self, delimiter: str, *, tabs: bool) -> None:
        while self.at < len(self._text):
            end = self._text.find("\n", self.at + 1)
            end = len(self._text) if end < 0 else end
            line = self._text[self.at + 1 : end]
            self.at = end
            if (line.lstrip("\t") if tabs else line) == delimiter:
                return
        raise UnreadableError
