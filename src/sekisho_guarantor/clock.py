"""The guarantors' clocks; nothing else in this program asks the machine for the time."""

from __future__ import annotations

import time


def now_s() -> int:
    """Whole seconds since the epoch, as a cosignature states them."""
    return int(time.time())


def now_ms() -> int:
    """The time of day in milliseconds since the epoch, as a transcript states it."""
    return time.time_ns() // 1_000_000


def monotonic_ns() -> int:
    """Nanoseconds on a clock that never steps and is not slowed to follow another (CLOCK_MONOTONIC_RAW)."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def monotonic_s() -> float:
    """Seconds on the same clock."""
    return monotonic_ns() / 1_000_000_000
