"""The guarantors' clock; nothing else in this program asks the machine for the time of day."""

from __future__ import annotations

import time


def now_s() -> int:
    """Whole seconds since the epoch, as a cosignature states them."""
    return int(time.time())
