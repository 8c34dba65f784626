"""Rounds with witnesses that are away, wrong, or were shown another history."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.kernel.db import open_database
from sekisho.kernel.errors import UnavailableError
from sekisho.kernel.migrate import migrate
from sekisho.ledger import (
    RotateKey,
)
from sekisho_guarantor.answers import Answer
from sekisho_verify import Exit, verify_bundle
from sekisho_verify.checkpoint import (
    COSIGNATURE_V1,
    SignedNote,
    cosign_note,
    format_note,
    parse_checkpoint,
    parse_key,
    parse_note,
)
from sekisho_verify.trust import Seen, Trust
from sekisho_wire.witnessing import encode_size
from tests.guarantor.world import House
from tests.ledger.watching import NAMES, Yard, bundle, round_of, trust
from tests.ledger.world import ORIGIN, opened
from tests.verify.builders import Signer


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
    round_of(yard)
    yard.world.damage("delete from ledger_witnesses")
    yard.grow(3)
    round_of(yard)
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
    round_of(yard)
    url = f"sqlite:{tmp_path / 'other.db'}"
    shutil.copytree(tmp_path / "keys", tmp_path / "two" / "keys")
    migrated = open_database(url)
    migrate(migrated, ("kernel", "ledger"), 0)
    migrated.close()
    with opened(url, tmp_path / "two", witnesses=yard.witnesses) as fork:
        other = Yard(fork, yard.houses, yard.witnesses)
        assert other.grow(size, "else") == size
        round_of(other)
        assert other.findings() == [code, code]
        assert other.head().note.count("\u2014 ") == 1
    kept = [len(list(house.folder.glob("two-histories-*"))) for house in yard.houses.values()]
    assert kept == ([1, 1] if size == 5 else [0, 0])
    yard.grow(1)
    round_of(yard)
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
        round_of(other)
        assert other.findings() == ["ledger.witness_differs", ""]
        theirs = verify_bundle(bundle(other), trust(other, quorum=2))
        seen = parse_checkpoint(parse_note(other.head().note.encode()).text)
    yard.grow(1)
    round_of(yard)
    assert yard.findings() == ["", "ledger.witness_differs"]
    ours = bundle(yard)
    for verdict in (theirs, verify_bundle(ours, trust(yard, quorum=2))):
        assert verdict.exit_code is Exit.DEMAND
    plain = trust(yard)
    auditor = Trust(plain.origin, plain.keys, plain.witnesses, seen=Seen(seen.size, seen.root))
    both = verify_bundle(bundle(yard, seen=seen.size), auditor)
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
    round_of(yard)
    house = yard.houses[NAMES[0]]
    (house.folder / "heads.json").write_bytes(b'{"v":1,"heads":[]}')
    house.reopen()
    yard.grow(5)
    round_of(yard)
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
    round_of(yard)
    assert yard.findings() == ["ledger.witness_wrong", ""]
    assert yard.cosigners() == [NAMES[1]]


def test_a_new_key_of_the_log_needs_the_witnesses_to_know_it(yard: Yard) -> None:
    yard.grow(3)
    round_of(yard)
    fresh = yard.world.keys.add()
    yard.world.together(RotateKey(vkey=fresh, reason="test"))
    yard.grow(1)
    round_of(yard)
    assert yard.findings() == ["ledger.witness_refuses"] * 2
    for house in yard.houses.values():
        house.logs[ORIGIN] = (*house.logs[ORIGIN], parse_key(fresh))
        house.reopen()
    round_of(yard)
    assert yard.findings() == ["", ""]
