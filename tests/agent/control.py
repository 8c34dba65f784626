"""A control plane for tests: a real HTTP server that speaks the sealed protocol and can lose, repeat and delay.

It holds the rules the real one holds towards an agent (sequence per lane, stored answers, fencing, tickets) in memory,
and keeps every message it took, so that a test can wait for one. It decides nothing and proves nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from typing_extensions import override

from sekisho_verify import canonical
from sekisho_wire.messages import (
    Body,
    Cancel,
    Envelope,
    Lease,
    LogChunk,
    Offer,
    Ok,
    Orders,
    Poll,
    Registered,
    RegisterRequest,
    RegistrationCode,
    Renew,
    SecretValue,
    Ticket,
    WantSecret,
    WantTicket,
)
from sekisho_wire.signing import (
    answer,
    claimed_agent,
    decode_public_key,
    encode_public_key,
    format_time,
    open_sealed,
    seal,
)

Heard = TypeVar("Heard")
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
REPEAT_SECONDS = 1.0
SITE = "site_" + "0" * 26


def make_id(prefix: str) -> str:
    """An id of the house's form; random is enough here."""
    return prefix + "_" + "".join(secrets.choice(ALPHABET) for _ in range(26))


class RefusedError(Exception):
    """Answered as a problem."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


@dataclass
class Lane:
    """What the control plane remembers of one lane of one agent."""

    seq: int = 0
    sealed: bytes = b""
    reply: tuple[int, bytes] = (0, b"")


OBJECTS = "objects"
"""What a fault of `Faults` names for every transfer of an object, whichever it is."""


@dataclass
class Faults:
    """What goes wrong next. Each rule names a path and is used up as often as it says."""

    lose_request: dict[str, int] = field(default_factory=dict)
    lose_answer: dict[str, int] = field(default_factory=dict)
    fail: dict[str, int] = field(default_factory=dict)
    silent: bool = False

    def use(self, kind: str, path: str) -> bool:
        left: dict[str, int] = getattr(self, kind)
        if left.get(path, 0) <= 0:
            return False
        left[path] -= 1
        return True


class ControlPlane:
    """The server and its memory. All public attributes are for tests to read."""

    def __init__(self, *, lease_seconds: int = 60) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.lease_seconds = lease_seconds
        self.faults = Faults()
        self.objects: dict[str, bytes] = {}
        self.secrets: dict[str, bytes] = {}
        self.tickets: set[str] = set()
        self.messages: list[Envelope] = []
        self.sealed: list[bytes] = []
        self.replayed = 0
        self.logs: dict[str, dict[int, bytes]] = {}
        self.tokens: dict[str, int] = {}
        self.cancelling: dict[str, int] = {}
        self.fenced: set[str] = set()
        self.polls: list[Poll] = []
        self._agents: dict[str, Ed25519PublicKey] = {}
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._codes: dict[str, str] = {}
        self._used: dict[str, tuple[str, str]] = {}
        self._orders: list[str] = []
        self._order_seq = 0
        self._unheard: dict[str, tuple[int, Offer, float]] = {}
        self._changed = threading.Condition()
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.faults.silent = True
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    # --- what a test asks for

    def code(self) -> str:
        secret = secrets.token_urlsafe(24)
        self._codes[secret] = SITE
        return RegistrationCode(
            secret=secret,
            control_key=encode_public_key(self.key.public_key()),
            site=SITE,
        ).text()

    def ticket(self) -> str:
        text = secrets.token_urlsafe(16)
        self.tickets.add(text)
        return text

    def store(self, content: bytes) -> str:
        digest = canonical.digest(content)
        self.objects[digest] = content
        return digest

    def offer(self, offer: Offer, *, token: int = 1, attempt: str = "") -> str:
        """Queue an offer for whichever agent polls next; returns the attempt id."""
        attempt = attempt or make_id("att")
        self.tokens[attempt] = token
        with self._changed:
            self._unheard[attempt] = (token, offer, 0.0)
            self._changed.notify_all()
        return attempt

    def cancel(self, attempt: str, *, grace_s: int = 10) -> None:
        self.order(attempt, self.tokens[attempt], Cancel(grace_s=grace_s))

    def order(self, attempt: str, token: int, body: Body, *, seq: int = 0) -> str:
        """Seal an order for the one agent there is and queue it; returns its text."""
        with self._changed:
            self._order_seq = seq or self._order_seq + 1
            text = self._seal_order(attempt, token, body, seq=self._order_seq)
            self._orders.append(text)
            self._changed.notify_all()
        return text

    def repeat_order(self, text: str) -> None:
        with self._changed:
            self._orders.append(text)
            self._changed.notify_all()

    def wait_for(self, kind: type[Heard], attempt: str, *, seconds: float = 20.0) -> Heard:
        """The first message of a kind about an attempt, as soon as it is there."""
        found: list[Heard] = []

        def heard() -> bool:
            found.extend(m.body for m in self.messages if m.attempt == attempt and isinstance(m.body, kind))
            return bool(found)

        self.until(heard, seconds=seconds, what=kind.__name__)
        return found[0]

    def kinds(self, attempt: str) -> list[str]:
        with self._changed:
            return [type(m.body).__name__ for m in self.messages if m.attempt == attempt]

    # --- what the server does with a request

    def register(self, content: bytes) -> bytes:
        request = msgspec.json.decode(content, type=RegisterRequest)
        secret = request.code.split(".")[1]
        site = self._codes.get(secret)
        used_by, agent = self._used.setdefault(secret, (request.public_key, make_id("agt")))
        if site is None or used_by != request.public_key:
            raise RefusedError("registration.unknown_code", 403)
        self._agents[agent] = decode_public_key(request.public_key)
        reply = Envelope(
            agent=agent,
            lane="register",
            seq=0,
            time=format_time(time.time()),
            attempt="",
            token=0,
            body=Registered(agent=agent, site=site, name=request.name),
        )
        return seal(self.key, reply)

    def take(self, sealed: bytes) -> bytes:
        """One sealed message: the same bytes get the stored answer, an older or other one of that number is refused."""
        agent = claimed_agent(sealed)
        envelope = open_sealed(self._agents[agent], sealed)
        if isinstance(envelope.body, Poll):
            return self._answer(envelope, self._poll(envelope.body))
        lane = self._lanes.setdefault((agent, envelope.lane), Lane())
        with self._changed:
            if sealed == lane.sealed:
                return _given(lane.reply)
            if envelope.seq <= lane.seq:
                self.replayed += 1
                raise RefusedError("agent.message.replayed", 409)
            lane.seq, lane.sealed = envelope.seq, sealed
            try:
                lane.reply = (200, self._answer(envelope, self._apply(envelope)))
            except RefusedError as error:
                lane.reply = (error.status, error.code.encode())
            self.sealed.append(sealed)
            self._changed.notify_all()
            return _given(lane.reply)

    def _apply(self, envelope: Envelope) -> Body:
        if envelope.attempt in self.fenced or envelope.token != self.tokens.get(envelope.attempt):
            raise RefusedError("attempt.fenced", 409)
        body = envelope.body
        if isinstance(body, LogChunk):
            self.logs.setdefault(envelope.attempt, {})[body.offset] = canonical.from_base64url(body.text)
            return Ok()
        offered = envelope.attempt in self._unheard and "Accept" not in self.kinds(envelope.attempt)
        if isinstance(body, Renew) and offered:
            raise RefusedError("attempt.fenced", 409)
        self.messages.append(envelope)
        match body:
            case Renew():
                grace = self.cancelling.get(envelope.attempt)
                return Lease(lease_s=self.lease_seconds, cancel=grace is not None, grace_s=grace or 10)
            case WantSecret(name=name):
                return SecretValue(name=name, value=canonical.to_base64url(self.secrets[name]))
            case WantTicket():
                return Ticket(ticket=self.ticket())
            case _:
                return Ok()

    def _poll(self, poll: Poll) -> Orders:
        with self._changed:
            self.polls.append(poll)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._due() or self.faults.silent, min(poll.wait_s, 1))
            orders, self._orders = self._orders, list[str]()
            for attempt in self._due_offers():
                token, offer, _ = self._unheard[attempt]
                self._unheard[attempt] = token, offer, time.monotonic()
                self._order_seq += 1
                orders.append(self._seal_order(attempt, token, offer, seq=self._order_seq))
        return Orders(nonce=poll.nonce, orders=orders)

    def _due(self) -> bool:
        return bool(self._orders or self._due_offers())

    def _due_offers(self) -> list[str]:
        """An offer is repeated, under a new order number, until the agent has said something about it."""
        heard = {message.attempt for message in self.messages}
        self._unheard = {key: value for key, value in self._unheard.items() if key not in heard}
        return [key for key, (_, _, at) in self._unheard.items() if time.monotonic() - at > REPEAT_SECONDS]

    def _answer(self, question: Envelope, body: Body) -> bytes:
        return answer(self.key, question, time_text=format_time(time.time()), body=body)

    def _seal_order(self, attempt: str, token: int, body: Body, *, seq: int) -> str:
        (agent,) = self._agents
        order = Envelope(
            agent=agent,
            lane="order",
            seq=seq,
            time=format_time(time.time()),
            attempt=attempt,
            token=token,
            body=body,
        )
        return seal(self.key, order).decode()

    def log_text(self, attempt: str) -> bytes:
        pieces = self.logs.get(attempt, {})
        return b"".join(content for _, content in sorted(pieces.items()))

    def until(self, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                said = [
                    (m.attempt[-4:], type(m.body).__name__, getattr(m.body, "reason", ""))
                    for m in self.messages
                ]
                raise AssertionError(f"{what} did not happen in {seconds} s; heard {said}")


def _given(reply: tuple[int, bytes]) -> bytes:
    status, content = reply
    if status != 200:
        raise RefusedError(content.decode(), status)
    return content


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, control: ControlPlane) -> None:
        self.control = control
        super().__init__(("127.0.0.1", 0), _Handler)

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is an everyday thing here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    @property
    def control(self) -> ControlPlane:
        assert isinstance(self.server, _Server)
        return self.server.control

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        control, path = self.control, self.path
        if control.faults.silent or control.faults.use("lose_request", path):
            self.close_connection = True
            return
        if control.faults.use("fail", path):
            self._give(503, json.dumps({"code": "unavailable"}).encode())
            return
        try:
            answered = control.register(content) if path.endswith("/register") else control.take(content)
            status = 200
        except RefusedError as error:
            status, answered = error.status, json.dumps({"code": error.code, "detail": "no"}).encode()
        if control.faults.silent or control.faults.use("lose_answer", path):
            self.close_connection = True
            return
        self._give(status, answered)

    def _breaks_off(self) -> bool:
        """Whether a transfer is to fail, by a lost connection or by a server that cannot now."""
        faults = self.control.faults
        if faults.silent or faults.use("lose_request", OBJECTS):
            self.close_connection = True
            return True
        if faults.use("fail", OBJECTS):
            self.close_connection = True
            self._give(503, json.dumps({"code": "unavailable"}).encode())
            return True
        return False

    def do_GET(self) -> None:
        if self._breaks_off():
            return
        digest = self.path.rpartition("/")[2]
        content = self.control.objects.get(digest)
        if self._bearer() not in self.control.tickets or content is None:
            self._give(404, json.dumps({"code": "object.not_found"}).encode())
            return
        self._give(200, content)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        if self._breaks_off():
            return
        digest = self.path.rpartition("/")[2]
        fits = "sha256:" + hashlib.sha256(content).hexdigest() == digest
        if self._bearer() not in self.control.tickets or not fits:
            self._give(403, json.dumps({"code": "object.refused"}).encode())
            return
        self.control.objects[digest] = content
        self._give(200, b"{}")

    def _bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def _give(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def running(*, lease_seconds: int = 60) -> Iterator[ControlPlane]:
    """A control plane for the length of a block."""
    control = ControlPlane(lease_seconds=lease_seconds)
    try:
        yield control
    finally:
        control.close()
