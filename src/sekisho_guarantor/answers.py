"""What a guarantor's program answers over HTTP, and what its door needs to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

TEXT_MEDIA = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What goes back: HTTP status, media type, body, and for our own log lines the problem's code."""

    status: int
    media: str
    body: bytes
    code: str = ""


class Program(Protocol):
    """A program behind the door; asked from many threads at once."""

    @property
    def paths(self) -> Mapping[str, int]:
        """The paths that take a POST, and how many bytes each takes at most."""
        ...

    def post(self, path: str, body: bytes, token: str) -> Answer:
        """The answer to a whole body; `token` is what followed `Bearer`, or empty. Never raises for what came in."""
        ...

    def ends_early(self, path: str) -> Answer:
        """The answer to a body that is shorter than it was said to be."""
        ...

    def alive(self) -> dict[str, str]:
        """What `/healthz` shows."""
        ...


class Listening(Protocol):
    """Where a program listens; `certificate` and `key` are PEM files, or empty."""

    @property
    def host(self) -> str:
        """Name or address."""
        ...

    @property
    def port(self) -> int:
        """0 takes a free one."""
        ...

    @property
    def certificate(self) -> str:
        """The certificate's file."""
        ...

    @property
    def key(self) -> str:
        """The file of its private key."""
        ...
