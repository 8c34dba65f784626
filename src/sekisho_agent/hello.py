"""The first words of a TLS client (RFC 8446 4.1.2), read as far as to know which name it asks for (RFC 6066 3). Pure.

A client that hides the name from us (encrypted client hello, RFC 9849) is no client whose name is known.
"""

from __future__ import annotations

from typing import Final

RECORD_HANDSHAKE: Final = 22
VERSION_MAJOR: Final = 3
CLIENT_HELLO: Final = 1
RECORD_HEAD_BYTES: Final = 5
MESSAGE_HEAD_BYTES: Final = 4
RECORD_BYTES_MAX: Final = 1 << 14
HELLO_BYTES_MAX: Final = 1 << 16
EXTENSION_NAME: Final = 0
EXTENSION_HIDDEN: Final = 0xFE0D
NAME_TYPE_HOST: Final = 0
VERSION_AND_RANDOM_BYTES: Final = 34


class HelloError(ValueError):
    """Bytes that do not begin a TLS connection, or begin one whose name cannot be known."""


def asked_name(received: bytes) -> str | None:
    """The name that the client asks for, in lower case; empty where it names none; None while more bytes are needed."""
    message = _handshake(received)
    if message is None:
        return None
    reader = _Reader(message)
    reader.take(VERSION_AND_RANDOM_BYTES)
    reader.vector(1)  # session
    reader.vector(2)  # cipher suites
    reader.vector(1)  # compression
    if not reader.left:
        return ""
    extensions = _Reader(reader.vector(2))
    found: dict[int, bytes] = {}
    while extensions.left:
        kind = extensions.number(2)
        content = extensions.vector(2)
        if kind in found:
            raise HelloError("an extension twice")
        found[kind] = content
    if EXTENSION_HIDDEN in found:
        raise HelloError("a hidden name")
    return _host(found[EXTENSION_NAME]) if EXTENSION_NAME in found else ""


def _host(content: bytes) -> str:
    """The one name in the extension; several, or of another type, are none that can be compared."""
    names = _Reader(_Reader(content).vector(2))
    kind, name = names.number(1), names.vector(2)
    if kind != NAME_TYPE_HOST or names.left or not name.isascii():
        raise HelloError("not one host name")
    return name.decode("ascii").lower()


def _handshake(received: bytes) -> bytes | None:
    """The body of the client's hello, which may lie in several records; None while it is not whole."""
    joined, rest = b"", received
    while True:
        if rest[:1] not in {b"", bytes([RECORD_HANDSHAKE])} or rest[1:2] not in {b"", bytes([VERSION_MAJOR])}:
            raise HelloError("not a TLS handshake")
        if len(rest) < RECORD_HEAD_BYTES:
            return None
        size = int.from_bytes(rest[3:RECORD_HEAD_BYTES], "big")
        if not 0 < size <= RECORD_BYTES_MAX:
            raise HelloError("a record of no or too great length")
        joined += rest[RECORD_HEAD_BYTES : RECORD_HEAD_BYTES + size]
        if joined[:1] not in {b"", bytes([CLIENT_HELLO])}:
            raise HelloError("not a client's hello")
        wanted = MESSAGE_HEAD_BYTES + int.from_bytes(joined[1:MESSAGE_HEAD_BYTES], "big")
        if wanted > HELLO_BYTES_MAX:
            raise HelloError("too long a hello")
        if len(joined) >= max(wanted, MESSAGE_HEAD_BYTES):
            return joined[MESSAGE_HEAD_BYTES:wanted]
        if len(rest) < RECORD_HEAD_BYTES + size:
            return None
        rest = rest[RECORD_HEAD_BYTES + size :]


class _Reader:
    """Takes fields off the front; HelloError where there is too little."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def left(self) -> int:
        return len(self._content)

    def take(self, size: int) -> bytes:
        if size > len(self._content):
            raise HelloError("a field that ends early")
        taken, self._content = self._content[:size], self._content[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_bytes: int) -> bytes:
        return self.take(self.number(length_bytes))
