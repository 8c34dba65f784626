"""A small made-up map, landmarks and sites with keys, and sessions held without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sekisho_verify import canonical
from sekisho_verify.errors import VerifyError
from sekisho_verify.location import Case, Claim, Policy
from sekisho_verify.location_packets import (
    Challenge,
    Hello,
    Round,
    Welcome,
    answer_mac,
    make_hello,
    make_welcome,
    session_id,
    session_key,
    statement,
)
from sekisho_verify.location_sphere import Place
from sekisho_verify.location_territory import Territory, parse_territory
from sekisho_verify.location_transcript import Landmark, Session, write_transcript

NOW_MS = 1_795_000_000_000
NONCE = bytes(range(32))
ROUNDS = 24


def outcome(read: Callable[[bytes], object], data: bytes) -> str:
    """The code that hostile bytes are refused with, empty where they are read; any other error is the test's."""
    try:
        read(data)
    except VerifyError as error:
        return error.code
    return ""


def degrees(latitude: float, longitude: float) -> Place:
    return Place(round(latitude * 1e6), round(longitude * 1e6))


def box(west: float, south: float, east: float, north: float) -> list[int]:
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [round(number * 1_000_000) for corner in corners for number in corner]


def area(code: str, *rings: list[int], status: str = "foreign", **more: str) -> dict[str, Any]:
    return {"code": code, "name": code.title(), "status": status, "rings": list(rings), **more}


def territory_body(**changes: Any) -> dict[str, Any]:
    """An island that is home from 130 E to 134 E, a foreign one 2 degrees west of it, and a disputed rock."""
    body = {
        "v": 1,
        "kind": "sekisho.territory",
        "name": "two islands",
        "version": "1",
        "sources": ["made up"],
        "home": ["home"],
        "tolerance_m": 0,
        "areas": [
            area("home", box(130, 30, 134, 34), status="home"),
            area("away", box(124, 30, 128, 34)),
            area("rock", box(131, 35, 131.1, 35.1), status="disputed", counts_as="home"),
        ],
    }
    return body | changes


def territory(**changes: Any) -> Territory:
    return parse_territory(canonical.encode(territory_body(**changes)))


def key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())


def public_of(name: str) -> bytes:
    return key_of(name).public_key().public_bytes_raw()


@dataclass
class Held:
    """A session as it goes when nobody cheats; change what you like before it is written.

    The responder is played with the same functions that the site uses.
    """

    landmark: str = "north"
    organisation: str = "university"
    place: Place = field(default_factory=lambda: degrees(32, 132))
    site: str = "site_1"
    site_key: str = "agent"
    rtt_ns: int = 400_000
    count: int = ROUNDS
    at_ms: int = NOW_MS - 60_000
    site_offset_ms: int = 0
    nonce: bytes = NONCE

    def known(self) -> Landmark:
        return Landmark(self.landmark, self.organisation, public_of(self.landmark), self.place)

    def session(self) -> Session:
        """The same session for the same fields: chance would only make failures hard to repeat."""
        seed = sha256(repr(self).encode()).digest()
        mine, theirs = (
            X25519PrivateKey.from_private_bytes(sha256(seed + side).digest()) for side in (b"a", b"b")
        )
        hello = Hello(
            public_of(self.landmark),
            public_of(self.site_key),
            self.nonce,
            mine.public_key().public_bytes_raw(),
            self.at_ms,
        )
        hello_packet = make_hello(hello, key_of(self.landmark).sign)
        welcome = Welcome(
            sha256(hello_packet).digest(),
            theirs.public_key().public_bytes_raw(),
            self.at_ms + self.site_offset_ms,
        )
        welcome_packet = make_welcome(welcome, key_of(self.site_key).sign)
        key = session_key(mine, welcome.ephemeral, hello=hello_packet, welcome=welcome_packet)
        session = session_id(hello_packet, welcome_packet)
        rounds = []
        for seq in range(self.count):
            challenge = sha256(seed + bytes([seq])).digest()
            rounds.append(Round(seq, challenge, answer_mac(key, Challenge(session, seq, challenge))))
        ended_ms = self.at_ms + 3000
        closed_ms = ended_ms + self.site_offset_ms
        said = statement(hello, session=session, key=key, rounds=rounds, time_ms=closed_ms)
        return Session(
            site_id=self.site,
            hello=hello_packet,
            welcome=welcome_packet,
            key=key,
            rounds=tuple(rounds),
            rtts_ns=tuple(self.rtt_ns + 1000 * seq for seq in range(self.count)),
            closed_ms=closed_ms,
            closed_signature=key_of(self.site_key).sign(said),
            started_ms=self.at_ms,
            ended_ms=ended_ms,
            sent=self.count,
        )

    def write(self, session: Session | None = None) -> bytes:
        return write_transcript(self.known(), session or self.session(), key_of(self.landmark).sign)


def case(landmarks: Sequence[Landmark], **changes: Any) -> Case:
    """A site that says it is in the middle of the home island."""
    fields: dict[str, Any] = {
        "claim": Claim("site_1", public_of("agent"), degrees(32, 132)),
        "landmarks": tuple(landmarks),
        "territory": territory(),
        "now_ms": NOW_MS,
        "policy": Policy(),
    }
    return Case(**fields | changes)
