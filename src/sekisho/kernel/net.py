"""The control plane's HTTP calls out: every address is checked before a byte goes, time and size are bounded.

The hosts that may be called are named by the settings (the identity provider, the log's witnesses); redirects are not
followed, because a redirect is somebody else choosing the destination. An object store at `s3://` or `az://` is the
other way out: it is reached through obstore (`sekisho_wire.objects`), not through this file.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec

from sekisho.kernel.errors import SekishoError, UnavailableError
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 1 << 20
TEXT_MEDIA = "text/plain; charset=utf-8"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

NOT_LISTED = problems.define(
    "net.not_listed",
    403,
    Exit.DENIED,
    Text("The server may not call {host}.", "サーバーから{host}への接続は許可されていません。"),
)


class Network:
    """Calls to the hosts it was given, and to no other. HTTPS everywhere off loopback."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """`allowed` are URLs or host names from the settings."""
        self._hosts = frozenset(urlsplit(item).hostname or item for item in allowed)

    def get_json(self, url: str) -> dict[str, Any]:
        """A JSON object by GET; UnavailableError for anything else."""
        return self._json("GET", url, None)

    def post_form(self, url: str, data: Mapping[str, str]) -> dict[str, Any]:
        """A JSON object by POST of a form; the answer's status does not matter, OAuth errors are JSON too."""
        return self._json("POST", url, data)

    def post_bytes(
        self, url: str, data: bytes, *, seconds: float, bytes_max: int, media: str = TEXT_MEDIA
    ) -> tuple[int, bytes]:
        """Status and body of a POST, whatever the status; UnavailableError for none in time, or one too long."""
        host, until = self._check(url), time.monotonic() + seconds
        headers = {"accept-encoding": "identity", "content-type": media}
        try:
            with self._client.stream("POST", url, content=data, headers=headers, timeout=seconds) as answer:
                content = b""
                for chunk in answer.iter_raw():
                    content += chunk
                    if len(content) > bytes_max or time.monotonic() > until:
                        raise UnavailableError(part=host, seconds=30)
                return answer.status_code, content
        except httpx2.HTTPError as error:
            raise UnavailableError(part=host, seconds=30) from error

    def close(self) -> None:
        """Close idle connections."""
        if "_client" in self.__dict__:
            self._client.close()

    @functools.cached_property
    def _client(self) -> httpx2.Client:
        """Made at the first call: reading the roots to trust takes longer than the rest of a start."""
        return httpx2.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)

    def _json(self, method: str, url: str, data: Mapping[str, str] | None) -> dict[str, Any]:
        host = self._check(url)
        try:
            with self._client.stream(
                method, url, data=data, headers={"accept": "application/json"}
            ) as answer:
                content = b""
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        raise UnavailableError(part=host, seconds=30)
            value = msgspec.json.decode(content)
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            raise UnavailableError(part=host, seconds=30) from error
        if not isinstance(value, dict):
            raise UnavailableError(part=host, seconds=30)
        return value

    def _check(self, url: str) -> str:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise SekishoError(NOT_LISTED, host="?") from error
        host = parts.hostname or ""
        if host not in self._hosts or (parts.scheme != "https" and host not in _LOOPBACK):
            raise SekishoError(NOT_LISTED, host=host or "?")
        return host
