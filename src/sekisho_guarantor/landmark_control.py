"""What a landmark asks of the control plane: what to measure now, and to take a transcript. It opens no port for it.

The token is its own service account's, read again for each request so that another program can renew it; it goes to
the configured server and nowhere else: certificates are verified, redirects are not followed.
"""

from __future__ import annotations

import secrets
import ssl
import stat
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.landmark_config import ControlConfig
from sekisho_guarantor.landmark_errors import (
    CONFIG_INVALID,
    CONTROL_REFUSED,
    CONTROL_SILENT,
    TOKEN_UNREADABLE,
)
from sekisho_verify import canonical
from sekisho_wire.locating import TASKS_MAX, Task

TIMEOUT_SECONDS = 20.0
CONNECT_SECONDS = 5.0
ANSWER_BYTES_MAX = 1 << 20
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

AnswerT = TypeVar("AnswerT")


class _Tasks(msgspec.Struct, frozen=True):
    """The list of tasks as the API answers it, none of them looked at."""

    items: list[msgspec.Raw]


class _Judged(msgspec.Struct, frozen=True):
    """As much of the verdict as a landmark says."""

    state: str
    code: str


class _Problem(msgspec.Struct, frozen=True):
    """A refusal's stable code."""

    code: str = "unknown"


class ControlPlane:
    """The control plane as one landmark sees it. Not for two threads at once."""

    def __init__(self, config: ControlConfig, landmark: str) -> None:
        """GuarantorError for an address that would carry the token in clear, or holds a secret itself."""
        parts = urlsplit(config.url)
        local = (parts.hostname or "") in LOOPBACK
        if (
            not parts.hostname
            or parts.scheme not in {"https", "http"}
            or (parts.scheme == "http" and not local)
        ):
            raise GuarantorError(CONFIG_INVALID, what="control.url: https is needed")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise GuarantorError(CONFIG_INVALID, what="control.url: nothing but scheme, host, port and path")
        self._token_file = Path(config.token_file)
        self._landmark = landmark
        self._http = httpx2.Client(
            base_url=config.url.rstrip("/"),
            timeout=httpx2.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            verify=ssl.create_default_context(cafile=config.ca_file) if config.ca_file else True,
            trust_env=not local,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def tasks(self) -> list[msgspec.Raw]:
        """What to measure now, each read by itself; GuarantorError where the control plane does not answer or says no.

        One site of which something wrong is told must not be in the way of the others.
        """
        answer = self._ask("GET", f"/v1/landmarks/{quote(self._landmark, safe='')}/tasks")
        return self._read(answer, _Tasks).items[:TASKS_MAX]

    def hand_in(self, task: Task, transcript: bytes) -> str:
        """Give a transcript; what the request came to with it."""
        path = f"/v1/sites/{quote(task.target, safe='')}/proofs/{quote(task.request, safe='')}"
        body = {"transcripts": [canonical.to_base64url(transcript)]}
        return self._read(self._ask("POST", path, body), _Judged).code

    def _ask(self, method: str, path: str, body: object = None) -> bytes:
        headers = {"Authorization": f"Bearer {self._token()}"}
        if body is not None:
            headers["Idempotency-Key"] = secrets.token_urlsafe(18)
        try:
            with self._http.stream(method, path, headers=headers, json=body) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        raise GuarantorError(CONTROL_SILENT, what="the answer is too long")
        except httpx2.HTTPError as error:
            raise GuarantorError(CONTROL_SILENT, what=type(error).__name__) from error
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            raise GuarantorError(CONTROL_REFUSED, status=response.status_code, reason=_code(bytes(content)))
        return bytes(content)

    @staticmethod
    def _read(content: bytes, kind: type[AnswerT]) -> AnswerT:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise GuarantorError(CONTROL_SILENT, what="the answer is none") from error

    def _token(self) -> str:
        try:
            with self._token_file.open(encoding="ascii") as file:
                if stat.S_IMODE(self._token_file.stat().st_mode) & 0o077:
                    raise GuarantorError(TOKEN_UNREADABLE)
                token = file.read(4096).strip()
        except (OSError, ValueError) as error:
            raise GuarantorError(TOKEN_UNREADABLE) from error
        if not token.isprintable() or not token:
            raise GuarantorError(TOKEN_UNREADABLE)
        return token


def _code(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=_Problem).code[:80]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "unknown"
