"""The custodian itself: what an order gets, what it never gets, and what is remembered."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho_guarantor import custodian as custodian_file
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.journal import JOURNAL_FILE, verify_journal
from sekisho_guarantor.keystore import KEYS_FILE
from sekisho_verify.canonical import digest
from sekisho_wire.custody import CustodyError, Destruction, read_signed
from sekisho_wire.envelope import (
    AES_KW,
    AES_KWP,
    EnvelopeError,
    Header,
    Wrapped,
    decrypt_stream,
    encrypt_stream,
    new_header,
)
from tests.guarantor.custodian_world import CustodyHouse, custody
from tests.verify.builders import TestLog, make_id
from tests.wire.custody_world import KEY, NOW_MS, OWNER, header


@pytest.fixture
def house(tmp_path: Path) -> Iterator[CustodyHouse]:
    with custody(tmp_path / "custodian") as opened:
        yield opened


def refused(house: CustodyHouse, *headers: Header, **changes: Any) -> str:
    order = house.order(*headers, **({} if headers else {"make": 1}) | changes)
    with pytest.raises((GuarantorError, CustodyError)) as caught:
        house.release(order, *headers)
    return caught.value.code


# ------------------------------------------------------------------------------------------------------- releases
def test_an_order_opens_what_it_names_and_makes_what_it_asks_for(house: CustodyHouse) -> None:
    (first, first_key), (second, second_key) = house.object(), house.object()
    opened = house.release(house.order(first, second, make=1), first, second)
    assert opened.keys == [first_key, second_key]
    ((again, made),) = opened.made
    assert (again.kind, house.release(house.order(again), again).keys) == ("tree", [made])
    assert len({first_key, second_key, made}) == 3


def test_an_order_is_good_once_also_after_a_restart(house: CustodyHouse) -> None:
    order = house.order(make=1)
    ask = house.asker.ask(order)
    house.custodian.release(ask)
    for _ in range(2):
        with pytest.raises(GuarantorError) as caught:
            house.custodian.release(ask)
        assert caught.value.code == "custody.order_used"
        house.reopen()
    assert refused(house, id=order.id) == "custody.order_used"


def test_a_used_order_is_refused_as_long_as_it_could_be_in_time(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custodian_file, "REMEMBERED", 2)
    house.reopen()
    house.custodian._remembered_max = 2
    asks = []
    for number in range(12):
        house.now_ms = NOW_MS + number * 30_000
        order = house.order(make=1, issued_ms=house.now_ms, not_after_ms=house.now_ms + 30_000)
        asks.append(house.asker.ask(order))
        house.custodian.release(asks[-1])
    assert len(house.custodian._used) < len(asks)
    codes = set()
    for ask in asks:
        with pytest.raises((GuarantorError, CustodyError)) as caught:
            house.custodian.release(ask)
        codes.add(caught.value.code)
    assert codes == {"custody.order_used", "custody.order_expired"}


def test_the_grants_of_another_organisation_release_nothing(house: CustodyHouse) -> None:
    assert house.custodian.facts(KEY).owner == OWNER
    assert refused(house, owner=make_id("org", 2)) == "custody.other_owner"


def test_a_clock_that_was_set_back_releases_nothing(house: CustodyHouse) -> None:
    house.now_ms += 600_000
    house.object()
    house.now_ms -= 600_000
    assert refused(house) == "custody.clock"


def test_an_order_that_ran_out_while_the_store_was_busy_is_refused(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(name: str, data_key: bytes) -> bytes:
        house.now_ms += 120_000
        return bytes(40)

    monkeypatch.setattr(house.store, "wrap", slowly)
    assert refused(house) == "custody.order_expired"


def test_two_histories_of_the_log_are_noticed(house: CustodyHouse) -> None:
    house.release(house.order(make=1))
    size = len(house.asker.log.leaves)
    for _ in range(2):
        other = TestLog()
        other.append_noise(size - 1)
        mine, house.asker.log = house.asker.log, other
        assert refused(house) == "custody.history_differs"
        # What came later, of whatever key, hides nothing; nor does a restart.
        house.asker.log = mine
        house.release(house.order(make=1))
        house.reopen()


@pytest.mark.parametrize("broken", ["wrong", "short_version", "algorithm"])
def test_what_another_key_wrapped_does_not_open_and_the_order_stays_good(
    house: CustodyHouse, broken: str
) -> None:
    odd = {
        "wrong": header(bytes(40)),
        "short_version": new_header("file", Wrapped(KEY, 1, AES_KW, bytes(range(40)))),
        "algorithm": new_header("file", Wrapped(KEY, 1, AES_KWP, bytes(40))),
    }[broken]
    order = house.order(odd)
    for _ in range(2):
        with pytest.raises(GuarantorError) as caught:
            house.release(order, odd)
        assert caught.value.code == "custody.not_opened"


def test_a_one_time_key_of_no_use_gets_nothing(house: CustodyHouse) -> None:
    assert refused(house, recipient="A" * 43) == "custody.recipient"


# ------------------------------------------------------------------------------------------------ stop, rotate, destroy
def test_a_stopped_key_releases_nothing_until_it_is_resumed(house: CustodyHouse) -> None:
    head, data_key = house.object()
    assert house.custodian.stop(KEY).stopped
    assert refused(house, head) == "custody.key_stopped"
    house.reopen()
    assert refused(house, head) == "custody.key_stopped"
    assert not house.custodian.resume(KEY).stopped
    assert house.release(house.order(head), head).keys == [data_key]


def test_stop_holds_for_a_release_that_the_store_is_busy_with(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _ = house.object()
    busy, go_on = threading.Event(), threading.Event()
    unwrap = house.store.unwrap

    def slowly(name: str, wrapped: bytes) -> bytes:
        busy.set()
        assert go_on.wait(10)
        return unwrap(name, wrapped)

    monkeypatch.setattr(house.store, "unwrap", slowly)
    codes: list[str] = []
    thread = threading.Thread(target=lambda: codes.append(refused(house, head)))
    thread.start()
    assert busy.wait(10)
    house.custodian.stop(KEY)
    go_on.set()
    thread.join(10)
    assert codes == ["custody.key_stopped"]
    assert b'"released"' not in (house.folder / JOURNAL_FILE).read_bytes()


# ------------------------------------------------------------------------------------------------------- the owner
def not_opened(house: CustodyHouse, head: Header) -> str:
    with pytest.raises((GuarantorError, CustodyError)) as caught:
        house.open_own(head)
    return caught.value.code


def test_an_owner_opens_without_an_order_and_it_is_in_the_journal(house: CustodyHouse) -> None:
    head, data_key = house.object()
    assert house.open_own(head) == data_key
    content = (house.folder / JOURNAL_FILE).read_bytes()
    entry = msgspec.json.decode(content.splitlines()[-1])
    assert (entry["event"], entry["by"], entry["envelope"]) == ("opened", "owner", head.digest())
    assert verify_journal(content, house.custodian.public) == 4
    assert data_key.hex().encode() not in content
    house.reopen()
    assert house.open_own(head) == data_key


def test_a_header_made_up_over_somebodys_wrapped_key_gets_a_key_to_nothing(house: CustodyHouse) -> None:
    head, mine = house.object()
    other = new_header(head.kind, head.wrapped)
    opened = house.release(house.order(head, other), head, other)
    assert opened.keys[0] == mine
    envelope = io.BytesIO()
    encrypt_stream(io.BytesIO(b"patient 1"), envelope, head, opened.keys[0])
    for key in (opened.keys[1], house.open_own(other)):
        envelope.seek(len(head.data))
        with pytest.raises(EnvelopeError) as caught:
            decrypt_stream(envelope, io.BytesIO(), head, key)
        assert caught.value.code == "envelope.key"


def test_whatever_header_is_handed_in_the_journal_says_which_data_key_it_was(house: CustodyHouse) -> None:
    head, key = house.object()
    other = new_header("tree", head.wrapped)
    assert house.open_own(other) != key
    entry = msgspec.json.decode((house.folder / JOURNAL_FILE).read_bytes().splitlines()[-1])
    assert entry["envelope"] == other.digest() != head.digest()
    assert entry["wrapped"] == digest(head.wrapped.data)


def test_an_owner_opens_no_key_that_is_stopped_destroyed_unknown_or_not_its_wrap(house: CustodyHouse) -> None:
    head, data_key = house.object()
    house.custodian.stop(KEY)
    for _ in range(2):
        assert not_opened(house, head) == "custody.key_stopped"
        house.reopen()
    house.custodian.resume(KEY)
    assert house.open_own(head) == data_key
    for odd, code in (
        (header(bytes(40)), "custody.not_opened"),
        (new_header("file", Wrapped(KEY, 1, AES_KWP, head.wrapped.data)), "custody.not_opened"),
        (new_header("file", Wrapped(KEY, 2, AES_KW, head.wrapped.data)), "custody.version_unknown"),
        (new_header("file", Wrapped("other", 1, AES_KW, head.wrapped.data)), "custody.key_unknown"),
    ):
        assert not_opened(house, odd) == code
    house.custodian.destroy(KEY)
    assert not_opened(house, head) == "custody.version_unknown"
    assert (house.folder / JOURNAL_FILE).read_bytes().count(b'"event":"opened"') == 1


def test_stop_holds_for_an_owner_that_the_store_is_busy_with(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _ = house.object()
    unwrap = house.store.unwrap

    def stops(name: str, wrapped: bytes) -> bytes:
        house.custodian.stop(KEY)
        return unwrap(name, wrapped)

    monkeypatch.setattr(house.store, "unwrap", stops)
    assert not_opened(house, head) == "custody.key_stopped"
    assert b'"opened"' not in (house.folder / JOURNAL_FILE).read_bytes()


def test_nothing_is_opened_that_cannot_be_written_down_or_timed(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _ = house.object()

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fails)
        assert not_opened(house, head) == "custody.not_kept"
    house.now_ms -= 600_000
    assert not_opened(house, head) == "custody.clock"


def test_one_order_from_many_threads_is_answered_once(house: CustodyHouse) -> None:
    ask = house.asker.ask(house.order(make=1))
    answers: list[str] = []

    def work() -> None:
        try:
            house.custodian.release(ask)
            answers.append("released")
        except GuarantorError as error:
            answers.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(answers) == ["custody.order_used"] * 7 + ["released"]


def test_after_a_rotation_new_keys_are_wrapped_by_the_new_version_and_old_ones_still_open(
    house: CustodyHouse,
) -> None:
    old, old_key = house.object()
    assert house.custodian.rotate(KEY).newest == 2
    new, new_key = house.object()
    assert (old.wrapped.key_version, new.wrapped.key_version) == (1, 2)
    assert house.release(house.order(old), old).keys == [old_key]
    assert house.release(house.order(new, key_version=2), new).keys == [new_key]
    assert refused(house, make=1) == "custody.version_old"
    house.reopen()
    assert house.custodian.facts(KEY).newest == 2


def test_what_a_crash_left_in_the_store_is_passed_over(house: CustodyHouse) -> None:
    house.store.make(f"{KEY}/2")
    assert house.custodian.rotate(KEY).newest == 3


def test_a_destroyed_version_opens_nothing_and_leaves_evidence(house: CustodyHouse) -> None:
    old, _ = house.object()
    house.custodian.rotate(KEY)
    new, new_key = house.object()
    sealed = house.custodian.destroy(KEY, 1)
    evidence = read_signed(sealed, house.custodian.public, Destruction)
    assert (evidence.key, evidence.versions, evidence.exportable) == (KEY, [1], True)
    assert not house.store.holds(f"{KEY}/1")
    for _ in range(2):
        assert refused(house, old) == "custody.version_unknown"
        assert house.release(house.order(new, key_version=2), new).keys == [new_key]
        house.reopen()
    with pytest.raises(GuarantorError) as caught:
        house.custodian.destroy(KEY, 1)
    assert caught.value.code == "custody.version_unknown"


def test_destroying_all_ends_the_key_until_it_is_rotated(house: CustodyHouse) -> None:
    house.custodian.rotate(KEY)
    evidence = read_signed(house.custodian.destroy(KEY), house.custodian.public, Destruction)
    assert evidence.versions == [1, 2]
    assert house.custodian.facts(KEY).newest == 0
    with pytest.raises(GuarantorError) as caught:
        house.object()
    assert caught.value.code == "custody.version_unknown"
    assert house.custodian.rotate(KEY).newest == 3


def test_a_destruction_that_a_crash_interrupted_is_ended_at_the_start(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _ = house.object()

    def crash(name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "destroy", crash)
        with pytest.raises(KeyboardInterrupt):
            house.custodian.destroy(KEY)
    assert house.store.holds(f"{KEY}/1")
    assert refused(house, head) == "custody.version_unknown"
    house.reopen()
    assert not house.store.holds(f"{KEY}/1")
    assert house.custodian.facts(KEY).versions[0].destroyed_ms == NOW_MS


def test_a_key_is_made_once_and_an_unknown_one_is_named(house: CustodyHouse) -> None:
    for work, code in (
        (lambda: house.custodian.create(KEY), "custody.key_exists"),
        (lambda: house.custodian.rotate("other"), "custody.key_unknown"),
        (lambda: house.custodian.stop("other"), "custody.key_unknown"),
        (lambda: house.custodian.facts("other"), "custody.key_unknown"),
        (lambda: house.custodian.destroy(KEY, 7), "custody.version_unknown"),
    ):
        with pytest.raises(GuarantorError) as caught:
            work()
        assert caught.value.code == code
    house.store.make("other/1")
    with pytest.raises(GuarantorError) as caught:
        house.custodian.create("other")
    assert caught.value.code == "custody.key_exists"
    assert house.custodian.keys() == [KEY]
    assert house.contract.facts(KEY).newest == 1


# ------------------------------------------------------------------------------------------------------- the journal
def _content(house: CustodyHouse) -> bytes:
    return (house.folder / JOURNAL_FILE).read_bytes()


def test_a_full_disk_releases_nothing_and_leaves_no_trace(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, order = _content(house), house.order(make=1)
    ask = house.asker.ask(order)
    write = os.write

    def half(descriptor: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "full")
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        for _ in range(2):
            with pytest.raises(GuarantorError) as caught:
                house.custodian.release(ask)
            assert caught.value.code == "custody.not_kept"
    assert _content(house) == before
    house.custodian.release(ask)


def test_a_disk_of_which_nobody_knows_what_it_holds_stops_everything(
    house: CustodyHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        assert refused(house) == "custody.not_kept"
    assert refused(house) == "custody.not_kept"
    house.reopen()
    house.release(house.order(make=1))


def test_the_journal_holds_each_release_and_no_secret(house: CustodyHouse) -> None:
    head, data_key = house.object()
    order = house.order(head)
    house.release(order, head)
    content = _content(house)
    entry = msgspec.json.decode(content.splitlines()[-1])
    assert (entry["event"], entry["order"], entry["attempt"]) == ("released", order.digest(), order.attempt)
    assert entry["size"] == len(house.asker.log.leaves)
    assert verify_journal(content, house.custodian.public) == 4
    keys = msgspec.json.decode((house.folder / KEYS_FILE).read_bytes())
    for secret in (data_key.hex(), *keys.values()):
        assert secret.encode() not in content


@settings(max_examples=20)
@given(cut=st.integers(1, 400))
def test_the_beginning_of_a_last_entry_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    with custody(tmp_path_factory.mktemp("torn") / "custodian") as house:
        whole = _content(house)
        house.release(house.order(make=1))
        entry = _content(house)[len(whole) :]
        (house.folder / JOURNAL_FILE).write_bytes(whole + entry[: min(cut, len(entry) - 1)])
        house.reopen()
        assert _content(house) == whole
        house.release(house.order(make=1))
        assert verify_journal(_content(house), house.custodian.public) == 3


@settings(max_examples=20)
@given(at=st.integers(0), bit=st.integers(0, 7))
def test_a_changed_journal_is_found(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    with custody(tmp_path_factory.mktemp("changed") / "custodian") as house:
        house.release(house.order(make=1))
        changed = bytearray(_content(house)[:-1])
        changed[at % len(changed)] ^= 1 << bit
        with pytest.raises(GuarantorError) as caught:
            verify_journal(bytes(changed) + b"\n", house.custodian.public)
        assert caught.value.code == "custodian.journal_broken"


def test_a_journal_with_an_entry_left_out_or_of_another_key_does_not_start(house: CustodyHouse) -> None:
    house.object()
    house.object()
    lines = _content(house).splitlines(keepends=True)
    path = house.folder / JOURNAL_FILE
    for content in (
        b"".join(lines[:2] + lines[4:]),
        b"".join(lines[2:]),
        b"".join([*lines[:4], lines[6], lines[7]]),
        b"".join([*lines[:-2], lines[0], lines[-1]]),
        b"",
        b"noise\nnoise\n",
    ):
        path.write_bytes(content)
        with pytest.raises(GuarantorError) as caught:
            house.reopen()
        assert caught.value.code == "custodian.journal_broken"
        house.journal = type("Closed", (), {"close": lambda _self: None})()
    path.unlink()
    with pytest.raises(GuarantorError) as caught:
        house.open()
    assert caught.value.code == "custodian.journal_broken"
