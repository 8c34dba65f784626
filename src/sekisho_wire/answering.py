"""Answers location challenges: a landmark that the configuration names measures how long light had.

Sites answer so, and landmarks answer each other.

One socket, one small session for each landmark, and nothing that grows with what is sent to it: a datagram costs at
most two HMACs, or one signature check where the bucket still holds a token. An answer is never longer than its
question, goes only to the address that opened the session, and is left out whenever anything is wrong: silence tells a
stranger nothing. The session's key lives in this process; with the operator's hands on the machine it can be taken.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sekisho_verify import location_packets as packets
from sekisho_verify.errors import VerifyError

SKEW_MS_MAX: Final = 60_000
SESSION_SECONDS_MAX: Final = 120.0
SESSION_SECONDS_MIN: Final = 0.2
"""How long a landmark must leave between two sessions."""
HELLOS_PER_SECOND: Final = 200.0
HELLOS_AT_ONCE: Final = 200.0
"""Hellos whose signature is checked: about two per cent of a core. A flood of forged ones can still crowd out a true
one, which is sent again six times: that denies a proof, and forges none."""
STOP_POLL_SECONDS: Final = 0.5

Address = tuple[str, int] | tuple[str, int, int, int]

Note = Callable[..., object]
"""Takes an event's name and its fields, as a logger does."""


def _unheard(event: str, **fields: object) -> None:
    del event, fields


@dataclass(slots=True)
class _Session:
    """One landmark's session; `answered` holds at most ROUNDS_MAX rounds."""

    id: bytes
    key: bytes
    hello: bytes
    welcome: bytes
    address: Address
    opened: float
    asked_ms: int
    answered: dict[int, packets.Round] = field(default_factory=dict)
    closed: bytes = b""


class Responder:
    """What a site answers to a datagram; no socket, so that every case can be tried. Not for two threads at once."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        landmarks: Mapping[bytes, str],
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        note: Note = _unheard,
    ) -> None:
        """`landmarks` are the names of those that may ask, by their 32 raw public key bytes."""
        self._key = key
        self._public = key.public_key().public_bytes_raw()
        self._landmarks = landmarks
        self._now_ms = now_ms
        self._monotonic = monotonic
        self.note = note
        self._sessions: dict[bytes, _Session] = {}
        self._by_landmark: dict[bytes, _Session] = {}
        self._tokens, self._filled = HELLOS_AT_ONCE, monotonic()

    def answer(self, packet: bytes, address: Address) -> bytes | None:
        """The datagram to send back to that address, or None."""
        try:
            match packets.kind_of(packet):
                case packets.CHALLENGE:
                    return self._challenge(packet, address)
                case packets.HELLO:
                    return self._hello(packet, address)
                case packets.CLOSE:
                    return self._close(packet, address)
                case _:
                    return None
        except VerifyError:
            return None

    def _challenge(self, packet: bytes, address: Address) -> bytes | None:
        asked = packets.read_challenge(packet)
        session = self._open(asked.session, address)
        if session is None or session.closed or asked.seq >= packets.ROUNDS_MAX:
            return None
        if asked.seq in session.answered or not packets.tag_holds(session.key, packet):
            return None
        mac = packets.answer_mac(session.key, asked)
        session.answered[asked.seq] = packets.Round(asked.seq, asked.challenge, mac)
        return packets.make_answer(packets.Answer(asked.session, asked.seq, mac))

    def _hello(self, packet: bytes, address: Address) -> bytes | None:
        hello = packets.read_hello(packet)
        if hello.landmark not in self._landmarks or hello.site != self._public:
            return None
        if abs(hello.time_ms - self._now_ms()) > SKEW_MS_MAX or not self._take_token():
            return None
        before = self._by_landmark.get(hello.landmark)
        if before is not None:
            if before.hello == packet:
                return before.welcome if before.address == address and not before.answered else None
            # Times only grow, so a hello that somebody kept opens nothing and ends nothing.
            recent = self._monotonic() - before.opened < SESSION_SECONDS_MIN
            if hello.time_ms <= before.asked_ms or recent:
                return None
        packets.check_signature(packet, hello.landmark)
        session = self._begin(packet, hello, address)
        if before is not None:
            self._sessions.pop(before.id, None)
        self._sessions[session.id] = self._by_landmark[hello.landmark] = session
        self.note("location.session_opened", landmark=self._landmarks[hello.landmark])
        return session.welcome

    def _begin(self, packet: bytes, hello: packets.Hello, address: Address) -> _Session:
        own = X25519PrivateKey.generate()
        share = own.public_key().public_bytes_raw()
        welcome = packets.make_welcome(
            packets.Welcome(sha256(packet).digest(), share, self._now_ms()), self._key.sign
        )
        return _Session(
            id=packets.session_id(packet, welcome),
            key=packets.session_key(own, hello.ephemeral, hello=packet, welcome=welcome),
            hello=packet,
            welcome=welcome,
            address=address,
            opened=self._monotonic(),
            asked_ms=hello.time_ms,
        )

    def _close(self, packet: bytes, address: Address) -> bytes | None:
        """Sign for the rounds that the landmark counts, if each was answered here; the session is over then."""
        asked = packets.read_close(packet)
        session = self._open(asked.session, address)
        if session is None or not packets.tag_holds(session.key, packet):
            return None
        if session.closed:
            return session.closed
        counted = [seq for seq in range(packets.ROUNDS_MAX) if asked.counted >> seq & 1]
        if not counted or not session.answered.keys() >= set(counted):
            return None
        rounds = [session.answered[seq] for seq in counted]
        if packets.rounds_digest(rounds) != asked.rounds:
            return None
        hello, time_ms = packets.read_hello(session.hello), self._now_ms()
        said = packets.statement(hello, session=session.id, key=session.key, rounds=rounds, time_ms=time_ms)
        session.closed = packets.make_closed(packets.Closed(session.id, time_ms, self._key.sign(said)))
        self.note("location.session_closed", landmark=self._landmarks[hello.landmark], rounds=len(rounds))
        return session.closed

    def _open(self, session_id: bytes, address: Address) -> _Session | None:
        session = self._sessions.get(session_id)
        if session is None or session.address != address:
            return None
        return session if self._monotonic() - session.opened <= SESSION_SECONDS_MAX else None

    def _take_token(self) -> bool:
        """Whether another hello may cost a signature check; the bucket fills with time."""
        now = self._monotonic()
        self._tokens = min(HELLOS_AT_ONCE, self._tokens + (now - self._filled) * HELLOS_PER_SECOND)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class AnswerService:
    """The responder on its socket, in a thread of its own from `start` to `stop`."""

    def __init__(self, listen: str, responder: Responder) -> None:
        """Listen on `host:port` (UDP); ValueError says what is wrong with it."""
        self._responder = responder
        self._socket = _listen(listen)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="location", daemon=True)

    @property
    def address(self) -> Address:
        """Where it listens, the port filled in."""
        name: Address = self._socket.getsockname()
        return name

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nothing more and close the socket."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                packet, address = self._socket.recvfrom(packets.PACKET_BYTES_MAX + 1)
                reply = self._responder.answer(packet, address)
                if reply is not None:
                    self._socket.sendto(reply, address)
            except OSError:
                # A datagram that could not be sent, or an ICMP error for an earlier one: the asker asks again.
                continue
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one datagram, the next is answered
                self._responder.note("location.broken", error=type(error).__name__)


def _listen(text: str) -> socket.socket:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal():
        raise ValueError("an address is host:port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        opened.bind((host, int(port)))
        opened.settimeout(STOP_POLL_SECONDS)
    except (OSError, OverflowError) as error:
        opened.close()
        raise ValueError(f"{text} cannot be listened on") from error
    return opened
