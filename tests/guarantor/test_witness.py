"""What a witness cosigns and what it refuses (C2SP tlog-witness), in process."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_guarantor import state as state_module
from sekisho_guarantor.answers import Answer
from sekisho_verify.checkpoint import Cosignature, SignedNote, format_note, parse_note, sign_note
from sekisho_wire.witnessing import encode_request
from tests.guarantor.world import (
    LOG,
    NAME,
    NOW_S,
    GrowingLog,
    House,
    conflict,
    cosignature,
    witnessing,
)
from tests.verify.builders import ORIGIN, Signer


def test_a_growing_log_is_cosigned_at_each_size(house: House) -> None:
    log, old = GrowingLog(), 0
    for size in (1, 2, 7, 8, 9, 300):
        answer = house.ask(log.request(old, size))
        assert cosignature(house, log.note(size), answer) == Cosignature(NAME, NOW_S)
        assert house.size() == size
        old = size


def test_the_same_checkpoint_again_is_cosigned_again(house: House) -> None:
    """As when the answer was lost: the log learns the size from a 409 and asks with an empty proof."""
    log = GrowingLog()
    cosignature(house, log.note(5), house.ask(log.request(0, 5)))
    assert conflict(house.ask(log.request(0, 5))) == 5
    again = encode_request(5, [], log.note(5))
    cosignature(house, log.note(5), house.ask(again))
    cosignature(house, log.note(5), house.ask(again))


def test_an_empty_log_is_cosigned_and_a_false_empty_one_is_not(house: House) -> None:
    log = GrowingLog()
    cosignature(house, log.note(0), house.ask(log.request(0, 0)))
    text = f"{ORIGIN}\n0\n{'A' * 43}=\n"
    note = format_note(SignedNote(text, (sign_note(text, LOG.key, LOG.sign),)))
    assert conflict(house.ask(encode_request(0, [], note))) == 0


def test_what_came_before_is_never_cosigned_again(house: House) -> None:
    log = GrowingLog()
    house.ask(log.request(0, 9))
    for old, size in ((0, 9), (0, 3), (3, 9), (3, 5), (0, 20), (8, 20), (10, 20)):
        assert conflict(house.ask(log.request(old, size))) == 9
    assert house.size() == 9


def test_a_fork_is_refused_whatever_its_proof_says(house: House) -> None:
    log, other = GrowingLog(), GrowingLog(fork=6, twist="x")
    house.ask(log.request(0, 9))
    assert house.ask(other.request(9, 12)).status == 422
    mixed = encode_request(9, log.proof(9, 12), other.note(12))
    assert house.ask(mixed).status == 422
    assert conflict(house.ask(encode_request(9, [], other.note(9)))) == 9
    cosignature(house, log.note(12), house.ask(log.request(9, 12)))


def test_two_signed_roots_of_one_size_are_kept_as_evidence(house: House) -> None:
    log, other = GrowingLog(), GrowingLog(fork=6, twist="x")
    house.ask(log.request(0, 9))
    for _ in range(3):
        house.ask(encode_request(9, [], other.note(9)))
    (file,) = house.folder.glob("two-histories-*.txt")
    kept = file.read_bytes()
    assert log.note(9) in kept
    assert other.note(9) in kept


def test_a_log_cannot_fill_the_disk_with_its_lies(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "CONFLICTS_MAX", 2)
    house.ask(GrowingLog().request(0, 9))
    for number in range(5):
        assert conflict(house.ask(encode_request(9, [], GrowingLog(fork=6, twist=str(number)).note(9)))) == 9
    assert len(list(house.folder.glob("two-histories-*.txt"))) == 2


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_shortened_or_changed_proof_is_refused(house: House, cut: int) -> None:
    log = GrowingLog()
    house.ask(log.request(0, 7))
    proof = log.proof(7, 30)
    assert len(proof) > 4
    changed = [*proof[:cut], bytes(32), *proof[cut + 1 :]]
    none: list[bytes] = []
    for wrong in (proof[:cut], proof[cut:], [*proof, bytes(32)], changed, none, [*proof, proof[-1]]):
        assert house.ask(encode_request(7, wrong, log.note(30))).status == 422
    assert house.size() == 7
    cosignature(house, log.note(30), house.ask(log.request(7, 30)))


def test_a_first_checkpoint_takes_no_proof(house: House) -> None:
    log = GrowingLog()
    assert house.ask(encode_request(0, [bytes(32)], log.note(4))).status == 422
    assert house.size() == 0


def test_wrong_keys_and_unknown_logs_are_refused(house: House) -> None:
    log = GrowingLog()
    thief = Signer.make(ORIGIN, seed="thief")
    assert house.ask(log.request(0, 4, signer=thief)).status == 403
    note = parse_note(log.note(4))
    spoilt = note.signatures[0]._replace(data=bytes(64))
    assert house.ask(encode_request(0, [], format_note(note._replace(signatures=(spoilt,))))).status == 403
    assert (
        house.ask(encode_request(0, [], note_of(log.text(4).replace(ORIGIN, "elsewhere/log")))).status == 404
    )
    assert house.size() == 0


def note_of(text: str, *more: Signer) -> bytes:
    """Text signed by the log and by others."""
    lines = [sign_note(text, signer.key, signer.sign) for signer in (LOG, *more)]
    return format_note(SignedNote(text, tuple(lines)))


def test_lines_of_others_are_ignored_but_a_known_key_must_hold(house: House) -> None:
    log = GrowingLog()
    crowd = note_of(log.text(4), Signer.make("somebody.example"), Signer.make(ORIGIN, seed="older"))
    answer = house.ask(encode_request(0, [], crowd))
    assert answer.status == 200
    own = parse_note(crowd).signatures[0]
    twice = SignedNote(log.text(6), (*parse_note(log.note(6)).signatures, own))
    assert house.ask(encode_request(4, log.proof(4, 6), format_note(twice))).status == 403


def test_extension_lines_are_cosigned_with_the_rest(house: House) -> None:
    text = GrowingLog().text(4) + "anything the log adds\n"
    note = note_of(text)
    cosignature(house, note, house.ask(encode_request(0, [], note)))


NOTE = GrowingLog().note(4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"old 0\n" + NOTE,
        b"old 00\n\n" + NOTE,
        b"old 01\n\n" + NOTE,
        b"old -1\n\n" + NOTE,
        b"old 0 \n\n" + NOTE,
        b"OLD 0\n\n" + NOTE,
        b"old " + b"9" * 40 + b"\n\n" + NOTE,
        b"old 0\r\n\r\n" + NOTE,
        b"old 0\nAAAA\n\n" + NOTE,
        b"old 0\n" + b"A" * 43 + b"\n\n" + NOTE,
        b"old 0\n" + b"A" * 42 + b"B=\n\n" + NOTE,
        b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\n" + NOTE,
        b"old \xff\n\n" + NOTE,
        b"old 0\n\n" + NOTE[:-1],
        b"old 0\n\n\n" + NOTE,
        b"old 0\n\n" + NOTE.replace(b"\n4\n", b"\n04\n"),
        b"old 5\n\n" + NOTE,
        b"old 0\n\n" + NOTE + b"x" * (64 << 10),
    ],
)
def test_what_is_not_a_request_is_refused(house: House, body: bytes) -> None:
    answer = house.ask(body)
    assert (answer.status, answer.code) == (400, "witness.request_malformed")
    assert house.size() == 0


@given(st.data())
def test_no_bytes_make_a_witness_fall(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    body = bytearray(GrowingLog().request(0, 5))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with witnessing(tmp_path_factory.mktemp("fuzz") / "witness") as house:
        answer = house.ask(bytes(body))
        assert answer.status in {200, 400, 403, 404, 409, 422}
        assert house.size() == (5 if answer.status == 200 else 0)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans(), st.booleans()), max_size=12))
def test_whatever_is_asked_only_one_history_is_ever_cosigned(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, int, bool, bool]]
) -> None:
    """Two forks that part at 3, asked for in any order and over restarts: what was cosigned is one growing chain."""
    forks = (GrowingLog(fork=3, twist="x"), GrowingLog(fork=3, twist="y"))
    cosigned: list[tuple[int, bytes]] = []
    with witnessing(tmp_path_factory.mktemp("forks") / "witness") as house:
        for old, size, which, restart in asked:
            log = forks[which]
            asked_from = house.size() if old % 2 else old
            if asked_from > size:
                continue
            if restart:
                house.reopen()
            if house.ask(log.request(asked_from, size)).status == 200:
                cosigned.append((size, log.root(size)))
    assert cosigned == sorted(cosigned, key=lambda one: one[0])
    fits = [all(root == log.root(size) for size, root in cosigned) for log in forks]
    assert any(fits)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8).map(sorted), st.integers(0, 7))
def test_random_growth_is_always_cosigned(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], restart_at: int
) -> None:
    log, old = GrowingLog(), 0
    with witnessing(tmp_path_factory.mktemp("growth") / "witness") as house:
        for number, size in enumerate(sizes):
            if number == restart_at:
                house.reopen()
            cosignature(house, log.note(size), house.ask(log.request(old, size)))
            old = size


def test_a_restart_between_two_sizes_forgets_nothing(house: House) -> None:
    log, other = GrowingLog(), GrowingLog(fork=2, twist="x")
    house.ask(log.request(0, 5))
    house.reopen()
    assert conflict(house.ask(other.request(0, 8))) == 5
    assert house.ask(other.request(5, 8)).status == 422
    cosignature(house, log.note(8), house.ask(log.request(5, 8)))


@pytest.mark.parametrize("operation", ["open", "fsync", "replace"])
def test_on_a_full_disk_nothing_is_cosigned(
    house: House, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Whichever call fails; afterwards the disk has either state, and the log's next request is cosigned."""
    log = GrowingLog()
    house.ask(log.request(0, 5))

    def full(*_arguments: object, **_options: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if operation == "replace" else os, operation, full)
        answer = house.ask(log.request(5, 8))
    assert (answer.status, answer.code) == (503, "witness.not_kept")
    assert house.size() == 5
    house.reopen()
    old = house.size()
    assert old in {5, 8}
    cosignature(house, log.note(9), house.ask(log.request(old, 9)))


def test_the_state_is_on_disk_before_the_cosignature_exists(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = GrowingLog()
    order: list[str] = []
    real_sync, real_sign = os.fsync, house.witness._sign

    def sync(descriptor: int) -> None:
        order.append("sync")
        real_sync(descriptor)

    def sign(data: bytes) -> bytes:
        order.append("sign")
        return real_sign(data)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(house.witness, "_sign", sign)
    house.ask(log.request(0, 5))
    assert order == ["sync", "sync", "sign"]


def test_of_requests_at_once_one_history_wins(house: House) -> None:
    """Twenty threads with two forks and several sizes: every cosignature fits one log."""
    forks = (GrowingLog(fork=0, twist="x"), GrowingLog(fork=0, twist="y"))
    barrier = threading.Barrier(20)
    answers: list[tuple[int, int, Answer]] = []
    bodies = {(n % 2, 1 + n % 5): forks[n % 2].request(0, 1 + n % 5) for n in range(20)}

    def ask(number: int) -> None:
        which, size = number % 2, 1 + number % 5
        barrier.wait()
        answers.append((which, size, house.ask(bodies[which, size])))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = {(which, size) for which, size, answer in answers if answer.status == 200}
    assert len(won) == 1
    ((which, size),) = won
    assert house.state.seen(ORIGIN) == (size, forks[which].root(size))
