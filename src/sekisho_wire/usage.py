"""Wrong use of a command line: what argparse says, in both languages, with a code and where help is.

What is not in the table (a newer Python's) is said in English in both. Standard library only: the client asks nothing
of anybody before it has read its words.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import NoReturn

CODE = "input.usage"
EXIT = 2
"""The exit status of wrong use, as argparse has it."""
JAPANESE = "ja"
_SENTENCES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"the following arguments are required: "), "a command is needed", "コマンドが必要です"),
    (re.compile(r"the following arguments are required: (.+)"), "", r"次の引数が必要です：\1"),
    (re.compile(r"unrecognized arguments: (.+)"), "", r"不明な引数です：\1"),
    (re.compile(r"argument (.+): expected one argument"), "", r"\1には値が必要です"),
    (re.compile(r"argument (.+): ignored explicit argument .*"), "", r"\1に値は付けられません"),
    (
        re.compile(r"argument : invalid choice: (.+) \(choose from (.+)\)"),
        r"no such command: \1 (choose from \2)",
        r"\1というコマンドはありません（\2から選んでください）",
    ),
    (
        re.compile(r"argument (.+): invalid choice: (.+) \(choose from (.+)\)"),
        "",
        r"\1に\2は指定できません（\3から選んでください）",
    ),
)


def in_words(message: str, language: str) -> str:
    """What argparse says, in a language."""
    for pattern, english, japanese in _SENTENCES:
        found = pattern.fullmatch(message)
        words = japanese if language == JAPANESE else english
        if found:
            return found.expand(words) if words else message
    return message


class Parser(argparse.ArgumentParser):
    """Says what is wrong as every other error of ours is said. Made by `parser_in`."""

    language = "en"

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def error(self, message: str) -> NoReturn:
        """Called by argparse for every mistake."""
        said = in_words(message, self.language)
        sys.stderr.write(f"error: {said}  [{CODE}]\nhint: {self.prog} --help\n")
        self.exit(EXIT)


def parser_in(language: str) -> type[Parser]:
    """The class whose parsers, and those of their commands, speak a language."""
    return type("Parser", (Parser,), {"language": language})
