"""Logs as lines: whole ones only, with the place where reading goes on.

A place is `attempt-offset` in bytes. Text that was not UTF-8 reaches us with replacement characters whose length
differs from what they replaced; after such a line a resumed stream may repeat or skip a few bytes of it.
"""

from __future__ import annotations

import re
from typing import Protocol, TypeVar

import msgspec

from sekisho.compute import LogText, ReadLog
from sekisho.kernel.command import Command

LINES_MAX = 500
"""Lines kept on a page; the file itself is had from the command line."""
PIECES_MAX = 80
LINE_LENGTH_MAX = 65_536
"""A longer line is shown in pieces: a program may never end its line."""
_PLACE = re.compile(r"([0-9]{1,5})-([0-9]{1,15})")

ResultT = TypeVar("ResultT")


class Ask(Protocol):
    """A visit's `ask`."""

    def __call__(self, command: Command[ResultT], /) -> ResultT:
        """Perform for whoever asks."""
        ...


class Place(msgspec.Struct, frozen=True):
    """Where in which attempt's log reading goes on. Attempt 0: before the first."""

    number: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.number}-{self.offset}"


class Tail(msgspec.Struct, frozen=True):
    """The newest whole lines of one attempt's log. `cut` when there are older ones."""

    lines: list[str] = []
    number: int = 0
    offset: int = 0
    cut: bool = False

    @property
    def position(self) -> Place:
        """Where a stream goes on."""
        return Place(self.number, self.offset)


def parse_place(text: str) -> Place:
    """The place in an address or an event's id; the beginning for anything else."""
    match = _PLACE.fullmatch(text)
    return Place(int(match[1]), int(match[2])) if match else Place()


def whole_lines(text: str, offset: int, *, ended: bool) -> list[tuple[str, int]]:
    """The whole lines of a piece that began at `offset`, each with the offset after it; the rest once it ended."""
    found: list[tuple[str, int]] = []
    *lines, rest = text.split("\n")
    for line in lines:
        offset += len(line.encode()) + 1
        found.append((line.rstrip("\r"), offset))
    if rest and (ended or len(rest) > LINE_LENGTH_MAX):
        found.append((rest, offset + len(rest.encode())))
    return found


def tail(ask: Ask, job: str, number: int, first: LogText) -> Tail:
    """Read on from the first piece to the end, keeping the newest lines."""
    lines: list[str] = []
    piece, offset, cut = first, 0, False
    for _ in range(PIECES_MAX):
        found = whole_lines(piece.text, offset, ended=piece.ended)
        lines += [line for line, _ in found]
        cut = cut or len(lines) > LINES_MAX
        lines = lines[-LINES_MAX:]
        following = found[-1][1] if found else offset
        if piece.ended or following == offset:
            return Tail(lines, number, following, cut)
        offset = following
        piece = ask(ReadLog(job=job, attempt=number, offset=offset))
    return Tail(lines, number, offset, cut)
