"""Connections whose answers come in time. A timeout alone starts anew with every byte, so whoever drips is waited for.

While a thread is inside `answer_within`, nothing it waits for on its connections lasts beyond that moment. What stands
between a pool of connections and the network has the shape of the HTTP library's own (`NetworkBackend`).
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from sekisho_agent import clock

TimeLeft = Callable[[float | None], float | None]
"""The smaller one of a timeout and what is left until the moment, in seconds; raises where nothing is."""


class _Moment(threading.local):
    until: float | None = None


_moment = _Moment()


@contextlib.contextmanager
def answer_within(seconds: float) -> Iterator[None]:
    """Let this thread use its connections for so many seconds; then they raise a timeout."""
    before = _moment.until
    begin(seconds)
    try:
        yield
    finally:
        _moment.until = before


def begin(seconds: float) -> None:
    """Count anew from now, inside `answer_within`."""
    _moment.until = clock.monotonic() + seconds


def time_left(timeout: float | None, over: Exception) -> float | None:
    """As `TimeLeft`; `over` is what it raises."""
    if _moment.until is None:
        return timeout
    left = _moment.until - clock.monotonic()
    if left <= 0:
        raise over
    return left if timeout is None else min(left, timeout)


class Stream(Protocol):
    """One connection of the library's."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What comes next."""
        ...

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        ...

    def close(self) -> None:
        """Hang up, without a word."""
        ...

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Stream:
        """The same connection under TLS."""
        ...

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - anything, by its name
        """What the library wants to know of the connection."""
        ...


class Opens(Protocol):
    """What opens the library's connections."""

    def connect_tcp(self, **given: Any) -> Stream:
        """A new connection."""
        ...


class TimedBackend:
    """Opens connections that look at the moment."""

    def __init__(self, opens: Opens, left: TimeLeft) -> None:
        self._opens = opens
        self._left = left

    def connect_tcp(self, **given: Any) -> TimedStream:
        """A connection; the arguments are the library's."""
        return TimedStream(self._opens.connect_tcp(**given), self._left)


class TimedStream:
    """One connection, as `Stream`."""

    def __init__(self, stream: Stream, left: TimeLeft) -> None:
        self._stream = stream
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What comes next, within the timeout and before the moment."""
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send, each piece that is taken within the timeout and before the moment."""
        self._stream.write(buffer, self._left(timeout))

    def close(self) -> None:
        """Hang up; what was read stays read."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> TimedStream:
        """The same connection under TLS."""
        inside = self._stream.start_tls(ssl_context, server_hostname, self._left(timeout))
        return TimedStream(inside, self._left)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - anything, by its name
        """What the library wants to know of the connection."""
        return self._stream.get_extra_info(info)
