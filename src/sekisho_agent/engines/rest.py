"""Asking an engine's REST service: bounded, never redirected, and one clear error for whatever is no answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec

from sekisho_agent import clock
from sekisho_agent.client import open_http
from sekisho_agent.errors import ConfigError, EngineError
from sekisho_wire.messages import REASON_ENGINE_UNAVAILABLE, REASON_OUTPUT_TOO_LARGE

ANSWER_BYTES_MAX: Final = 64 << 20
ANSWER_SECONDS_MAX: Final = 30.0
"""For all of an answer: the timeouts below start anew with every byte."""
TIMEOUT: Final = httpx2.Timeout(connect=5.0, read=10.0, write=10.0, pool=5.0)
DOWNLOAD_TIMEOUT: Final = httpx2.Timeout(connect=5.0, read=60.0, write=10.0, pool=5.0)
DOWNLOAD_SECONDS_MAX: Final = 2 * 3600.0
STATUS_OK: Final = 200
STATUS_ERROR: Final = 400
STATUS_SERVER_ERROR: Final = 500


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
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        body: dict[str, Any] | None = None,
        bare_refusals: bool = False,
    ) -> Answer:
        """The answer; EngineError `engine.unavailable` when none came in time, or no JSON object of bounded size.

        Nothing is known then about what a request to change something did. With `bare_refusals`, a 4xx counts as an
        answer whatever its body is: the service did not do it.
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
        if bare_refusals and STATUS_ERROR <= status < STATUS_SERVER_ERROR:
            return Answer(status, _object(received))
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


def download(url: str, target: Path, *, size_bytes_max: int, ca_file: str = "") -> None:
    """Fetch a signed address into a file. It is sent no credential, and followed nowhere else.

    EngineError `engine.unavailable` when it is not answered, `output.too_large` past the limit.
    """
    size_bytes, deadline = 0, clock.monotonic() + DOWNLOAD_SECONDS_MAX
    try:
        with (
            open_http(
                _origin(url), timeout=DOWNLOAD_TIMEOUT, ca_file=Path(ca_file) if ca_file else None
            ) as client,
            client.stream("GET", url) as response,
            target.open("wb") as file,
        ):
            if response.status_code != STATUS_OK:
                raise _unavailable(f"the download was answered with status {response.status_code}")
            for chunk in response.iter_raw():  # as it comes: whoever waits for more looks at no clock
                size_bytes += len(chunk)
                if clock.monotonic() > deadline:
                    raise _unavailable("the download did not come to an end")
                if size_bytes > size_bytes_max:
                    raise EngineError(
                        REASON_OUTPUT_TOO_LARGE, "the download is larger than the job's output may be"
                    )
                file.write(chunk)
    except (httpx2.HTTPError, httpx2.InvalidURL, ConfigError, OSError) as error:
        raise _unavailable(f"the download: {type(error).__name__}") from error


def _origin(url: str) -> str:
    parsed = httpx2.URL(url)
    return str(parsed.copy_with(path="/", query=None, fragment=None))


def read_credential(path: str) -> str:
    """A secret from a file, without the line's end; EngineError when it cannot be read or could not be a header."""
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise _unavailable(f"the credential cannot be read: {type(error).__name__}") from error
    if not text or not text.isprintable() or " " in text:
        raise _unavailable("the credential's file holds none")
    return text


def _object(content: bytes | bytearray) -> dict[str, Any]:
    """A refusal's words as an object, in whatever form they come."""
    try:
        answered = msgspec.json.decode(content)
    except (ValueError, RecursionError):
        return {}
    return answered if isinstance(answered, dict) else {"detail": answered}


def _unavailable(detail: str) -> EngineError:
    return EngineError(REASON_ENGINE_UNAVAILABLE, detail)
