"""The world of `tests.compute.world` with data of level 2: places that were proven, a key in its owner's device."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.tx import Tx
from sekisho.ledger import ShowTrust
from sekisho.sites import CONTROL_SITE, Fact, find_site, tables
from sekisho_verify.canonical import digest, to_base64url
from sekisho_wire import messages
from sekisho_wire.custody_checks import Asked, check_ask
from sekisho_wire.keying import KeyGranted, KeyPending, WantKey
from sekisho_wire.messages import Envelope
from tests.compute.world import World, job_file
from tests.sites.yard import Yard
from tests.support import custody

MINUTE_MS = 60_000
READS = "data: [{from: patients, mount: /data}, {to: model, mount: /out}]\n"


def recipient() -> str:
    """A one-time key's public half, as an agent sends it."""
    return to_base64url(X25519PrivateKey.generate().public_key().public_bytes_raw())


def want(**fields: Any) -> WantKey:
    """The question for the data key of the world's one object."""
    values: dict[str, Any] = {"recipient": recipient(), "headers": [custody.ENVELOPE]}
    return WantKey(**(values | fields))


class SealedWorld(World):
    """Every place is proven at the start; `patients` is level 2 and may be in Japan only."""

    def begin(self) -> SealedWorld:
        """Prove the places and add the data."""
        self.yard = Yard(self, self.home.site, agent=f"agent-{self.home.site.name}")
        self.yard.prove()
        self.state_proof(CONTROL_SITE)
        self.key(**custody.HSM)
        self.dataset("patients", level=2)
        return self

    def state_proof(self, site: str) -> None:
        """State what landmarks' transcripts would have come to just now, for a place where no agent answers them."""
        fact = Fact(
            value={
                "bound_km": 40,
                "foreign_margin_km": 120,
                "landmarks": 3,
                "organisations": 2,
                "bound_to_tee": 0,
            },
            grade="M",
            issuer="two organisations",
            observed_ms=self.clock.now_ms(),
            expires_ms=self.clock.now_ms() + 15 * MINUTE_MS,
            source=digest(site.encode()),
        )
        self.database.write(functools.partial(_state, site=site, fact=fact))

    def later(self, minutes: int) -> None:
        """Let time pass."""
        self.clock.advance(minutes * MINUTE_MS)

    def staging(self) -> tuple[str, Envelope]:
        """A job that reads the data and was accepted at home."""
        job, order = self.offered(job_file(more=READS))
        self.home.say(order, messages.Accept())
        return job, order

    def ask(self, order: Envelope, question: WantKey | None = None) -> messages.Body:
        """Ask for the data key until there is an answer that no checkpoint is missing from."""
        question = question or want()
        answer = self.home.say(order, question)
        if isinstance(answer, KeyPending):
            self.seal_log()
            answer = self.home.say(order, question)
        return answer

    def granted(self, order: Envelope, question: WantKey | None = None) -> KeyGranted:
        """As `ask`, where there must be an order."""
        answer = self.ask(order, question)
        assert isinstance(answer, KeyGranted), answer
        return answer

    def believed(self, granted: KeyGranted, *, quorum: int = 0) -> Asked:
        """What a custodian that trusts this log reads out of it; CustodyError where it does not believe it."""
        body = msgspec.json.decode(self.perform(SYSTEM, ShowTrust()).text)
        trust = msgspec.json.encode(body | {"quorum": quorum}).decode()
        agents = {self.home.id: self.home.key.public_key().public_bytes_raw()}
        trusted = custody.trusted(self.office, trust, self.control.seals.public_key, agents=agents)
        return check_ask(custody.ask_of(granted, custody.HEADER), trusted, self.clock.now_ms())


def _state(tx: Tx, *, site: str, fact: Fact) -> None:
    found = find_site(tx, site).id
    with tx.claimed_by("rec_of_a_test"):
        tables.put_fact(tx, found, "location-proof", fact)
        tx.move_facts()
