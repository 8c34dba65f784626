"""Inside the wall: asks a service now and then whether it is well. Standard library only, run by PID 1.

The question is a command of the job's own, run as the payload is; its exit status 0 means yes. One that takes as long
as the pause between two questions is ended and counts as a no.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Final

NEVER: Final = float("inf")


class Health:
    """One payload's health. Times are on PID 1's clock, in seconds."""

    def __init__(
        self, plan: dict[str, Any] | None, start: Callable[[str], int], tell: Callable[[bool], None]
    ) -> None:
        """`start` runs the command in a child and answers its number; `tell` hears of every change."""
        self._plan = plan or {}
        self._start = start
        self._tell = tell
        self._next = NEVER
        self._child = 0
        self._failures = 0
        self._said: bool | None = None

    def begin(self, moment: float) -> None:
        """The payload has started."""
        if self._plan:
            self._next = moment + self._plan["after_s"]

    @property
    def due(self) -> float:
        """When `look` has something to do."""
        return self._next

    @property
    def failed(self) -> bool:
        """Whether the payload was unwell for too often in a row."""
        return bool(self._plan) and self._failures >= self._plan["failures"]

    def look(self, moment: float) -> None:
        """Ask, or end a question that was not answered in time."""
        if moment < self._next:
            return
        self._next = moment + self._plan["every_s"]
        if self._child:
            _kill(self._child)
            return
        try:
            self._child = self._start(self._plan["run"])
        except OSError:  # the payload has taken every process that it may have
            self._answer(well=False)

    def ended(self, child: int, status: int) -> bool:
        """Whether this child was a question; its answer is taken."""
        if child != self._child:
            return False
        self._child = 0
        self._answer(well=status == 0)
        return True

    def _answer(self, *, well: bool) -> None:
        self._failures = 0 if well else self._failures + 1
        if self._said is not well:
            self._said = well
            self._tell(well)


def _kill(child: int) -> None:
    """The command with all it started, or alone in the instant before it has made its group."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)
