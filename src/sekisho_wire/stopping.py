"""Ending a program by a signal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterable


def stop_at(
    stop: Callable[[], object], numbers: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
) -> None:
    """Call `stop` once, in a thread of its own, when the first of these signals comes. For the main thread.

    A handler runs in the middle of whatever the main thread does: an event that it sets may be the very one whose lock
    is held there, and then the program never ends. So the handler writes one byte, and whoever reads it stops.
    """
    heard, wake = os.pipe()
    os.set_blocking(wake, False)

    def wait() -> None:
        os.read(heard, 1)
        stop()

    def note(_number: int, _frame: object) -> None:
        with contextlib.suppress(BlockingIOError):  # it was told often enough
            os.write(wake, b".")

    threading.Thread(target=wait, name="stopping", daemon=True).start()
    for number in numbers:
        signal.signal(number, note)
