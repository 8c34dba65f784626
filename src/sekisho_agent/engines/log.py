"""A payload's standard output and error: kept up to a cap, counted beyond it, and searched for progress lines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LINE_BYTES_MAX: Final = 4096
PROGRESS_PREFIX: Final = b'{"event":'
PROGRESS_FIELDS_MAX: Final = 32
TEXT_LETTERS_MAX: Final = 256
INTEGER_LIMIT: Final = 2**53

Scalar = str | int | bool
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
_DECIMAL = re.compile(r"-?([0-9]{1,20}(\.[0-9]{1,20})?(e[+-][0-9]{1,3})?|inf)|nan")


class PayloadLog:
    """Written by one thread; the counters and `progress` may be read by others."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        self._bytes_max = bytes_max
        self._line = b""
        self.kept_bytes = 0
        self.dropped_bytes = 0
        self.progress: dict[str, Scalar] = {}
        self.progress_lines = 0

    def write(self, content: bytes) -> None:
        """Keep what still fits and count the rest; a disk that is full counts as the cap."""
        self._search(content)
        room = max(0, self._bytes_max - self.kept_bytes)
        try:
            while room and content:
                written = os.write(self._descriptor, content[:room])
                content, room = content[written:], room - written
                self.kept_bytes += written
        except OSError:
            self._bytes_max = self.kept_bytes
        self.dropped_bytes += len(content)

    def close(self) -> None:
        """Make the log durable: its digest is about to be reported."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def _search(self, content: bytes) -> None:
        *lines, rest = (self._line + content).split(b"\n")
        for line in lines:
            self._take(line)
        self._line = rest[: LINE_BYTES_MAX + 1]

    def _take(self, line: bytes) -> None:
        found = progress_fields(line)
        if found:
            self.progress, self.progress_lines = found, self.progress_lines + 1


def progress_fields(line: bytes) -> dict[str, Scalar]:
    """The scalars of a line such as `{"event": "progress", "step": 3, "loss": 1.5}`; empty when it is none.

    Numbers that are not whole become decimal text; nested values, null and odd keys are left out.
    """
    if not line.startswith(PROGRESS_PREFIX) or len(line) > LINE_BYTES_MAX:
        return {}
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    fields: dict[str, Scalar] = {}
    for key, item in list(value.items())[:PROGRESS_FIELDS_MAX]:
        scalar = _scalar(item)
        if scalar is not None and key.isascii() and key.isprintable() and len(key) <= TEXT_LETTERS_MAX:
            fields[key] = scalar
    return fields


def figures(fields: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """What of a progress line is told of a job whose log is sealed: numbers, yes and no, under plain names.

    Whatever else a payload prints is text like its log's, and rests under the same key.
    """
    return {
        name: item
        for name, item in fields.items()
        if _NAME.fullmatch(name) and (not isinstance(item, str) or _DECIMAL.fullmatch(item))
    }


def _scalar(item: object) -> Scalar | None:
    match item:
        case bool():
            return item
        case int() if abs(item) < INTEGER_LIMIT:
            return item
        case int() | float():
            return format(item, ".12g")
        case str():
            return item[:TEXT_LETTERS_MAX].encode(errors="replace").decode()
        case _:
            return None
