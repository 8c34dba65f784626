"""The only place that reads the wall clock."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the control plane knows it: milliseconds since the epoch, UTC."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch; never smaller than an earlier answer of the same clock."""
        ...


class SystemClock:
    """The machine's clock, held from running backwards.

    A clock that jumps back would reorder ids and revive expired tokens, so the last answer is the floor, and
    `behind_ms` tells how far below it the machine is. The floor dies with the process: `sekishod doctor` compares
    the machine with the ledger's newest record.
    """

    def __init__(self) -> None:
        """Start at the machine's present time."""
        self._lock = threading.Lock()
        self._last_ms = 0
        self.behind_ms = 0

    def now_ms(self) -> int:
        """The machine's time, or the last answer while the machine is behind it."""
        now = time.time_ns() // 1_000_000
        with self._lock:
            self.behind_ms = max(0, self._last_ms - now)
            self._last_ms = max(now, self._last_ms)
            return self._last_ms


class ManualClock:
    """A clock that moves only when told; for tests and replays."""

    def __init__(self, now_ms: int) -> None:
        """Start at `now_ms`."""
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The time last set."""
        return self._now_ms

    def advance(self, milliseconds: int) -> None:
        """Move forward; a negative amount is refused because no `Clock` runs backwards."""
        if milliseconds < 0:
            raise ValueError(milliseconds)
        self._now_ms += milliseconds


def rfc3339(time_ms: int) -> str:
    """`2026-11-20T05:03:11.123Z`: the one spelling of a moment in records and JSON."""
    moment = datetime.datetime.fromtimestamp(time_ms // 1000, datetime.UTC)
    return f"{moment.year:04d}{moment:-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def parse_rfc3339(text: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 moment with a zone; ValueError otherwise."""
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        message = "a moment needs its zone"
        raise ValueError(message)
    delta = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return delta // datetime.timedelta(milliseconds=1)
