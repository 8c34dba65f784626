"""The log's side of witnesses, against the real witness in process and against liars."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.clock import ManualClock
from sekisho.kernel.config import Witness as Setting
from sekisho.kernel.db import open_database
from sekisho.kernel.errors import SekishoError, UnavailableError
from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.migrate import migrate
from sekisho.ledger import (
    CheckpointView,
    ExportBundle,
    KeepCosignature,
    OfferCheckpoint,
    Offering,
    ReadBundle,
    RotateKey,
    ShowCheckpoint,
    ShowTrust,
    Witness,
    WitnessState,
    figures,
    read_witnesses,
    tables,
    tables_witness,
    witness_states,
    witnesses,
)
from sekisho.ledger.rules import stale_heads
from sekisho_guarantor.witness import Answer
from sekisho_verify import Exit, parse_trust, verify_bundle
from sekisho_verify.checkpoint import (
    COSIGNATURE_V1,
    SignedNote,
    cosign_note,
    format_note,
    parse_checkpoint,
    parse_key,
    parse_note,
    verify_note,
)
from sekisho_verify.trust import Demand, Seen, Trust
from sekisho_wire.witnessing import encode_size
from tests.guarantor.world import House
from tests.ledger.world import ANN, ORIGIN, World, codes, opened
from tests.verify.builders import Signer

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


def _settings(houses: dict[str, House]) -> list[Setting]:
    return [Setting(name=name, url=f"https://{name}/", vkey=house.key.vkey) for name, house in houses.items()]


@pytest.fixture
def yard(db_url: str, tmp_path: Path) -> Iterator[Yard]:
    with opened(db_url, tmp_path) as first:
        key = parse_key(first.keys.first)
    houses = {
        name: House(tmp_path / name.replace("/", "-"), name=name, logs={ORIGIN: (key,)}) for name in NAMES
    }
    cosigners = read_witnesses(_settings(houses))
    with opened(db_url, tmp_path, witnesses=cosigners) as world:
        yield Yard(world, houses, cosigners)
    for house in houses.values():
        house.state.close()


def _round(yard: Yard) -> None:
    for offering in yard.offerings:
        offering.step()


def test_both_witnesses_cosign_one_checkpoint_and_it_is_published(yard: Yard) -> None:
    for count in (3, 1, 40):
        yard.grow(count)
        _round(yard)
        assert yard.cosigners() == list(NAMES)
        assert not yard.world.check().findings
    assert yard.findings() == ["", ""]
    assert yard.count(0, "cosigned") == 3


def test_the_checkpoint_that_is_asked_for_carries_them_too(yard: Yard) -> None:
    yard.grow(2)
    before = yard.head().note
    _round(yard)
    after = yard.head().note
    assert after.startswith(before)
    assert after.count("\u2014 ") == 3


def test_a_checkpoint_that_is_cosigned_is_not_offered_again(yard: Yard) -> None:
    yard.grow(2)
    _round(yard)
    asked = len(yard.asked)
    for _ in range(3):
        yard.tick()
        _round(yard)
    assert len(yard.asked) == asked == 2


def test_what_was_signed_within_this_second_waits_for_the_next(yard: Yard) -> None:
    size = yard.grow(1)
    yard.world.put("late")
    yard.world.sequence()
    _round(yard)
    assert [state.size for state in yard.states()] == [size, size]
    yard.tick()
    _round(yard)
    assert [state.size for state in yard.states()] == [yard.head().size] * 2


def test_before_the_first_checkpoint_nobody_is_asked(yard: Yard) -> None:
    yard.tick()
    _round(yard)
    assert yard.asked == []


def test_a_bundle_stands_under_the_checkpoint_that_most_have_cosigned(yard: Yard) -> None:
    world = yard.world
    world.put("job")
    world.sequence()
    world.close("job")
    size = yard.grow(1, "other")
    _round(yard)
    yard.grow(5, "other")
    yard.offerings[0].step()
    assert yard.cosigners() == [NAMES[0]]
    verdict = verify_bundle(_bundle(yard), _trust(yard, quorum=2))
    assert verdict.holds, verdict
    assert verdict.bundle is not None
    assert verdict.bundle.checkpoint.size == size
    told = [line.fields for line in verdict.lines if line.code == "witness.cosigned"]
    assert [fields["name"] for fields in told] == list(NAMES)
    assert {fields["time"] for fields in told} == {"2026-11-18T11:06:40Z"}


def test_completeness_comes_before_cosignatures(yard: Yard) -> None:
    yard.grow(1)
    _round(yard)
    yard.grow(1)
    verdict = verify_bundle(_bundle(yard), _trust(yard))
    assert verdict.holds
    assert verdict.bundle is not None
    assert verdict.bundle.manifest.records == 2
    assert not [line for line in verdict.lines if line.code == "witness.cosigned"]


def test_a_head_seen_before_is_never_newer_than_the_bundles(yard: Yard) -> None:
    yard.grow(1)
    _round(yard)
    seen = yard.grow(5, "other")
    plain = _trust(yard)
    head = parse_note(yard.head().note.encode())
    trust = Trust(
        plain.origin,
        plain.keys,
        plain.witnesses,
        seen=Seen(seen, parse_checkpoint(head.text).root),
        demand=Demand(consistency=True),
    )
    assert verify_bundle(_bundle(yard, seen=seen), trust).holds


def _bundle(yard: Yard, *, seen: int = 0) -> bytes:
    export = yard.world.gate.perform(ANN, ExportBundle(job="job"))
    yard.world.sequence()
    return yard.world.gate.perform(ANN, ReadBundle(export=export.record, seen_size=seen)).content


def _trust(yard: Yard, quorum: int = 0) -> Trust:
    """The trust file as the log hands it out, with the auditor's quorum."""
    body = msgspec.json.decode(yard.world.gate.perform(ANN, ShowTrust()).text)
    assert body["quorum"] == 0
    return parse_trust(msgspec.json.encode(body | {"quorum": quorum}))


def test_the_trust_file_names_the_witnesses_in_force(yard: Yard) -> None:
    assert [key.name for key in _trust(yard).witnesses] == list(NAMES)


def test_a_witness_that_left_the_settings_is_handed_out_no_more(
    yard: Yard, db_url: str, tmp_path: Path
) -> None:
    yard.grow(2)
    _round(yard)
    yard.world.database.close()
    with opened(db_url, tmp_path, witnesses=yard.witnesses[:1]) as world:
        assert world.gate.perform(ANN, ShowCheckpoint()).note.count("\u2014 ") == 2
        publisher = world.publisher()
        assert publisher.advance(world.read_tiles)
        assert not world.check().findings
    with opened(db_url, tmp_path) as world:
        world.publish()
        assert (world.published / "checkpoint").read_text().count("\u2014 ") == 1


def test_a_witness_that_was_away_catches_up(yard: Yard) -> None:
    def gone(_url: str, _data: bytes) -> tuple[int, bytes]:
        raise UnavailableError(part="w.example", seconds=1)

    away = yard.offering(yard.witnesses[1], gone)
    pauses: list[float] = []
    for _ in range(4):
        yard.grow(3)
        yard.offerings[0].step()
        pauses.append(away.step())
    assert pauses == [2.0, 4.0, 8.0, 16.0]
    assert yard.cosigners() == [NAMES[0]]
    assert yard.findings() == ["", "ledger.witness_away"]
    yard.offerings[1].step()
    assert yard.cosigners() == list(NAMES)
    assert yard.findings() == ["", ""]
    assert not yard.world.check().findings


def test_a_lost_answer_is_asked_for_again(yard: Yard) -> None:
    def lost(url: str, data: bytes) -> tuple[int, bytes]:
        yard.carry(url, data)
        raise UnavailableError(part="w.example", seconds=1)

    yard.grow(3)
    yard.offering(yard.witnesses[0], lost).step()
    assert yard.head().note.count("\u2014 ") == 1
    yard.offerings[0].step()
    assert yard.cosigners() == [NAMES[0]]


def test_a_restarted_control_plane_goes_on(yard: Yard) -> None:
    """It learns from its database, or from a 409, where a witness stands."""
    yard.grow(3)
    _round(yard)
    yard.world.damage("delete from ledger_witnesses")
    yard.grow(3)
    _round(yard)
    assert yard.cosigners() == list(NAMES)
    assert yard.findings() == ["", ""]


@pytest.mark.parametrize(
    ("size", "code"),
    [(3, "ledger.witness_ahead"), (5, "ledger.witness_differs"), (30, "ledger.witness_differs")],
)
def test_a_second_history_is_refused_by_the_witness_and_told(
    yard: Yard, tmp_path: Path, size: int, code: str
) -> None:
    """One log's keys, two databases: what one showed a witness, the other cannot take back at any size."""
    yard.grow(5)
    _round(yard)
    url = f"sqlite:{tmp_path / 'other.db'}"
    shutil.copytree(tmp_path / "keys", tmp_path / "two" / "keys")
    migrated = open_database(url)
    migrate(migrated, ("kernel", "ledger"), 0)
    migrated.close()
    with opened(url, tmp_path / "two", witnesses=yard.witnesses) as fork:
        other = Yard(fork, yard.houses, yard.witnesses)
        assert other.grow(size, "else") == size
        _round(other)
        assert other.findings() == [code, code]
        assert other.head().note.count("\u2014 ") == 1
    kept = [len(list(house.folder.glob("two-histories-*"))) for house in yard.houses.values()]
    assert kept == ([1, 1] if size == 5 else [0, 0])
    yard.grow(1)
    _round(yard)
    assert yard.findings() == ["", ""]


def test_two_witnesses_that_were_shown_two_histories_contradict_each_other(
    yard: Yard, tmp_path: Path
) -> None:
    """The operator shows each witness another log. Neither fork ever gets the quorum, and an auditor who has seen
    one refuses the other."""
    url = f"sqlite:{tmp_path / 'other.db'}"
    shutil.copytree(tmp_path / "keys", tmp_path / "two" / "keys")
    migrated = open_database(url)
    migrate(migrated, ("kernel", "ledger"), 0)
    migrated.close()
    yard.grow(5)
    yard.offerings[0].step()
    with opened(url, tmp_path / "two", witnesses=yard.witnesses) as fork:
        other = Yard(fork, yard.houses, yard.witnesses)
        other.grow(5)
        other.offerings[1].step()
        other.grow(1)
        _round(other)
        assert other.findings() == ["ledger.witness_differs", ""]
        theirs = verify_bundle(_bundle(other), _trust(other, quorum=2))
        seen = parse_checkpoint(parse_note(other.head().note.encode()).text)
    yard.grow(1)
    _round(yard)
    assert yard.findings() == ["", "ledger.witness_differs"]
    ours = _bundle(yard)
    for verdict in (theirs, verify_bundle(ours, _trust(yard, quorum=2))):
        assert verdict.exit_code is Exit.DEMAND
    plain = _trust(yard)
    auditor = Trust(plain.origin, plain.keys, plain.witnesses, seen=Seen(seen.size, seen.root))
    both = verify_bundle(_bundle(yard, seen=seen.size), auditor)
    assert both.exit_code is Exit.CONSISTENCY


LIES: dict[str, tuple[Callable[[House, bytes], tuple[int, bytes]], str]] = {
    "longer": (lambda _house, _data: (409, encode_size(10**9)), "ledger.witness_ahead"),
    "same size": (lambda _house, _data: (409, encode_size(0)), "ledger.witness_differs"),
    "no proof": (lambda _house, _data: (422, b""), "ledger.witness_differs"),
    "no size": (lambda _house, _data: (409, b"many\n"), "ledger.witness_wrong"),
    "nothing": (lambda _house, _data: (200, b""), "ledger.witness_wrong"),
    "noise": (lambda _house, _data: (200, b"\xff\x00 hello"), "ledger.witness_wrong"),
    "spoilt": (lambda house, data: (200, _spoilt(house.ask(data))), "ledger.witness_wrong"),
    "stranger": (lambda _house, data: (200, _by_another(data)), "ledger.witness_wrong"),
    "unknown": (lambda _house, _data: (404, b""), "ledger.witness_refuses"),
    "redirect": (lambda _house, _data: (302, b""), "ledger.witness_refuses"),
    "broken": (lambda _house, _data: (500, b""), "ledger.witness_refuses"),
}


def _spoilt(answer: Answer) -> bytes:
    return answer.body[:-8] + b"AAAAAA=\n"


def _by_another(data: bytes) -> bytes:
    thief = Signer.make(NAMES[0], kind=COSIGNATURE_V1, seed="thief")
    text = parse_note(data.partition(b"\n\n")[2]).text
    line = cosign_note(text, thief.key, thief.sign, time_s=1)
    return format_note(SignedNote(text, (line,))).removeprefix(text.encode() + b"\n")


@pytest.mark.parametrize("lie", LIES)
def test_a_witness_that_lies_is_found_out_and_holds_up_nothing(yard: Yard, lie: str) -> None:
    tell, code = LIES[lie]
    yard.grow(3)
    liar = yard.offering(yard.witnesses[0], lambda _url, data: tell(yard.houses[NAMES[0]], data))
    assert liar.step() > 0
    yard.offerings[1].step()
    assert yard.findings() == [code, ""]
    assert yard.cosigners() == [NAMES[1]]
    assert yard.count(0, code) == 1
    assert not yard.world.check().findings


def test_one_that_answers_twice_is_kept_once(yard: Yard) -> None:
    def twice(url: str, data: bytes) -> tuple[int, bytes]:
        (status, first), (_, second) = yard.carry(url, data), yard.carry(url, data)
        assert status == 200 or second
        return status, first + _by_another(data) + first

    yard.grow(3)
    yard.offering(yard.witnesses[0], twice).step()
    assert yard.cosigners() == [NAMES[0]]


def test_a_witness_that_forgot_is_told_though_it_cosigns_again(yard: Yard) -> None:
    yard.grow(5)
    _round(yard)
    house = yard.houses[NAMES[0]]
    (house.folder / "heads.json").write_bytes(b'{"v":1,"heads":[]}')
    house.reopen()
    yard.grow(5)
    _round(yard)
    assert yard.count(0, "ledger.witness_forgot") == 1
    assert yard.cosigners() == list(NAMES)


def test_a_loud_finding_is_not_covered_by_a_quiet_one(yard: Yard) -> None:
    yard.grow(3)
    yard.offering(yard.witnesses[0], lambda _url, _data: (422, b"")).step()
    yard.offering(yard.witnesses[0], lambda _url, _data: (500, b"")).step()
    assert yard.findings() == ["ledger.witness_differs", ""]


def test_a_clock_far_ahead_is_no_cosignature(yard: Yard) -> None:
    yard.houses[NAMES[0]].now_s += 3600
    yard.grow(3)
    _round(yard)
    assert yard.findings() == ["ledger.witness_wrong", ""]
    assert yard.cosigners() == [NAMES[1]]


def test_a_new_key_of_the_log_needs_the_witnesses_to_know_it(yard: Yard) -> None:
    yard.grow(3)
    _round(yard)
    fresh = yard.world.keys.add()
    yard.world.together(RotateKey(vkey=fresh, reason="test"))
    yard.grow(1)
    _round(yard)
    assert yard.findings() == ["ledger.witness_refuses"] * 2
    for house in yard.houses.values():
        house.logs[ORIGIN] = (*house.logs[ORIGIN], parse_key(fresh))
        house.reopen()
    _round(yard)
    assert yard.findings() == ["", ""]


def test_a_cosignature_of_nobody_we_know_is_refused(yard: Yard) -> None:
    size = yard.grow(3)
    stranger = Signer.make("stranger.example", kind=COSIGNATURE_V1)
    with pytest.raises(SekishoError) as refused:
        yard.world.gate.perform(SYSTEM, KeepCosignature(vkey=stranger.key.vkey, size=size, answer=b""))
    assert refused.value.code == "ledger.witness_unknown"
    with pytest.raises(SekishoError) as refused:
        yard.world.gate.perform(
            SYSTEM, KeepCosignature(vkey=yard.witnesses[0].key.vkey, size=size + 1, answer=b"")
        )
    assert refused.value.code == "ledger.not_covered"


def test_an_offer_beyond_the_end_is_none(yard: Yard) -> None:
    yard.grow(3)
    asked = OfferCheckpoint(vkey=yard.witnesses[0].key.vkey, before_ms=yard.world.clock.now_ms(), seen=10**6)
    assert yard.world.gate.perform(SYSTEM, asked).size == -1


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        ("update ledger_cosignatures set size = size + 1000", "cosignature.no_head"),
        ("update ledger_cosignatures set line = 'x'", "cosignature.signature"),
        ("update ledger_cosignatures set time_s = time_s + 1", "cosignature.signature"),
        ("update ledger_cosignatures set vkey = 'x'", "cosignature.signature"),
    ],
)
def test_damage_to_cosignatures_is_found(yard: Yard, harm: str, code: str) -> None:
    yard.grow(3)
    yard.offerings[0].step()
    assert not yard.world.check().findings
    yard.world.damage(harm)
    assert codes(yard.world.check()) == {code}


def test_heads_with_the_most_cosignatures_outlive_the_others(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CHECKPOINTS_KEPT", 3)
    monkeypatch.setattr(witnesses, "COSIGNED_KEPT", 2)
    both = yard.grow(2)
    _round(yard)
    for _ in range(6):
        yard.grow(1)
        yard.offerings[0].step()
    rows = yard.world.database.read(lambda tx: tables_witness.cosignatures_from(tx, 0))
    sizes = sorted({row["size"] for row in rows})
    assert sizes[0] == both
    assert len(sizes) == 3
    assert not yard.world.check().findings


@given(st.dictionaries(st.integers(1, 50), st.integers(1, 4)), st.integers(1, 5))
def test_dropping_cosignatures_never_lowers_what_can_be_shown(counts: dict[int, int], kept: int) -> None:
    """For every size a stream may need, the best count that is left is the best there was."""
    left = {size: count for size, count in counts.items() if size not in stale_heads(counts, kept=kept)}
    for needed in range(52):
        best = max((count for size, count in counts.items() if size >= needed), default=0)
        assert max((count for size, count in left.items() if size >= needed), default=0) == best
    assert len(left) <= kept + 4


def test_wrong_settings_are_refused() -> None:
    one, two = (
        Setting(name=name, url="https://w.example", vkey=Signer.make(name, kind=COSIGNATURE_V1).key.vkey)
        for name in NAMES
    )
    replace = msgspec.structs.replace
    assert len(read_witnesses([one, two])) == 2
    for wrong in (
        [one, one],
        [one, replace(two, name=one.name)],
        [one, replace(two, vkey=one.vkey)],
        [replace(one, vkey="x")],
        [replace(one, vkey=Signer.make("log.example").key.vkey)],
    ):
        with pytest.raises(SekishoError) as refused:
            read_witnesses(wrong)
        assert refused.value.code == "config.invalid"


def test_the_state_of_a_witness_that_was_never_asked(yard: Yard) -> None:
    assert [(state.size, state.seen) for state in yard.states()] == [(0, "-"), (0, "-")]
    yard.grow(3)
    _round(yard)
    assert yard.states()[0].seen.startswith("cosigned ")
