"""The sealed HTTP client. The agent only ever calls out; nothing listens for the control plane.

Each lane has a connection of its own and sends one message at a time. A message keeps its bytes while it is repeated,
so the control plane can give the stored answer. An answer counts only when the control plane's key sealed it and it
names the message; a problem answer is not signed, so whoever holds the connection can stop work with one, not start it.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import structlog

from sekisho_agent import clock
from sekisho_agent.deadlines import TimedBackend, answer_within, begin, time_left
from sekisho_agent.egress import led_to
from sekisho_agent.errors import ConfigError, ProblemError, StoreError, UnreachableError
from sekisho_agent.state import AgentState, Identity
from sekisho_verify.errors import CanonicalError
from sekisho_wire.custody import CustodyError
from sekisho_wire.messages import (
    LANE_LEASE,
    LANE_LOG,
    LANE_MAIN,
    LANE_POLL,
    SEALED_BYTES_MAX,
    SEALED_MEDIA_TYPE,
    Body,
    Envelope,
    LogChunk,
    Orders,
    Poll,
    Renew,
)
from sekisho_wire.signing import SealError, answers, open_sealed, seal

log = structlog.get_logger(__name__)

ANSWER_BYTES_MAX: Final = 4 * SEALED_BYTES_MAX
ANSWER_SECONDS_MAX: Final = 120.0
"""For all of an answer, or the head and each further piece of a download: timeouts start anew with every byte."""
BACKOFF_SECONDS_FIRST: Final = 0.2
BACKOFF_SECONDS_MAX: Final = 5.0
STATUS_OK: Final = 200
STATUS_TOO_MANY: Final = 429
STATUS_SERVER_ERROR: Final = 500
TRANSFER_CHUNK_BYTES: Final = 1 << 20
OBJECT_UNREACHABLE: Final = "object.unreachable"

HTTPS_PORT: Final = 443
CONNECT_SECONDS: Final = 3.0
QUICK = httpx2.Timeout(connect=3.0, read=5.0, write=5.0, pool=1.0)
PATIENT = httpx2.Timeout(connect=5.0, read=20.0, write=20.0, pool=1.0)
LONG_POLL = httpx2.Timeout(connect=5.0, read=40.0, write=20.0, pool=1.0)
TRANSFER = httpx2.Timeout(connect=5.0, read=60.0, write=60.0, pool=5.0)


def within(seconds: float) -> httpx2.Timeout:
    """Limits for one question to somebody who may hang."""
    return httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))


def backoff() -> Iterator[float]:
    """Seconds between one try and the next, each twice the one before up to a limit."""
    pause = BACKOFF_SECONDS_FIRST
    while True:
        yield pause
        pause = min(pause * 2, BACKOFF_SECONDS_MAX)


def check_control_url(url: str) -> str:
    """The base URL without a trailing slash; ConfigError unless it is https, or http to this machine."""
    parsed = httpx2.URL(url)
    loopback = parsed.host in {"127.0.0.1", "::1", "localhost"}
    if parsed.scheme == "https" or (parsed.scheme == "http" and loopback):
        return url.rstrip("/")
    raise ConfigError("config.control_url", "the control plane needs an https URL (http only on loopback)")


def open_http(url: str, *, timeout: httpx2.Timeout, ca_file: Path | None) -> httpx2.Client:
    """A client of one connection pool that ignores the environment's proxies and follows no redirect."""
    base = check_control_url(url)
    transport = _Transport(trusted(base, ca_file))
    return httpx2.Client(base_url=base, timeout=timeout, transport=transport, trust_env=False)


class _Transport(httpx2.HTTPTransport):
    """The ordinary one, over connections that `answer_within` bounds."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        pool: Any = self._pool
        pool._network_backend = TimedBackend(pool._network_backend, _left)  # noqa: SLF001 - there is no other way in


def _left(timeout: float | None) -> float | None:
    return time_left(timeout, httpx2.ReadTimeout("not in time"))


def open_custodian(url: str, *, seconds: float, ca_file: Path | None, permit_private: bool) -> httpx2.Client:
    """A client for one question to a custodian, whose address somebody has registered at the control plane.

    It is judged before a byte goes, and the connection is bound to what was judged: who could send an agent anywhere
    could have it knock at any door of the site's own networks. CustodyError `custody.address` for a name that leads
    there, UnreachableError for one that leads nowhere, ConfigError as `check_control_url`.
    """
    base = check_control_url(url)
    parts = httpx2.URL(base)
    try:
        found = led_to(parts.host, parts.port or HTTPS_PORT, permit_private=permit_private)
    except (OSError, UnicodeError) as error:
        raise UnreachableError("agent.unreachable", "the custodian's name leads nowhere") from error
    if not found:
        raise CustodyError(
            "custody.address", "the custodian's name leads to an address that is not to be called"
        )
    way = _Bound(str(found[0][4][0]), httpx2.HTTPTransport(verify=trusted(base, ca_file), trust_env=False))
    return httpx2.Client(base_url=base, timeout=within(seconds), transport=way, trust_env=False)


class _Bound(httpx2.BaseTransport):
    """Connects to one address, and expects there the certificate of the name that was asked for."""

    def __init__(self, address: str, way: httpx2.BaseTransport) -> None:
        self._address = address
        self._way = way

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """To that address, whatever the name leads to by now."""
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host=self._address)
        return self._way.handle_request(request)

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def close(self) -> None:
        """As the way that it takes."""
        self._way.close()


def trusted(url: str, ca_file: Path | None) -> ssl.SSLContext:
    """Whom to believe. Plain HTTP, to this machine alone, needs nobody: reading every root takes 40 ms of a start."""
    if url.startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context(cafile=ca_file)


class ControlClient:
    """The agent's way to the control plane. Thread-safe: each lane is guarded by its own lock."""

    def __init__(
        self,
        url: str,
        identity: Identity,
        state: AgentState,
        *,
        ca_file: Path | None = None,
    ) -> None:
        self._identity = identity
        self._signing_key = identity.signing_key()
        self._control_key = identity.verifying_key()
        self._state = state
        self._stopping = threading.Event()
        timeouts = {LANE_MAIN: PATIENT, LANE_LEASE: QUICK, LANE_LOG: PATIENT, LANE_POLL: LONG_POLL}
        self._http = {
            lane: open_http(url, timeout=limit, ca_file=ca_file) for lane, limit in timeouts.items()
        }
        self._guards = {lane: threading.Lock() for lane in timeouts}
        self.transfers = open_http(url, timeout=TRANSFER, ca_file=ca_file)

    @property
    def control_key(self) -> bytes:
        """The 32 raw bytes that check what the control plane signs."""
        return self._control_key.public_bytes_raw()

    @property
    def agent_id(self) -> str:
        """The id that the control plane gave this agent."""
        return self._identity.agent

    def stop(self) -> None:
        """Make every waiting `send` give up with UnreachableError; idempotent."""
        self._stopping.set()

    def rest(self, pauses: Iterator[float]) -> bool:
        """Wait for the next of the pauses; False once the client stops."""
        return not self._stopping.wait(next(pauses))

    def close(self) -> None:
        """Stop, and close all connections."""
        self.stop()
        for http in (*self._http.values(), self.transfers):
            http.close()

    def send(
        self,
        body: Body,
        attempt: str,
        token: int,
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Body:
        """Deliver one message on lane main and return the answer's body.

        Repeats the same bytes until an answer comes; UnreachableError once `wanted` says no or the client stops.
        ProblemError when the control plane refuses.
        """
        with self._guards[LANE_MAIN]:
            envelope, sealed = self._sealed(
                LANE_MAIN, body, seq=self._state.next_seq(LANE_MAIN), attempt=attempt, token=token
            )
            pauses = backoff()
            while True:
                try:
                    return self._exchange(LANE_MAIN, "/agent/v1/message", envelope, sealed)
                except UnreachableError:
                    if not wanted() or not self.rest(pauses):
                        raise

    def renew(self, attempt: str, token: int) -> tuple[Body, float]:
        """Renew one lease, once; the answer and the monotonic time at which the renewal was sent."""
        with self._guards[LANE_LEASE]:
            seq = self._state.next_seq(LANE_LEASE)
            envelope, sealed = self._sealed(LANE_LEASE, Renew(), seq=seq, attempt=attempt, token=token)
            sent_at = clock.monotonic()
            return self._exchange(LANE_LEASE, "/agent/v1/message", envelope, sealed), sent_at

    def send_log(self, chunk: LogChunk, attempt: str, token: int) -> None:
        """Send one piece of a log, once; UnreachableError lets the caller decide whether to try again."""
        with self._guards[LANE_LOG]:
            seq = self._state.next_seq(LANE_LOG)
            envelope, sealed = self._sealed(LANE_LOG, chunk, seq=seq, attempt=attempt, token=token)
            self._exchange(LANE_LOG, "/agent/v1/log", envelope, sealed)

    def poll(self, poll: Poll) -> list[Envelope]:
        """Wait for orders; only those sealed for this agent by the control plane come back, unordered by seq.

        One that does not open is left out: it must not keep the others from this site.
        """
        with self._guards[LANE_POLL]:
            envelope, sealed = self._sealed(LANE_POLL, poll, seq=0, attempt="", token=0)
            answer = self._exchange(LANE_POLL, "/agent/v1/poll", envelope, sealed)
        if not isinstance(answer, Orders) or answer.nonce != poll.nonce:
            raise UnreachableError("agent.answer.foreign", "the answer does not belong to this poll")
        opened = [self._order(text) for text in answer.orders]
        return [order for order in opened if order is not None]

    def _order(self, text: str) -> Envelope | None:
        try:
            order = open_sealed(self._control_key, text.encode())
        except SealError as error:
            log.warning("order.unsealed", code=error.code, error=error.detail)
            return None
        if order.agent != self.agent_id or order.lane != "order":
            log.warning("order.foreign", lane=order.lane)
            return None
        return order

    def _sealed(self, lane: str, body: Body, *, seq: int, attempt: str, token: int) -> tuple[Envelope, bytes]:
        envelope = Envelope(
            agent=self.agent_id,
            lane=lane,
            seq=seq,
            time=clock.now_text(),
            attempt=attempt,
            token=token,
            body=body,
        )
        return envelope, seal(self._signing_key, envelope)

    def _exchange(self, lane: str, path: str, envelope: Envelope, sealed: bytes) -> Body:
        status, content = post(self._http[lane], path, sealed, media_type=SEALED_MEDIA_TYPE)
        if status != STATUS_OK:
            raise problem_from(status, content)
        try:
            reply = open_sealed(self._control_key, content)
        except (SealError, CanonicalError) as error:
            raise UnreachableError("agent.answer.unsealed", f"the answer: {error.detail}") from error
        if not answers(envelope, reply):
            raise UnreachableError("agent.answer.foreign", "the answer names another message")
        return reply.body

    def download(self, digest: str, ticket: str) -> Iterator[bytes]:
        """The bytes of an object at the control plane, unchecked; the caller hashes them.

        UnreachableError when they stop coming, StoreError when the control plane refuses.
        """
        headers = {"authorization": f"Bearer {ticket}"}
        try:
            with contextlib.ExitStack() as opened:
                with answer_within(ANSWER_SECONDS_MAX):
                    response = opened.enter_context(
                        self.transfers.stream("GET", f"/agent/v1/objects/{digest}", headers=headers)
                    )
                    if response.status_code != STATUS_OK:
                        raise _transfer_problem(response)
                yield from _timely(response.iter_bytes(TRANSFER_CHUNK_BYTES))
        except httpx2.HTTPError as error:
            raise UnreachableError(
                OBJECT_UNREACHABLE, f"{digest} could not be fetched: {type(error).__name__}"
            ) from error

    def upload(self, digest: str, ticket: str, *, content: Iterator[bytes], size_bytes: int) -> None:
        """Send an object's bytes to the control plane, which checks them against the digest; errors as `download`."""
        headers = {"authorization": f"Bearer {ticket}", "content-length": str(size_bytes)}

        def sent() -> Iterator[bytes]:
            """Sending takes as long as it does; the answer does not."""
            for chunk in content:
                begin(ANSWER_SECONDS_MAX)
                yield chunk
            begin(ANSWER_SECONDS_MAX)

        try:
            with answer_within(ANSWER_SECONDS_MAX):
                response = self.transfers.put(f"/agent/v1/objects/{digest}", headers=headers, content=sent())
        except httpx2.HTTPError as error:
            raise UnreachableError(
                OBJECT_UNREACHABLE, f"{digest} could not be sent: {type(error).__name__}"
            ) from error
        if response.status_code // 100 != STATUS_OK // 100:
            raise problem_from(response.status_code, response.content)


def post(
    http: httpx2.Client,
    path: str,
    content: bytes,
    *,
    media_type: str,
    bytes_max: int = ANSWER_BYTES_MAX,
    seconds: float = ANSWER_SECONDS_MAX,
) -> tuple[int, bytes]:
    """Status and body of one POST; UnreachableError when no answer of tolerable size comes in tolerable time."""
    headers = {"content-type": media_type}
    try:
        with (
            answer_within(seconds),
            http.stream("POST", path, content=content, headers=headers) as response,
        ):
            received = bytearray()
            for chunk in response.iter_bytes():
                received += chunk
                if len(received) > bytes_max:
                    raise UnreachableError("agent.answer.too_large", "an answer without end")
            return response.status_code, bytes(received)
    except httpx2.HTTPError as error:
        raise UnreachableError("agent.unreachable", f"no answer: {type(error).__name__}") from error


def problem_from(status: int, content: bytes) -> ProblemError | UnreachableError:
    """The error that an answer other than 200 stands for; what may be repeated becomes UnreachableError."""
    code, detail = "problem.unreadable", f"the control plane answered {status}"
    try:
        problem: dict[str, Any] = msgspec.json.decode(content, type=dict)
        code, detail = str(problem.get("code", code))[:128], str(problem.get("detail", detail))[:500]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    if status >= STATUS_SERVER_ERROR or status == STATUS_TOO_MANY:
        return UnreachableError(code, detail)
    return ProblemError(code, detail, status=status)


def _timely(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Each in time, not counting what its taker does between them."""
    while True:
        with answer_within(ANSWER_SECONDS_MAX):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _transfer_problem(response: httpx2.Response) -> StoreError | UnreachableError:
    response.read()
    found = problem_from(response.status_code, response.content)
    return found if isinstance(found, UnreachableError) else StoreError(found.code, found.detail)
