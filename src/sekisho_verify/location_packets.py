"""The datagrams between a landmark and a site, and the keys and digests both compute from them.

Big-endian, fixed lengths, no options. A question is never shorter than its answer, so that a site cannot be used to
send more than it was sent. The landmark asks (hello, challenge, close), the site answers (welcome, answer, closed):

    hello      magic 1 landmark[32] site[32] nonce[32] ephemeral[32] time_ms[8] signature[64]      205 bytes
    welcome    magic 2 sha256(hello)[32] ephemeral[32] time_ms[8] signature[64]                    141
    challenge  magic 3 session[16] seq[2] challenge[32] tag[16]                                     71
    answer     magic 4 session[16] seq[2] mac[32]                                                   55
    close      magic 5 session[16] counted[32] rounds[32] tag[16]                                  101
    closed     magic 6 session[16] time_ms[8] signature[64]                                         93

The key of a session is HKDF-SHA256 of the two X25519 shares, salted with the digest of hello and welcome, each of which
its sender signed with the Ed25519 key it is known by. `mac` is HMAC-SHA256 over magic, 4, session, seq and challenge;
`tag` are the first 16 bytes of the HMAC over what stands before it. `counted` has bit n of the big-endian number set
for each round n that counts. What the site signs at the close is a canonical object (`statement`).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sekisho_verify import canonical
from sekisho_verify.checkpoint import Sign, verify_signature
from sekisho_verify.errors import VerifyError

MAGIC = b"SKL1"
HELLO, WELCOME, CHALLENGE, ANSWER, CLOSE, CLOSED = range(1, 7)
ROUNDS_MAX = 256
KEY_BYTES = 32
NONCE_BYTES = 32
CHALLENGE_BYTES = 32
SESSION_BYTES = 16
TAG_BYTES = 16
SIGNATURE_BYTES = 64

_HELLO = struct.Struct("!4sB32s32s32s32sQ")
_WELCOME = struct.Struct("!4sB32s32sQ")
_CHALLENGE = struct.Struct("!4sB16sH32s")
_ANSWER = struct.Struct("!4sB16sH32s")
_CLOSE = struct.Struct("!4sB16s32s32s")
_CLOSED = struct.Struct("!4sB16sQ64s")
_ROUND = struct.Struct("!H32s32s")
_INFO = b"sekisho.location.v1"

HELLO_BYTES = _HELLO.size + SIGNATURE_BYTES
WELCOME_BYTES = _WELCOME.size + SIGNATURE_BYTES
CHALLENGE_PACKET_BYTES = _CHALLENGE.size + TAG_BYTES
ANSWER_BYTES = _ANSWER.size
CLOSE_BYTES = _CLOSE.size + TAG_BYTES
CLOSED_BYTES = _CLOSED.size
PACKET_BYTES_MAX = HELLO_BYTES


class PacketError(VerifyError):
    """A datagram of the wrong kind or length, or one whose signature or tag does not hold."""


class Hello(NamedTuple):
    """A landmark asks a site, by their public keys, for a session; `nonce` is what the one who ordered it gave."""

    landmark: bytes
    site: bytes
    nonce: bytes
    ephemeral: bytes
    time_ms: int


class Welcome(NamedTuple):
    """The site's share, for the hello of this digest, at its own time."""

    hello: bytes
    ephemeral: bytes
    time_ms: int


class Challenge(NamedTuple):
    """Round `seq` of a session."""

    session: bytes
    seq: int
    challenge: bytes


class Answer(NamedTuple):
    """What came back for round `seq`; `mac` is not checked yet."""

    session: bytes
    seq: int
    mac: bytes


class Close(NamedTuple):
    """The rounds the landmark counts, as a bit mask, and their digest."""

    session: bytes
    counted: int
    rounds: bytes


class Closed(NamedTuple):
    """The site's signature of the `statement` with this time."""

    session: bytes
    time_ms: int
    signature: bytes


class Round(NamedTuple):
    """One answered round."""

    seq: int
    challenge: bytes
    mac: bytes


def kind_of(packet: bytes) -> int:
    """Which of the six kinds a datagram says it is; 0 for anything else."""
    return packet[4] if len(packet) > len(MAGIC) and packet.startswith(MAGIC) else 0


def make_hello(hello: Hello, sign: Sign) -> bytes:
    """A signed hello."""
    data = _HELLO.pack(MAGIC, HELLO, *hello)
    return data + sign(data)


def read_hello(packet: bytes) -> Hello:
    """A hello, its signature not checked yet."""
    return Hello(*_body(_HELLO, packet, HELLO, SIGNATURE_BYTES))


def make_welcome(welcome: Welcome, sign: Sign) -> bytes:
    """A signed welcome."""
    data = _WELCOME.pack(MAGIC, WELCOME, *welcome)
    return data + sign(data)


def read_welcome(packet: bytes) -> Welcome:
    """A welcome, its signature not checked yet."""
    return Welcome(*_body(_WELCOME, packet, WELCOME, SIGNATURE_BYTES))


def check_signature(packet: bytes, public: bytes) -> None:
    """SignatureError unless a hello or welcome was signed with this key."""
    verify_signature(public, packet[-SIGNATURE_BYTES:], packet[:-SIGNATURE_BYTES])


def session_id(hello: bytes, welcome: bytes) -> bytes:
    """Names the session that these two datagrams opened."""
    return sha256(hello + welcome).digest()[:SESSION_BYTES]


def session_key(own: X25519PrivateKey, other: bytes, *, hello: bytes, welcome: bytes) -> bytes:
    """The key of the session; PacketError for a share that gives none."""
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError as error:
        raise PacketError("packet.share", "a share that gives no common key") from error
    salt = sha256(hello + welcome).digest()
    return HKDF(SHA256(), length=KEY_BYTES, salt=salt, info=_INFO).derive(shared)


def make_challenge(key: bytes, challenge: Challenge) -> bytes:
    """A tagged challenge."""
    return _tagged(key, _CHALLENGE.pack(MAGIC, CHALLENGE, *challenge))


def read_challenge(packet: bytes) -> Challenge:
    """A challenge, its tag not checked yet."""
    return Challenge(*_body(_CHALLENGE, packet, CHALLENGE, TAG_BYTES))


def tag_holds(key: bytes, packet: bytes) -> bool:
    """Whether a challenge or close carries the tag of this session's landmark."""
    found = hmac.digest(key, packet[:-TAG_BYTES], "sha256")[:TAG_BYTES]
    return hmac.compare_digest(found, packet[-TAG_BYTES:])


def answer_mac(key: bytes, challenge: Challenge) -> bytes:
    """What only a holder of the session's key can answer a challenge with."""
    return hmac.digest(key, _CHALLENGE.pack(MAGIC, ANSWER, *challenge), "sha256")


def make_answer(answer: Answer) -> bytes:
    """The datagram of an answer."""
    return _ANSWER.pack(MAGIC, ANSWER, *answer)


def read_answer(packet: bytes) -> Answer:
    """An answer, its MAC not checked yet."""
    return Answer(*_body(_ANSWER, packet, ANSWER, 0))


def make_close(key: bytes, close: Close) -> bytes:
    """A tagged close."""
    counted = close.counted.to_bytes(ROUNDS_MAX // 8, "big")
    return _tagged(key, _CLOSE.pack(MAGIC, CLOSE, close.session, counted, close.rounds))


def read_close(packet: bytes) -> Close:
    """A close, its tag not checked yet."""
    session, counted, rounds = _body(_CLOSE, packet, CLOSE, TAG_BYTES)
    return Close(session, int.from_bytes(counted, "big"), rounds)


def make_closed(closed: Closed) -> bytes:
    """The datagram that carries the site's signature."""
    return _CLOSED.pack(MAGIC, CLOSED, *closed)


def read_closed(packet: bytes) -> Closed:
    """A closed, its signature not checked yet."""
    return Closed(*_body(_CLOSED, packet, CLOSED, 0))


def rounds_digest(rounds: Iterable[Round]) -> bytes:
    """Digest over rounds in the order given, which is that of their numbers."""
    digest = sha256()
    for each in rounds:
        digest.update(_ROUND.pack(*each))
    return digest.digest()


def statement(hello: Hello, *, session: bytes, key: bytes, rounds: list[Round], time_ms: int) -> bytes:
    """What the site signs at the close: that it answered exactly these rounds, with the key of this digest."""
    return canonical.encode(
        {
            "v": 1,
            "kind": "sekisho.location.answered",
            "landmark": canonical.to_base64url(hello.landmark),
            "site": canonical.to_base64url(hello.site),
            "nonce": canonical.to_base64url(hello.nonce),
            "session": canonical.to_base64url(session),
            "key": canonical.digest(key),
            "count": len(rounds),
            "rounds": canonical.to_base64url(rounds_digest(rounds)),
            "time_ms": time_ms,
        }
    )


def _tagged(key: bytes, data: bytes) -> bytes:
    return data + hmac.digest(key, data, "sha256")[:TAG_BYTES]


def _body(layout: struct.Struct, packet: bytes, kind: int, tail: int) -> tuple[Any, ...]:
    if len(packet) != layout.size + tail or kind_of(packet) != kind:
        raise PacketError("packet.shape", "a datagram of another kind or length")
    return layout.unpack_from(packet)[2:]
