"""Lines to paragraphs fit for training: joined as Japanese is joined, normal form NFC, nothing invisible."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

JAPANESE = re.compile(r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
# Controls, zero-width characters, private use, the byte order mark, the replacement character.
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ue000-\uf8ff\ufeff\ufffd]"
)
_JAPANESE_SHARE_MIN = 0.2
_CHARACTERS_MIN = 4
# Shorter paragraphs (headings, option names) may repeat; longer ones that do are boilerplate.
_CHARACTERS_REPEATED_MAX = 40


def _needs_no_blank(left: str, right: str) -> bool:
    return left[-1] in "、。」）" or bool(JAPANESE.match(left[-1]) and JAPANESE.match(right[0]))


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Join wrapped lines; an empty line ends a paragraph. Between two Japanese characters no blank is put."""
    paragraph = ""
    for line in lines:
        if not line:
            if paragraph:
                yield paragraph
            paragraph = ""
        elif paragraph:
            paragraph += ("" if _needs_no_blank(paragraph, line) else " ") + line
        else:
            paragraph = line
    if paragraph:
        yield paragraph


def clean(text: str) -> str:
    """One paragraph in NFC, without invisible characters, each run of white space one blank."""
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", text)).split())


def is_japanese(paragraph: str) -> bool:
    """Whether at least a fifth of a paragraph of four or more characters is kana or kanji."""
    return len(paragraph) >= _CHARACTERS_MIN and len(
        JAPANESE.findall(paragraph)
    ) >= _JAPANESE_SHARE_MIN * len(paragraph)


class Seen:
    """Paragraphs met so far, so that a licence notice at the end of a thousand pages counts once."""

    def __init__(self) -> None:
        """Start with none."""
        self._paragraphs: set[str] = set()

    def is_new(self, paragraph: str) -> bool:
        """Whether a paragraph is short or has not been met; meeting it is remembered."""
        if len(paragraph) <= _CHARACTERS_REPEATED_MAX:
            return True
        before = len(self._paragraphs)
        self._paragraphs.add(paragraph)
        return len(self._paragraphs) > before
