"""The agent's two clocks; nothing else in the agent asks the machine for the time."""

from __future__ import annotations

import time

from sekisho_wire.signing import format_time


def monotonic() -> float:
    """Seconds on CLOCK_BOOTTIME, the clock that leases are counted on.

    It never steps, goes on while the machine sleeps, and reads the same inside the wall.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now_text() -> str:
    """The time of day as RFC 3339 UTC, for a message's `time` field; never used to measure."""
    return format_time(time.time())


def now_ms() -> int:
    """The time of day in milliseconds since the epoch, as a location transcript states it."""
    return time.time_ns() // 1_000_000
