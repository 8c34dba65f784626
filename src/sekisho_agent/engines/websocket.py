"""Reading a WebSocket (RFC 6455): the one direction that following a log needs, over the HTTP client we have.

Nothing is sent but the answer to a ping and the closing frame. Text and binary messages are handed on as bytes, a
fragment as soon as it is there: a log has no borders of messages.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2

from sekisho_agent.client import open_http
from sekisho_agent.errors import ConfigError, EngineError
from sekisho_wire.messages import REASON_ENGINE_UNAVAILABLE

SWITCHING: Final = 101
ACCEPT_SALT: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FRAME_BYTES_MAX: Final = 1 << 20
CONTROL_BYTES_MAX: Final = 125
READ_BYTES: Final = 64 << 10
SHORT, LONG = 126, 127
TIMEOUT: Final = httpx2.Timeout(connect=5.0, read=10.0, write=10.0, pool=5.0)
QUIET_SECONDS: Final = 1.0


class Frame:
    """One frame of the server's. `opcode` as in the RFC."""

    def __init__(self, opcode: int, payload: bytes) -> None:
        self.opcode = opcode
        self.payload = payload


class FrameReader:
    """Cuts what arrives into frames; pure. EngineError for what no server may send."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, content: bytes) -> Iterator[Frame]:
        """The frames that are complete now."""
        self._held += content
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        held = self._held
        if len(held) < 2:  # noqa: PLR2004 (the shortest head)
            return None
        opcode, length = held[0] & 0x0F, held[1] & 0x7F
        if held[0] & 0x70 or held[1] & 0x80:
            raise _broken("a masked frame, or an extension nobody asked for")
        extended = {SHORT: 2, LONG: 8}.get(length, 0)
        start = 2 + extended
        if len(held) < start:
            return None
        if extended:
            length = int.from_bytes(held[2:start], "big")
        if length > (CONTROL_BYTES_MAX if opcode >= CLOSE else FRAME_BYTES_MAX):
            raise _broken("a frame that is too long")
        if len(held) < start + length:
            return None
        payload = bytes(held[start : start + length])
        del held[: start + length]
        return Frame(opcode, payload)


def read(url: str, token: str, *, ca_file: str = "") -> Iterator[bytes]:
    """What the server sends until it closes; empty bytes about once a second when it says nothing.

    EngineError `engine.unavailable` when it does not switch protocols, or breaks off.
    """
    try:
        yield from _read(url, token, ca_file)
    except (httpx2.HTTPError, httpx2.InvalidURL, ConfigError) as error:
        raise _broken(type(error).__name__) from error


def _read(url: str, token: str, ca_file: str) -> Iterator[bytes]:
    address = httpx2.URL(url)
    scheme = {"wss": "https", "ws": "http"}.get(address.scheme, address.scheme)
    address = address.copy_with(scheme=scheme)
    origin = str(address.copy_with(path="/", query=None, fragment=None))
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    headers = {
        "authorization": f"Bearer {token}",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": key,
        "sec-websocket-version": "13",
    }
    with (
        open_http(origin, timeout=TIMEOUT, ca_file=Path(ca_file) if ca_file else None) as client,
        client.stream("GET", address, headers=headers) as response,
    ):
        accepted = response.headers.get("sec-websocket-accept", "")
        if response.status_code != SWITCHING or accepted != _accept(key):
            raise _broken(f"status {response.status_code} instead of a change of protocol")
        yield from _messages(response.extensions["network_stream"])


def _messages(stream: Any) -> Iterator[bytes]:  # noqa: ANN401 (the HTTP client gives it no public type)
    reader = FrameReader()
    while True:
        yield b""  # what comes may be no message, for ever
        for frame in reader.feed(_received(stream)):
            if frame.opcode in {CONTINUATION, TEXT, BINARY}:
                yield frame.payload
            elif frame.opcode == PING:
                _send(stream, encode(PONG, frame.payload))
            elif frame.opcode == CLOSE:
                _send(stream, encode(CLOSE, frame.payload[:2]))
                return


def _received(stream: Any) -> bytes:  # noqa: ANN401 (as above)
    """What has come; nothing when that is so for a while."""
    try:
        content: bytes = stream.read(READ_BYTES, timeout=QUIET_SECONDS)
    except Exception as error:
        # The transport below the HTTP client raises errors of its own, which the client does not export.
        if type(error).__name__ == "ReadTimeout":
            return b""
        raise _broken(type(error).__name__) from error
    if not content:
        raise _broken("the connection broke off")
    return content


def _send(stream: Any, content: bytes) -> None:  # noqa: ANN401 (as above)
    try:
        stream.write(content, timeout=QUIET_SECONDS)
    except Exception as error:
        raise _broken(type(error).__name__) from error


def encode(opcode: int, payload: bytes) -> bytes:
    """A short frame of a client's, masked as the RFC demands."""
    mask = secrets.token_bytes(4)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked


def _accept(key: str) -> str:
    return base64.b64encode(hashlib.sha1((key + ACCEPT_SALT).encode()).digest()).decode()  # noqa: S324 (the RFC's)


def _broken(detail: str) -> EngineError:
    return EngineError(REASON_ENGINE_UNAVAILABLE, f"the log stream: {detail}")
