"""How text is shown: its languages, its width in a terminal, and nothing in it that could do harm there."""

from __future__ import annotations

import unicodedata

LANGUAGES = ("en", "ja")


def display_width(text: str) -> int:
    """Columns a text takes in a terminal: two for wide Japanese characters."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def visible(text: str) -> str:
    """Text from a bundle, made harmless for a terminal: nothing unprintable survives."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
