"""The transcript of one landmark's session with one site, and everything about it that can be checked by itself.

Sealed by the landmark (base64 of its Ed25519 signature, a newline, canonical JSON). `v` is 1, `kind` is
`sekisho.location.transcript`; `landmark` says name, organisation, key and place; `site` says id and key; `hello` and
`welcome` are the datagrams that opened the session, each signed by its sender; `session_key` is disclosed, because the
session is over; `rounds` are those that count, as [seq, challenge, answer, rtt_ns]; `closed` is the site's signature,
with its time, of the statement that it answered exactly these. `started_ms` and `ended_ms` are the landmark's time of
day; `sent`, `late`, `duplicated` and `forged` count datagrams.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from sekisho_verify import canonical
from sekisho_verify.checkpoint import Sign, verify_signature
from sekisho_verify.errors import VerifyError
from sekisho_verify.location_packets import (
    CHALLENGE_BYTES,
    KEY_BYTES,
    ROUNDS_MAX,
    SIGNATURE_BYTES,
    Challenge,
    Round,
    answer_mac,
    check_signature,
    read_hello,
    read_welcome,
    session_id,
    statement,
)
from sekisho_verify.location_sphere import LATITUDE_UDEG_MAX, LONGITUDE_UDEG_MAX, Place
from sekisho_verify.sealed import open_sealed, seal

KIND = "sekisho.location.transcript"
TRANSCRIPT_BYTES_MAX = 64 << 10
RTT_NS_MAX = 10_000_000_000
COUNT_MAX = 1 << 20

_TEXT_MAX = 255
_MAC_BYTES = 32
_ROUND_ITEMS = 4
_FIELDS = frozenset(
    {"v", "kind", "landmark", "site", "hello", "welcome", "session_key", "rounds", "closed"}
    | {"started_ms", "ended_ms", "sent", "late", "duplicated", "forged"}
)
_LANDMARK = frozenset({"name", "organisation", "key", "latitude_udeg", "longitude_udeg"})


class TranscriptError(VerifyError):
    """A transcript that cannot be believed, whatever its distances say; its code starts with `transcript.`."""


@dataclass(frozen=True, slots=True)
class Landmark:
    """A landmark as it is known: 32 raw bytes of its Ed25519 key, who runs it, where it stands."""

    name: str
    organisation: str
    key: bytes
    place: Place


@dataclass(frozen=True, slots=True)
class Session:
    """Everything a landmark has when a session is over; `rtts_ns` are in the order of `rounds`."""

    site_id: str
    hello: bytes
    welcome: bytes
    key: bytes
    rounds: tuple[Round, ...]
    rtts_ns: tuple[int, ...]
    closed_ms: int
    closed_signature: bytes
    started_ms: int
    ended_ms: int
    sent: int
    late: int = 0
    duplicated: int = 0
    forged: int = 0

    @property
    def id(self) -> bytes:
        """Names the session: the same in both parties' eyes, and never twice."""
        return session_id(self.hello, self.welcome)

    @property
    def rtt_ns_min(self) -> int:
        """The shortest round: the others were only delayed more."""
        return min(self.rtts_ns)


@dataclass(frozen=True, slots=True)
class Transcript:
    """A transcript whose signatures, answers and order have all been checked; nothing about place or age has."""

    landmark: Landmark
    session: Session
    site_key: bytes
    nonce: bytes
    welcomed_ms: int


def write_transcript(landmark: Landmark, session: Session, sign: Sign) -> bytes:
    """Sealed bytes of a session; `sign` holds the landmark's key."""
    hello = read_hello(session.hello)
    rounds: list[object] = [
        [each.seq, canonical.to_base64url(each.challenge), canonical.to_base64url(each.mac), rtt_ns]
        for each, rtt_ns in zip(session.rounds, session.rtts_ns, strict=True)
    ]
    body: dict[str, object] = {
        "v": 1,
        "kind": KIND,
        "landmark": describe_landmark(landmark),
        "site": {"id": session.site_id, "key": canonical.to_base64url(hello.site)},
        "hello": canonical.to_base64url(session.hello),
        "welcome": canonical.to_base64url(session.welcome),
        "session_key": canonical.to_base64url(session.key),
        "rounds": rounds,
        "closed": {
            "time_ms": session.closed_ms,
            "signature": canonical.to_base64url(session.closed_signature),
        },
        "started_ms": session.started_ms,
        "ended_ms": session.ended_ms,
        "sent": session.sent,
        "late": session.late,
        "duplicated": session.duplicated,
        "forged": session.forged,
    }
    return seal(body, sign)


def read_transcript(data: bytes, known: Callable[[bytes], bool]) -> Transcript:
    """A checked transcript of a landmark whose key is known; VerifyError for anything else.

    The signature is verified under the key that the transcript names, once `known` has said yes to that key.
    """
    if len(data) > TRANSCRIPT_BYTES_MAX:
        raise TranscriptError("transcript.size", f"more than {TRANSCRIPT_BYTES_MAX} bytes")
    claimed = read_landmark(canonical.decode_object(data.partition(b"\n")[2]).get("landmark"))
    if not known(claimed.key):
        raise TranscriptError("transcript.unknown_landmark", "a landmark whose key is not known")
    body = open_sealed(data, claimed.key)
    if body.keys() != _FIELDS or body["kind"] != KIND or type(body["v"]) is not int or body["v"] != 1:
        raise TranscriptError("transcript.fields", "a field missing or unknown, or another version")
    session = _read_session(body)
    hello, welcome = read_hello(session.hello), read_welcome(session.welcome)
    site_key = _bytes(_object(body["site"])["key"], KEY_BYTES)
    if hello.landmark != claimed.key or hello.site != site_key:
        raise TranscriptError("transcript.foreign_session", "the session was opened between other parties")
    if welcome.hello != sha256(session.hello).digest():
        raise TranscriptError("transcript.foreign_session", "the site answered another hello")
    check_signature(session.hello, claimed.key)
    check_signature(session.welcome, site_key)
    _check_rounds(session)
    said = statement(
        hello, session=session.id, key=session.key, rounds=list(session.rounds), time_ms=session.closed_ms
    )
    verify_signature(site_key, session.closed_signature, said)
    return Transcript(claimed, session, site_key, hello.nonce, welcome.time_ms)


def describe_landmark(landmark: Landmark) -> dict[str, str | int]:
    """A landmark as it stands in transcripts, proofs and lists; its key in base64url."""
    return {
        "name": landmark.name,
        "organisation": landmark.organisation,
        "key": canonical.to_base64url(landmark.key),
        "latitude_udeg": landmark.place.latitude_udeg,
        "longitude_udeg": landmark.place.longitude_udeg,
    }


def read_landmark(value: object) -> Landmark:
    """Inverse of `describe_landmark`; TranscriptError for anything else."""
    body = _object(value)
    if body.keys() != _LANDMARK:
        raise TranscriptError("transcript.landmark", "name, organisation, key and place are needed")
    place = Place(_signed(body["latitude_udeg"], LATITUDE_UDEG_MAX), _signed(body["longitude_udeg"]))
    return Landmark(_text(body["name"]), _text(body["organisation"]), _bytes(body["key"], KEY_BYTES), place)


def encode_landmark(landmark: Landmark) -> bytes:
    """A landmark's public description, canonical: what others put into the list of landmarks they know."""
    return canonical.encode({"v": 1, "kind": "sekisho.landmark", **describe_landmark(landmark)})


def parse_landmark(data: bytes) -> Landmark:
    """Inverse of `encode_landmark`; VerifyError for anything else. Spaces and order are free."""
    body = _object(canonical.decode_relaxed(data[: _TEXT_MAX * 64]))
    if body.pop("v", 0) != 1 or body.pop("kind", "") != "sekisho.landmark":
        raise TranscriptError("transcript.landmark", "not a landmark's description")
    return read_landmark(body)


def _check_rounds(session: Session) -> None:
    """Numbers ascend, challenges differ, every answer is the one that the session's key gives, none took no time."""
    numbers = [each.seq for each in session.rounds]
    if not numbers or len(numbers) > min(session.sent, ROUNDS_MAX):
        raise TranscriptError("transcript.rounds", "no round, or more than were sent")
    if numbers != sorted(set(numbers)) or numbers[-1] >= min(session.sent, ROUNDS_MAX):
        raise TranscriptError("transcript.order", "rounds out of order, twice, or never sent")
    if len({each.challenge for each in session.rounds}) != len(numbers):
        raise TranscriptError("transcript.challenge_twice", "the same challenge in two rounds")
    # Made from the whole hello and welcome: once, not for each round.
    named = session.id
    for each in session.rounds:
        if not hmac.compare_digest(answer_mac(session.key, Challenge(named, *each[:2])), each.mac):
            raise TranscriptError("transcript.answer", "an answer that the session's key does not give")
    if session.rtt_ns_min < 1:
        raise TranscriptError("transcript.no_time", "a round that took no time")
    if sum(session.rtts_ns) > (session.ended_ms - session.started_ms + 1) * 1_000_000:
        raise TranscriptError("transcript.elapsed", "rounds that together took longer than the session")


def _read_session(body: Mapping[str, object]) -> Session:
    closed = _object(body["closed"])
    site = _object(body["site"])
    if closed.keys() != {"time_ms", "signature"} or site.keys() != {"id", "key"}:
        raise TranscriptError("transcript.fields", "a field missing or unknown")
    rounds, rtts_ns = _read_rounds(body["rounds"])
    return Session(
        site_id=_text(site["id"]),
        hello=_bytes(body["hello"]),
        welcome=_bytes(body["welcome"]),
        key=_bytes(body["session_key"], KEY_BYTES),
        rounds=rounds,
        rtts_ns=rtts_ns,
        closed_ms=_whole(closed["time_ms"]),
        closed_signature=_bytes(closed["signature"], SIGNATURE_BYTES),
        started_ms=_whole(body["started_ms"]),
        ended_ms=_whole(body["ended_ms"]),
        sent=_whole(body["sent"], COUNT_MAX),
        late=_whole(body["late"], COUNT_MAX),
        duplicated=_whole(body["duplicated"], COUNT_MAX),
        forged=_whole(body["forged"], COUNT_MAX),
    )


def _read_rounds(value: object) -> tuple[tuple[Round, ...], tuple[int, ...]]:
    if not isinstance(value, list) or len(value) > ROUNDS_MAX:
        raise TranscriptError("transcript.rounds", f"a list of at most {ROUNDS_MAX} rounds is needed")
    rounds: list[Round] = []
    rtts_ns: list[int] = []
    for item in value:
        if not isinstance(item, list) or len(item) != _ROUND_ITEMS:
            raise TranscriptError("transcript.round", "a round is [seq, challenge, answer, rtt_ns]")
        seq = _whole(item[0], ROUNDS_MAX - 1)
        rounds.append(Round(seq, _bytes(item[1], CHALLENGE_BYTES), _bytes(item[2], _MAC_BYTES)))
        rtts_ns.append(_whole(item[3], RTT_NS_MAX))
    return tuple(rounds), tuple(rtts_ns)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TranscriptError("transcript.fields", "an object is needed")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > _TEXT_MAX or not value.isprintable():
        raise TranscriptError("transcript.text", "text of 1 to 255 printable characters is needed")
    return value


def _bytes(value: object, length: int = 0) -> bytes:
    data = canonical.from_base64url(value if isinstance(value, str) else "")
    if not data or (length and len(data) != length):
        raise TranscriptError("transcript.bytes", "bytes of another length are needed")
    return data


def _whole(value: object, limit: int = canonical.INTEGER_LIMIT) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise TranscriptError("transcript.number", f"a whole number from 0 to {limit} is needed")
    return value


def _signed(value: object, limit: int = LONGITUDE_UDEG_MAX) -> int:
    if type(value) is not int or not -limit <= value <= limit:
        raise TranscriptError("transcript.place", "a point that is nowhere on the Earth")
    return value
