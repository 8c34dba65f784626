"""One session of a landmark with one site: keys first, slowly; then rounds against the clock; then the site signs.

The measured part holds one HMAC and no signature (an Ed25519 signature alone would widen the disc by 3 km). Only the
shortest round matters, so a busy machine costs accuracy and never soundness: whatever else happens between sending and
receiving makes the RTT longer. The landmark sends at most 256 datagrams of 71 bytes to the address it was told, answers
nobody, and keeps nothing of what does not belong to a round.
"""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sekisho_guarantor.clock import monotonic_ns, now_ms
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.landmark_errors import TOO_FEW, UNREACHABLE
from sekisho_verify import location_packets as packets
from sekisho_verify.checkpoint import Sign, verify_signature
from sekisho_verify.errors import VerifyError
from sekisho_verify.location_transcript import Landmark, Session, write_transcript

TRIES = 6
TRY_NS = 400_000_000
DRAIN_MAX = 64
ARRIVALS_MAX = 256
"""How many datagrams are looked at for one question: who floods its own session leaves time for those beside it."""
SESSION_NS_MAX = 60_000_000_000
"""After that no round is sent any more: what was answered by then has to be enough. A request is open no longer."""
NS_PER_SECOND = 1_000_000_000

Wait = Callable[[float], object]
"""Waits for some seconds, or for the end of the program if that comes first."""


@dataclass(frozen=True, slots=True)
class Target:
    """A site as a landmark knows it: id, raw public key of its agent, host and UDP port."""

    site: str
    key: bytes
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How a session goes: rounds sent and needed, the space between two (random, up to `gap_ms_max`), patience."""

    rounds: int = 40
    rounds_min: int = 20
    gap_ms_max: int = 100
    patience_ms: int = 250


@dataclass(slots=True)
class _Counts:
    """What came in beside the answers that count."""

    late: int = 0
    duplicated: int = 0
    forged: int = 0


@dataclass(slots=True)
class _Rounds:
    """The rounds of a session as they happen."""

    session: bytes
    key: bytes
    counts: _Counts
    challenges: list[bytes] = field(default_factory=list)
    answered: dict[int, tuple[packets.Round, int]] = field(default_factory=dict)

    def take(self, packet: bytes, rtt_ns: int) -> bool:
        """Whether a datagram is the answer to the round that runs; anything else is counted.

        What comes between two rounds has no time (0) and is late, also where it answers the newest challenge.
        """
        try:
            answer = packets.read_answer(packet)
        except VerifyError:
            answer = None
        if answer is None or answer.session != self.session or answer.seq >= len(self.challenges):
            self.counts.forged += 1
            return False
        asked = packets.Challenge(self.session, answer.seq, self.challenges[answer.seq])
        if not hmac.compare_digest(packets.answer_mac(self.key, asked), answer.mac):
            self.counts.forged += 1
        elif answer.seq in self.answered:
            self.counts.duplicated += 1
        elif answer.seq != len(self.challenges) - 1 or not rtt_ns:
            self.counts.late += 1
        else:
            round_ = packets.Round(answer.seq, asked.challenge, answer.mac)
            self.answered[answer.seq] = round_, rtt_ns
            return True
        return False


def measure(
    landmark: Landmark, sign: Sign, target: Target, *, plan: Plan, nonce: bytes, wait: Wait
) -> tuple[bytes, Session]:
    """Hold one session and answer with its sealed transcript; GuarantorError where it came to nothing."""
    started_ms, until_ns = now_ms(), monotonic_ns() + SESSION_NS_MAX
    with _connect(target) as link:
        hello_packet, own = _hello(landmark, sign, target, nonce=nonce, time_ms=started_ms)
        welcome_packet = _ask(
            link, hello_packet, lambda reply: _welcomes(reply, hello_packet, own, target), target
        )
        key = _session_key(own, hello_packet, welcome_packet)
        rounds = _Rounds(packets.session_id(hello_packet, welcome_packet), key, _Counts())
        for _ in range(plan.rounds):
            if monotonic_ns() >= until_ns:
                break
            wait(secrets.randbelow(plan.gap_ms_max * 1000 + 1) / 1_000_000)
            _drain(link, rounds)
            _round(link, rounds, plan.patience_ms * 1_000_000)
        if len(rounds.answered) < plan.rounds_min:
            raise GuarantorError(
                TOO_FEW, site=target.site, count=len(rounds.answered), needed=plan.rounds_min
            )
        closed = _close(link, rounds, packets.read_hello(hello_packet), target)
    session = Session(
        site_id=target.site,
        hello=hello_packet,
        welcome=welcome_packet,
        key=key,
        rounds=tuple(each for each, _ in rounds.answered.values()),
        rtts_ns=tuple(rtt_ns for _, rtt_ns in rounds.answered.values()),
        closed_ms=closed.time_ms,
        closed_signature=closed.signature,
        started_ms=started_ms,
        ended_ms=now_ms(),
        sent=len(rounds.challenges),
        late=rounds.counts.late,
        duplicated=rounds.counts.duplicated,
        forged=rounds.counts.forged,
    )
    return write_transcript(landmark, session, sign), session


def _connect(target: Target) -> socket.socket:
    """A socket that hears nobody but the target."""
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    link = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        link.connect((target.host, target.port))
    except OSError as error:
        link.close()
        raise GuarantorError(UNREACHABLE, site=target.site, step="address") from error
    return link


def _hello(
    landmark: Landmark, sign: Sign, target: Target, *, nonce: bytes, time_ms: int
) -> tuple[bytes, X25519PrivateKey]:
    own = X25519PrivateKey.generate()
    share = own.public_key().public_bytes_raw()
    return packets.make_hello(packets.Hello(landmark.key, target.key, nonce, share, time_ms), sign), own


def _welcomes(reply: bytes, hello: bytes, own: X25519PrivateKey, target: Target) -> bool:
    """Whether a datagram is the site's signed answer to this hello, with a share that can be used."""
    welcome = packets.read_welcome(reply)
    packets.check_signature(reply, target.key)
    _session_key(own, hello, reply)
    return welcome.hello == sha256(hello).digest()


def _session_key(own: X25519PrivateKey, hello: bytes, welcome: bytes) -> bytes:
    """The session's key; PacketError for a share of the site's that gives none."""
    share = packets.read_welcome(welcome).ephemeral
    return packets.session_key(own, share, hello=hello, welcome=welcome)


def _close(link: socket.socket, rounds: _Rounds, hello: packets.Hello, target: Target) -> packets.Closed:
    counted = [each for each, _ in rounds.answered.values()]
    mask = sum(1 << each.seq for each in counted)
    question = packets.make_close(
        rounds.key, packets.Close(rounds.session, mask, packets.rounds_digest(counted))
    )

    def signs(reply: bytes) -> bool:
        closed = packets.read_closed(reply)
        said = packets.statement(
            hello, session=rounds.session, key=rounds.key, rounds=counted, time_ms=closed.time_ms
        )
        verify_signature(target.key, closed.signature, said)
        return closed.session == rounds.session

    return packets.read_closed(_ask(link, question, signs, target))


def _ask(link: socket.socket, question: bytes, holds: Callable[[bytes], bool], target: Target) -> bytes:
    """The first datagram that holds; the question is sent again while none comes."""
    for _ in range(TRIES):
        _send(link, question)
        for reply, _ in islice(_arrivals(link, monotonic_ns() + TRY_NS), ARRIVALS_MAX):
            try:
                if holds(reply):
                    return reply
            except VerifyError:
                continue
    step = "hello" if packets.kind_of(question) == packets.HELLO else "close"
    raise GuarantorError(UNREACHABLE, site=target.site, step=step)


def _round(link: socket.socket, rounds: _Rounds, patience_ns: int) -> None:
    challenge = secrets.token_bytes(packets.CHALLENGE_BYTES)
    rounds.challenges.append(challenge)
    seq = len(rounds.challenges) - 1
    question = packets.make_challenge(rounds.key, packets.Challenge(rounds.session, seq, challenge))
    sent_ns = monotonic_ns()
    _send(link, question)
    for packet, arrived_ns in islice(_arrivals(link, sent_ns + patience_ns), ARRIVALS_MAX):
        if rounds.take(packet, arrived_ns - sent_ns):
            return


def _drain(link: socket.socket, rounds: _Rounds) -> None:
    """Count what came between two rounds; a flood is left in the kernel's buffer, which has an end."""
    for packet, _ in islice(_arrivals(link, 0), DRAIN_MAX):
        rounds.take(packet, 0)


def _arrivals(link: socket.socket, deadline_ns: int) -> Iterator[tuple[bytes, int]]:
    """Datagrams and when they came, until the deadline; with one in the past, those that are there already."""
    while True:
        left_ns = deadline_ns - monotonic_ns()
        try:
            link.settimeout(max(0, left_ns) / NS_PER_SECOND)
            packet = link.recv(packets.PACKET_BYTES_MAX + 1)
            arrived_ns = monotonic_ns()
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            # Nobody listens there (an ICMP error): a datagram like any other that did not come.
            if left_ns <= 0:
                return
            continue
        yield packet, arrived_ns
        if left_ns <= 0 < deadline_ns:
            return


def _send(link: socket.socket, packet: bytes) -> None:
    try:
        link.send(packet)
    except OSError:
        # Unreachable for now; the silence that follows says it.
        return
