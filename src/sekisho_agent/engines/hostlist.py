"""Slurm's short form of node names: `a-n[1-3,07],b` is a-n1, a-n2, a-n3, a-n07 and b. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Final

from sekisho_wire.messages import NODES_MAX

PART: Final = re.compile(r"\[([^\[\]]*)\]")
RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?")
COMMA_OUTSIDE_BRACKETS: Final = re.compile(r",(?![^\[]*\])")


def expand(text: str) -> list[str]:
    """The names, at most NODES_MAX; empty for what is not such a list."""
    try:
        names = list(itertools.islice(_names(text), NODES_MAX + 1))
    except ValueError:
        return []
    return names if len(names) <= NODES_MAX else []


def _names(text: str) -> Iterator[str]:
    for word in COMMA_OUTSIDE_BRACKETS.split(text) if text else []:
        # Plain text and the insides of brackets take turns.
        pieces = PART.split(word)
        if any(letter in piece for piece in pieces[::2] for letter in "[]"):
            raise ValueError(word)
        choices = [list(_numbers(piece)) if odd % 2 else [piece] for odd, piece in enumerate(pieces)]
        yield from ("".join(chosen) for chosen in itertools.product(*choices))


def _numbers(text: str) -> Iterator[str]:
    for part in text.split(","):
        match = RANGE.fullmatch(part)
        if match is None:
            raise ValueError(part)
        first, last = match[1], match[2] or match[1]
        if not int(first) <= int(last) <= int(first) + NODES_MAX:
            raise ValueError(part)
        yield from (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
