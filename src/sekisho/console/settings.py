"""What the console is made with: passed in once by whoever wires the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from sekisho.console.drawing import Drawing
from sekisho.identity import Opened, SignIn
from sekisho.kernel.clock import Clock
from sekisho.kernel.gate import Gate


class Outside(Protocol):
    """Sign-in through an identity provider; identity's `OutsideSignIn`."""

    def begin(self, visit: str) -> str:
        """Where to send the browser whose cookie holds `visit`."""
        ...

    def finish(self, visit: str, answer: Mapping[str, str]) -> Opened:
        """The session of whoever came back."""
        ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the machine the console may take."""

    threads: int = 16
    waiting: int = 128
    body_seconds: int = 30
    streams: int = 200
    """Event streams open at once; beyond, pages stay still and say so."""
    stream_seconds: int = 900
    """After this a stream ends and the browser opens the next one where it stopped."""
    cover_seconds: int = 10
    """How long an export waits for the log's checkpoint before the page says that it is not there yet."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a page may use. `spell` turns a view into what the API would answer for it."""

    gate: Gate
    sign_in: SignIn
    clock: Clock
    drawing: Drawing
    spell: Callable[[Any], Mapping[str, Any]]
    outside: Outside | None = None
    secure: bool = False
    """Whether people reach this over TLS although the request itself came in clear (behind a proxy)."""
    limits: Limits = Limits()
    stopping: Callable[[], bool] = lambda: False
    """Asked by open streams, so that a server that ends does not wait for them."""
