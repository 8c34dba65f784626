"""Asking an engine's REST service: bounded, never redirected, and one clear error for whatever is no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec

from sekisho_agent import clock
from sekisho_agent.client import open_http
from sekisho_agent.errors import EngineError
from sekisho_wire.messages import REASON_ENGINE_UNAVAILABLE

ANSWER_BYTES_MAX: Final = 64 << 20
ANSWER_SECONDS_MAX: Final = 30.0
"""For all of an answer: the timeouts below start anew with every byte."""
TIMEOUT: Final = httpx2.Timeout(connect=5.0, read=10.0, write=10.0, pool=5.0)
STATUS_ERROR: Final = 400


class Answer(msgspec.Struct, frozen=True):
    """An answer in JSON, whatever its status."""

    status: int
    body: dict[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the service says that it did not do it."""
        return self.status >= STATUS_ERROR


class Rest:
    """A client of one service. Credentials are read for every request, so that a renewed one is used at once."""

    def __init__(self, url: str, *, ca_file: str = "") -> None:
        """ConfigError unless the URL is https, or http to this machine."""
        self._client = open_http(url, timeout=TIMEOUT, ca_file=Path(ca_file) if ca_file else None)

    def ask(
        self, method: str, path: str, *, headers: dict[str, str], body: dict[str, Any] | None = None
    ) -> Answer:
        """The answer; EngineError `engine.unavailable` when none came in time, or no JSON object of bounded size.

        Nothing is known then about what a request to change something did.
        """
        content = msgspec.json.encode(body) if body is not None else None
        give_up = clock.monotonic() + ANSWER_SECONDS_MAX
        sent = {**headers, "content-type": "application/json"} if content is not None else headers
        try:
            with self._client.stream(method, path, headers=sent, content=content) as response:
                received = bytearray()
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > ANSWER_BYTES_MAX:
                        raise _unavailable("the answer is too long")
                    if clock.monotonic() > give_up:
                        raise _unavailable("the answer takes too long")
                status = response.status_code
        except httpx2.HTTPError as error:
            raise _unavailable(type(error).__name__) from error
        try:
            answered = msgspec.json.decode(received) if received else {}
        except (ValueError, RecursionError) as error:
            raise _unavailable(f"status {status}, and no JSON") from error
        if not isinstance(answered, dict):
            raise _unavailable(f"status {status}, and no JSON object")
        return Answer(status, answered)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def read_credential(path: str) -> str:
    """A secret from a file, without the line's end; EngineError when it cannot be read or could not be a header."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise _unavailable(f"the credential cannot be read: {type(error).__name__}") from error
    if not text or not text.isprintable() or " " in text:
        raise _unavailable("the credential's file holds none")
    return text


def _unavailable(detail: str) -> EngineError:
    return EngineError(REASON_ENGINE_UNAVAILABLE, detail)
