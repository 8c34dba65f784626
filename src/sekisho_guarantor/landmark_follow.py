"""Does what a control plane asks for: some sessions at a time, none of which is in the way of the others.

Sites and control plane are strangers. A site that is slow or silent costs one worker for one session, which has an end
(`landmark_session`), and next time its turn comes after that of those who answered. A task that is none, or that breaks
what it meets, is said once and costs nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from http import HTTPStatus
from typing import Protocol

import msgspec

from sekisho_guarantor.clock import monotonic_s
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.landmark_config import SiteConfig
from sekisho_guarantor.landmark_errors import CONTROL_REFUSED, SESSION_BROKEN, TASK_WRONG
from sekisho_guarantor.landmark_session import Target
from sekisho_verify import canonical
from sekisho_verify.errors import VerifyError
from sekisho_wire.locating import Task
from sekisho_wire.signing import SealError

WORKERS = 8
"""Sessions at once. Each mostly waits; what the others do in between can only make an answer look later."""
REMEMBERED = 4096
"""How many requests and targets are remembered; the control plane's requests are open for a minute."""
STOP_POLL_SECONDS = 0.5

Measure = Callable[[Target, bytes], bytes]
"""Holds one session, with a target and a nonce, and keeps its transcript; empty where it came to nothing."""
Tell = Callable[[GuarantorError], object]
Say = Callable[[dict[str, str]], object]


class Asker(Protocol):
    """The control plane, as `landmark_control` speaks to it; used by one thread."""

    def tasks(self) -> list[msgspec.Raw]:
        """What is to be measured now, each by itself not looked at yet."""
        ...

    def hand_in(self, task: Task, transcript: bytes) -> str:
        """Give a transcript; what the request came to with it."""
        ...


class Follower:
    """The loop. One thread owns everything in it; workers hold sessions and touch nothing else."""

    def __init__(self, control: Asker, measure: Measure, tell: Tell, say: Say) -> None:
        """`measure` is called by several threads at once, for different targets; `tell` and `say` by one."""
        self._control = control
        self._measure = measure
        self._tell = tell
        self._say = say
        self._pending: list[Task] = []
        self._running: dict[Future[bytes], Task] = {}
        self._done: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._told: set[str] = set()
        self._told_before: set[str] = set()

    def run(self, stopping: threading.Event, poll_seconds: float) -> None:
        """Until stopped; sessions that run then are ended and handed in."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="session") as pool:
            while not stopping.is_set():
                self._poll()
                until = monotonic_s() + poll_seconds
                self._fill(pool)
                while not stopping.is_set() and (left := until - monotonic_s()) > 0:
                    self._rest(stopping, min(left, STOP_POLL_SECONDS))
                    self._fill(pool)
            self._pending.clear()
            while self._running:
                self._rest(stopping, STOP_POLL_SECONDS)

    def _poll(self) -> None:
        self._told_before, self._told = self._told, set()
        try:
            asked = [self._read(raw) for raw in self._control.tasks()]
        except GuarantorError as error:
            self._complain(error)
            return
        self._pending = [task for task in asked if task is not None]

    def _read(self, raw: msgspec.Raw) -> Task | None:
        try:
            return msgspec.json.decode(raw, type=Task)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._complain(GuarantorError(TASK_WRONG, what=str(error)))
            return None

    def _complain(self, error: GuarantorError) -> None:
        """Once for as long as it goes on."""
        text = str(error)
        if text not in self._told | self._told_before:
            self._tell(error)
        self._told.add(text)

    def _fill(self, pool: ThreadPoolExecutor) -> None:
        """Begin sessions while there are workers: who failed least comes first, and nobody twice at once."""
        busy = {task.target for task in self._running.values()}
        waiting = [task for task in self._pending if task.request not in self._done]
        self._pending = sorted(waiting, key=lambda task: self._failures.get(task.target, 0))
        for task in list(self._pending):
            if len(self._running) == WORKERS:
                return
            if task.target not in busy:
                self._pending.remove(task)
                busy.add(task.target)
                self._running[pool.submit(self._session, task)] = task

    def _session(self, task: Task) -> bytes:
        try:
            target = SiteConfig(task.target, task.public_key, task.address).target()
            nonce = canonical.from_base64url(task.nonce)
        except (SealError, VerifyError, ValueError) as error:
            raise GuarantorError(TASK_WRONG, what=str(error)) from error
        return self._measure(target, nonce)

    def _rest(self, stopping: threading.Event, seconds: float) -> None:
        """Take up what has ended, or wait for it for some time."""
        if not self._running:
            stopping.wait(seconds)
            return
        ended, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED)
        for future in ended:
            self._finish(self._running.pop(future), future)

    def _finish(self, task: Task, future: Future[bytes]) -> None:
        _remember(self._done, task.request)
        try:
            data = future.result()
            if data:
                self._say({"request": task.request, "code": self._control.hand_in(task, data)})
        except GuarantorError as error:
            data = b""
            self._complain(error)
            if not _is_final(error):
                self._done.pop(task.request, None)
        except Exception as error:  # noqa: BLE001 - whatever one task breaks, the next is measured
            data = b""
            self._tell(GuarantorError(SESSION_BROKEN, site=task.target, what=type(error).__name__))
        failures = 0 if data else self._failures.get(task.target, 0) + 1
        _remember(self._failures, task.target, failures)


def _is_final(error: GuarantorError) -> bool:
    """Whether the same would end in the same: not where the control plane was away, busy, or had a fault of its own."""
    if error.code == CONTROL_REFUSED.code:
        status = int(error.params["status"])
        return status < HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.TOO_MANY_REQUESTS
    return error.code == TASK_WRONG.code


def _remember(kept: dict[str, int], name: str, value: int = 0) -> None:
    """Put a value under a name, the newest last; the oldest goes where there are too many."""
    kept.pop(name, None)
    kept[name] = value
    while len(kept) > REMEMBERED:
        kept.pop(next(iter(kept)))
