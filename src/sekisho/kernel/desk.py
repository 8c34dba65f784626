"""The desk where callers leave their writes: a few threads write, the callers wait for the answer.

Why: a thread gives the interpreter's lock away whenever it talks to the database, and 64 callers that each do so
eight times a command spend half of their time on getting it back (1,190 commands a second on PostgreSQL, against
2,200 through eight threads).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sekisho.kernel.errors import UnavailableError
from sekisho.kernel.tx import Tx

ResultT = TypeVar("ResultT")


class Job(Generic[ResultT]):
    """One caller's write. Touched by the thread that serves it until `done` is released.

    By then it has a `result` or an `error`.
    """

    __slots__ = ("committed", "done", "error", "result", "turn", "work")

    def __init__(
        self, work: Callable[[Tx], ResultT], *, turn: str = "", committed: Callable[[Tx], bool] | None = None
    ) -> None:
        """`turn` names what such jobs take turns for; `committed` tells whether a lost commit took effect."""
        self.work = work
        self.turn = turn
        self.committed = committed
        self.done = threading.Lock()
        self.done.acquire()
        self.result: ResultT
        self.error: BaseException | None = None


class Desk:
    """Owner of the threads that write. Jobs of one turn are served one after the other, by one of them."""

    def __init__(
        self,
        name: str,
        serve: Callable[[list[Job[Any]]], None],
        *,
        leave: Callable[[], None] = lambda: None,
        threads: int = 1,
        together: int = 1,
    ) -> None:
        """`serve` gives each of up to `together` jobs its result or error; what it raises is everybody's error.

        `leave` is called by each thread as it ends.
        """
        self._serve = serve
        self._leave = leave
        self._together = together
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._lines: dict[str, deque[Job[Any]]] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def hand_in(self, job: Job[ResultT]) -> ResultT:
        """Wait for the job's result; raises its error, and UnavailableError once the desk is closed."""
        with self._lock:
            if self._closed:
                raise UnavailableError(part="database", seconds=5)
            if job.turn in self._lines:
                self._lines[job.turn].append(job)
            else:
                if job.turn:
                    self._lines[job.turn] = deque()
                self._queue.put(job)
        job.done.acquire()
        if job.error is not None:
            raise job.error
        return job.result

    def close(self) -> None:
        """Serve what was handed in, then end the threads."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while group := self._gather():
            while group:
                self._answer(group)
                group = [following for job in group for following in self._following(job.turn)]
        self._leave()

    def _gather(self) -> list[Job[Any]]:
        """Wait for a job and take those that wait behind it; empty when the desk closes."""
        group: list[Job[Any]] = []
        with contextlib.suppress(queue.Empty):
            while len(group) < self._together:
                job = self._queue.get(block=not group)
                if job is None:
                    self._queue.put(None)
                    break
                group.append(job)
        return group

    def _answer(self, group: list[Job[Any]]) -> None:
        try:
            self._serve(group)
        except BaseException as error:  # noqa: BLE001 - a caller that is never answered would wait for ever
            for job in group:
                job.error = error
        for job in group:
            job.done.release()

    def _following(self, turn: str) -> list[Job[Any]]:
        """The next job of a turn, or none; the turn is over when nobody waits for it."""
        if not turn:
            return []
        with self._lock:
            if self._lines[turn]:
                return [self._lines[turn].popleft()]
            del self._lines[turn]
            return []
