"""Two loops in threads of their own: one does queued work, one brings records under checkpoints.

Both go through the gate like everybody else. Several processes may run them at once: work is claimed by a lease,
the log has one sequencer by its own lease, publishing is under a lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.gate import Gate
from sekisho.kernel.telemetry import logger

IDLE_SECONDS = 0.1
"""How long a loop sleeps at most when nothing is due; the delay of work that another process queued."""
TROUBLE_SECONDS = 1.0
"""How long it sleeps after an error, so that a database that is away is not asked a thousand times a second."""


WITNESS_PATIENCE_SECONDS = 6.0
"""How long the end of the server waits for an answer of a witness; a little more than the answer may take."""


class Loop:
    """Calls a function again and again until told to stop; an error is logged and waited out, never fatal."""

    def __init__(
        self, name: str, step: Callable[[], float], *, patience_seconds: float | None = None
    ) -> None:
        """`step` does one piece and answers how many seconds to wait before the next; 0 for at once.

        `patience_seconds` bounds how long `stop` waits for a step that may hang on somebody outside.
        """
        self._name = name
        self._step = step
        self._patience_seconds = patience_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._log = logger(name)

    def start(self) -> None:
        """Begin in a thread."""
        self._thread.start()

    def tell(self) -> None:
        """Begin no further step."""
        self._stop.set()

    def stop(self) -> None:
        """Finish the present step and end."""
        self.tell()
        self._thread.join(self._patience_seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause = self._step()
            except SekishoError as error:
                self._log.warning("step_refused", code=error.code)
                pause = TROUBLE_SECONDS
            except Exception as error:  # noqa: BLE001 - the loop must outlive any one step
                self._log.error("step_failed", error=type(error).__name__, exc_info=True)
                pause = TROUBLE_SECONDS
            self._stop.wait(pause)


def work_loop(gate: Gate, clock: Clock) -> Loop:
    """Does background work as it falls due."""

    def step() -> float:
        due_ms = gate.next_work_ms()
        if due_ms is None:
            return IDLE_SECONDS
        wait = (due_ms - clock.now_ms()) / 1000
        if wait > 0:
            return min(wait, IDLE_SECONDS)
        return 0.0 if gate.do_work() else IDLE_SECONDS

    return Loop("background-work", step)


def log_loop(advance: Callable[[], bool], interval_ms: int) -> Loop:
    """Sequences, signs and publishes; `advance` answers whether there was anything."""

    def step() -> float:
        return 0.0 if advance() else interval_ms / 1000

    return Loop("ledger", step)


def witness_loop(name: str, step: Callable[[], float]) -> Loop:
    """Shows checkpoints to one witness; a witness that hangs does not hold up the end of the server."""
    return Loop(f"witness-{name}", step, patience_seconds=WITNESS_PATIENCE_SECONDS)


def stamp_loop(name: str, step: Callable[[], float]) -> Loop:
    """Has one authority stamp checkpoints; one that hangs does not hold up the end of the server."""
    return Loop(f"timestamp-{name}", step, patience_seconds=WITNESS_PATIENCE_SECONDS)


@contextlib.contextmanager
def running(*loops: Loop) -> Iterator[None]:
    """Start the loops, and stop them in reverse at the end."""
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.tell()
        for loop in reversed(loops):
            loop.stop()
