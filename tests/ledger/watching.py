"""A log that witnesses watch: real ones, in process, with a post between them that a test may replace."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sekisho.kernel.clock import ManualClock
from sekisho.kernel.config import Witness as Setting
from sekisho.ledger import (
    CheckpointView,
    ExportBundle,
    Offering,
    ReadBundle,
    ShowCheckpoint,
    ShowTrust,
    Witness,
    WitnessState,
    figures,
    witness_states,
)
from sekisho_verify import parse_trust
from sekisho_verify.checkpoint import (
    parse_key,
    parse_note,
    verify_note,
)
from sekisho_verify.trust import Trust
from tests.guarantor.world import House
from tests.ledger.world import ANN, World

NAMES = ("w.example/one", "w.example/two")
SECOND_MS = 1000


class Yard:
    """A log, two real witnesses, and a post between them that a test may replace."""

    def __init__(self, world: World, houses: dict[str, House], cosigners: tuple[Witness, ...]) -> None:
        self.world = world
        self.houses = houses
        self.witnesses = cosigners
        self.counter = figures()
        self.asked: list[str] = []
        self.offerings = [self.offering(witness) for witness in cosigners]

    def offering(
        self, witness: Witness, post: Callable[[str, bytes], tuple[int, bytes]] | None = None
    ) -> Offering:
        carry = post or self.carry

        def send(url: str, data: bytes, *, seconds: float, bytes_max: int) -> tuple[int, bytes]:
            assert seconds <= 10
            status, body = carry(url, data)
            assert len(body) <= bytes_max
            return status, body

        return Offering(
            witness,
            perform=self.world.gate.perform,
            post=send,
            publish=self.world.publish,
            clock=self.world.clock,
            interval_ms=SECOND_MS,
            answers=self.counter,
        )

    def carry(self, url: str, data: bytes) -> tuple[int, bytes]:
        """To the real witness, in process."""
        name = url.removeprefix("https://").removesuffix("/add-checkpoint")
        self.asked.append(name)
        answer = self.houses[name].ask(data)
        return answer.status, answer.body

    def grow(self, count: int = 1, name: str = "job") -> int:
        for number in range(count):
            self.world.put(name, number)
        self.world.sequence()
        self.tick()
        return self.head().size

    def tick(self) -> None:
        clock = self.world.clock
        assert isinstance(clock, ManualClock)
        clock.advance(SECOND_MS)

    def head(self) -> CheckpointView:
        return self.world.gate.perform(ANN, ShowCheckpoint())

    def cosigners(self) -> list[str]:
        """Who has cosigned the published checkpoint, verified as an auditor does."""
        note = parse_note((self.world.published / "checkpoint").read_bytes())
        keys = [witness.key for witness in self.witnesses]
        return [
            name
            for name, _ in verify_note(note, log_keys=[parse_key(self.world.keys.first)], witness_keys=keys)
        ]

    def states(self) -> list[WitnessState]:
        return self.world.database.read(lambda tx: witness_states(tx, self.witnesses))

    def findings(self) -> list[str]:
        return [state.finding.code if state.finding else "" for state in self.states()]

    def count(self, which: int, result: str) -> float:
        return self.counter.labels(self.witnesses[which].name, result)._value.get()


def settings_of(houses: dict[str, House]) -> list[Setting]:
    return [Setting(name=name, url=f"https://{name}/", vkey=house.key.vkey) for name, house in houses.items()]


def round_of(yard: Yard) -> None:
    """One round of every witness."""
    for offering in yard.offerings:
        offering.step()


def bundle(yard: Yard, *, seen: int = 0) -> bytes:
    """The bundle of `job`, as a reader gets it."""
    export = yard.world.gate.perform(ANN, ExportBundle(job="job"))
    yard.world.sequence()
    return yard.world.gate.perform(ANN, ReadBundle(export=export.record, seen_size=seen)).content


def trust(yard: Yard, quorum: int = 0) -> Trust:
    """The trust file as the log hands it out, with the auditor's quorum."""
    body = msgspec.json.decode(yard.world.gate.perform(ANN, ShowTrust()).text)
    assert body["quorum"] == 0
    return parse_trust(msgspec.json.encode(body | {"quorum": quorum}))
