"""A site's responder on loopback, landmarks around it, and the made-up map they are judged on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho_agent.config import LocationConfig, LocationLandmark
from sekisho_agent.location import LocationService
from sekisho_guarantor.clock import now_ms
from sekisho_guarantor.landmark_session import Plan, Target, measure
from sekisho_verify import canonical
from sekisho_verify.location import Case, Claim, LocationVerdict, Policy, judge
from sekisho_verify.location_transcript import Landmark, Session
from tests.verify.places import degrees, key_of, public_of, territory

NEAR_ABROAD = degrees(32, 130.15)
"""On the home island, 202 km from foreign land: as far as Fukuoka is."""
QUICK = Plan(rounds=24, rounds_min=20, gap_ms_max=2, patience_ms=200)
NONCE = bytes([7] * 32)
ORGANISATIONS = {"north": "university", "south": "exchange"}


@dataclass(frozen=True)
class Asked:
    """What is measured: a site by its id and the name of its agent's key, with a nonce, by landmarks by name."""

    site: str = "site_1"
    agent: str = "agent"
    nonce: str = NONCE.hex()
    organisations: dict[str, str] = field(default_factory=lambda: dict(ORGANISATIONS))


@dataclass(frozen=True)
class Measurer:
    """A landmark with its key and its way to the site."""

    known: Landmark
    target: Target
    nonce: bytes = NONCE

    def measure(self, plan: Plan = QUICK) -> tuple[bytes, Session]:
        never = threading.Event()
        return measure(
            self.known,
            key_of(self.known.name).sign,
            self.target,
            plan=plan,
            nonce=self.nonce,
            wait=never.wait,
        )

    def by_way_of(self, port: int) -> Measurer:
        return replace(self, target=replace(self.target, port=port))


@contextlib.contextmanager
def site(key: Ed25519PrivateKey | None = None) -> Iterator[int]:
    """The port of a responder whose agent has the key of "agent"."""
    config = LocationConfig(
        listen="127.0.0.1:0",
        landmarks=[
            LocationLandmark(name=name, key=canonical.to_base64url(public_of(name))) for name in ORGANISATIONS
        ],
    )
    service = LocationService(config, key or key_of("agent"))
    service.start()
    try:
        yield int(service.address[1])
    finally:
        service.stop()


def landmarks(port: int, *, host: str = "127.0.0.1", asked: Asked | None = None) -> list[Measurer]:
    asked = asked or Asked()
    target = Target(asked.site, public_of(asked.agent), host, port)
    return [
        Measurer(Landmark(name, whose, public_of(name), NEAR_ABROAD), target, bytes.fromhex(asked.nonce))
        for name, whose in asked.organisations.items()
    ]


def verdict(transcripts: list[bytes], measurers: list[Measurer]) -> LocationVerdict:
    question = Case(
        claim=Claim("site_1", public_of("agent"), NEAR_ABROAD),
        landmarks=[each.known for each in measurers],
        territory=territory(),
        now_ms=now_ms(),
        policy=Policy(nonce=NONCE),
    )
    return judge(transcripts, question)
