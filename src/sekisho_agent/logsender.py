"""Sends logs to the control plane on their own lane, so that a flood of text never delays a lease or a report.

The log's truth is the file at the site, whose digest is reported; what is sent here is for people to follow. A piece
that does not get through after some tries is left out.
"""

from __future__ import annotations

import threading
from typing import Final

import msgspec
import structlog

from sekisho_agent.client import ControlClient
from sekisho_agent.engines.contract import Engine
from sekisho_agent.errors import AgentError, UnreachableError
from sekisho_verify import canonical
from sekisho_wire.messages import LOG_CHUNK_BYTES_MAX, LogChunk

PAUSE_SECONDS: Final = 0.25
TRIES_MAX: Final = 5

log = structlog.get_logger(__name__)


class _Tail(msgspec.Struct):
    token: int
    offset: int = 0
    tries: int = 0


class LogSender:
    """One thread for all attempts of an agent."""

    def __init__(self, client: ControlClient, engine: Engine) -> None:
        self._client = client
        self._engine = engine
        self._changed = threading.Condition()
        self._tails: dict[str, _Tail] = {}
        self._stopping = False
        threading.Thread(target=self._run, name="log-sender", daemon=True).start()

    def attach(self, attempt: str, token: int) -> None:
        """Follow the log of a submitted attempt from its beginning."""
        with self._changed:
            self._tails[attempt] = _Tail(token=token)
            self._changed.notify_all()

    def finish(self, attempt: str, *, size_bytes: int, timeout_seconds: float) -> None:
        """Wait until the whole log is sent, or the time is up, and follow it no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._sent(attempt, size_bytes), timeout_seconds)
            self._tails.pop(attempt, None)

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _sent(self, attempt: str, size_bytes: int) -> bool:
        tail = self._tails.get(attempt)
        return tail is None or tail.offset >= size_bytes or self._stopping

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._tails) or self._stopping)
                tails = list(self._tails.items())
                if self._stopping:
                    return
            moved = [self._send_piece(attempt, tail) for attempt, tail in tails]
            with self._changed:
                self._changed.notify_all()
                if not any(moved):
                    self._changed.wait(PAUSE_SECONDS)

    def _send_piece(self, attempt: str, tail: _Tail) -> bool:
        """Whether the tail moved on."""
        try:
            content = self._engine.logs(attempt, tail.offset, LOG_CHUNK_BYTES_MAX)
            if not content:
                return False
            chunk = LogChunk(offset=tail.offset, text=canonical.to_base64url(content))
            self._client.send_log(chunk, attempt, tail.token)
        except UnreachableError:
            tail.tries += 1
            if tail.tries < TRIES_MAX:
                return False
        except (AgentError, OSError) as error:
            log.warning("log.refused", attempt=attempt, error=str(error))
            with self._changed:
                self._tails.pop(attempt, None)
            return False
        tail.tries = 0
        tail.offset += len(content)
        return True
