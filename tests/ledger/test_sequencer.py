from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.kernel.db import open_database
from sekisho.kernel.errors import BusyError, SekishoError
from sekisho.kernel.evidence import Draft
from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.tx import Tx
from sekisho.ledger import SequenceBatch, SignCheckpoint, sequencer, tables, under_checkpoint
from sekisho_verify.merkle import EMPTY_ROOT, leaf_hash, tree_root
from tests.ledger.world import ANN, World, draft, opened

WRITERS = 8
EACH = 25


def _leaves(world: World) -> list[bytes]:
    entries = world.database.read(lambda tx: tables.entries_from(tx, 0, 100_000))
    return [leaf_hash(sequencer.leaf_data(entry)) for entry in entries]


def _sequence(world: World, batch_max: int = 10) -> int:
    batch = world.database.write(
        lambda tx: sequencer.sequence(tx, holder="test", now_ms=1, batch_max=batch_max)
    )
    return batch.taken


def _write(world: World, writer: int, acknowledged: list[str]) -> None:
    for number in range(EACH):
        record = draft(number, stream=f"job_{(writer + number) % 5}")
        _until_not_busy(functools.partial(world.database.write, functools.partial(_append, world, record)))
        acknowledged.append(record.id)


def _append(world: World, record: Draft, tx: Tx) -> None:
    world.ledger.append(tx, record)


def _order(world: World, done: threading.Event) -> None:
    while not done.is_set():
        _until_not_busy(functools.partial(world.gate.perform, SYSTEM, SequenceBatch()))
        _until_not_busy(functools.partial(world.gate.perform, SYSTEM, SignCheckpoint()))


def _until_not_busy(work: Callable[[], object]) -> None:
    while True:
        try:
            work()
        except BusyError:
            continue
        return


def test_concurrent_writers_lose_nothing(world: World) -> None:
    """Writers and the sequencer at the same time; every acknowledged record is in the log, once."""
    acknowledged: list[str] = []
    done = threading.Event()
    with ThreadPoolExecutor(WRITERS + 1) as threads:
        writers = [threads.submit(_write, world, number, acknowledged) for number in range(WRITERS)]
        ordering = threads.submit(_order, world, done)
        try:
            for writer in writers:
                writer.result(120)
        finally:
            done.set()
        ordering.result(120)
    world.sequence()
    logged = [row["id"] for row in world.rows("select id from ledger_entries")]
    assert len(logged) == len(set(logged))
    assert set(logged) == set(acknowledged)
    assert len(acknowledged) == WRITERS * EACH
    assert not world.check().findings


Plan = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(st.integers(0, 3), min_size=1, max_size=6)),
        st.tuples(st.just("sequence"), st.integers(1, 8)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=Plan)
def test_streams_are_gapless_and_keep_their_order_however_batches_fall(
    world: World, plan: list[tuple[str, Any]]
) -> None:
    """The database lives on from one plan to the next, so the tree also grows across many batches."""
    before = {row["id"] for row in world.rows("select id from ledger_bodies")}
    order: list[str] = []
    for step, what in plan:
        if step == "append":
            records = [draft(number, stream=f"job_{stream}") for number, stream in enumerate(what)]
            world.database.write(lambda tx, records=records: world.ledger.append(tx, *records))
            order += [record.id for record in records]
        else:
            _sequence(world, what)
    while _sequence(world):
        pass
    logged = [row["id"] for row in world.rows("select id from ledger_entries order by log_index")]
    assert [record for record in logged if record not in before] == order
    numbered: dict[str, int] = {}
    for row in world.rows("select stream, stream_seq from ledger_entries order by log_index"):
        assert row["stream_seq"] == numbered.get(row["stream"], 0)
        numbered[row["stream"]] = row["stream_seq"] + 1
    tree = world.database.read(tables.tree)
    assert tree.root == tree_root(_leaves(world))
    assert tree.size == len(logged)


def test_tiles_grow_over_their_edges(world: World) -> None:
    """Batches that end before, at and after a tile's edge, on two levels."""
    number = 0
    for count in (1, 254, 1, 1, 255, 300, 513):
        records = [draft(number + step, stream=f"job_{step % 7}") for step in range(count)]
        world.database.write(lambda tx, records=records: world.ledger.append(tx, *records))
        number += count
        world.sequence()
        assert not world.check().findings
    assert world.database.read(tables.tree).root == tree_root(_leaves(world))
    assert [row["level"] for row in world.rows("select level from ledger_tiles order by level")].count(1) == 1


def test_a_batch_says_whether_more_waits(world: World) -> None:
    records = [draft(number) for number in range(5)]
    world.database.write(lambda tx: world.ledger.append(tx, *records))
    assert world.gate.perform(SYSTEM, SequenceBatch()).more is False
    world.database.write(lambda tx: world.ledger.append(tx, *(draft(number) for number in range(4))))
    batch = world.database.write(lambda tx: sequencer.sequence(tx, holder="control-1", now_ms=1, batch_max=3))
    assert (batch.taken, batch.more, batch.size) == (3, True, 8)


def test_a_batch_that_finds_nothing_any_more_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else took the last rows between the look and the lock."""
    world.put("job_a")
    world.sequence()
    before = world.rows("select size, root, edge from ledger_sequencer")
    monkeypatch.setattr(tables, "waiting", _yes)
    batch = world.gate.perform(SYSTEM, SequenceBatch())
    assert (batch.taken, batch.size, batch.more) == (0, 1, False)
    assert world.rows("select size, root, edge from ledger_sequencer") == before


def _yes(tx: Tx) -> bool:
    del tx
    return True


def test_another_holder_waits_for_the_lease_and_moves_the_epoch(world: World) -> None:
    def sequence(holder: str, now_ms: int) -> bool:
        world.database.write(lambda tx: world.ledger.append(tx, draft(now_ms)))
        return world.database.write(lambda tx: sequencer.sequence(tx, holder=holder, now_ms=now_ms)).leads

    assert sequence("one", 1000)
    assert not sequence("two", 1001)
    assert not sequence("two", 1000 + sequencer.LEASE_MS - 1)
    assert world.database.read(tables.tree).epoch == 1
    assert sequence("two", 1000 + sequencer.LEASE_MS)
    assert not sequence("one", 1001 + sequencer.LEASE_MS)
    assert world.database.read(tables.tree).epoch == 2
    assert world.database.read(tables.tree).holder == "two"


def test_the_same_holder_goes_on_after_a_restart(db_url: str, tmp_path: Path) -> None:
    with opened(db_url, tmp_path) as world:
        world.put("job_a")
        world.sequence()
    with opened(db_url, tmp_path) as world:
        world.put("job_a", 1)
        assert world.sequence() == 1
        assert world.database.read(tables.tree).epoch == 1
        assert not world.check().findings


def test_a_damaged_tree_is_not_extended(world: World) -> None:
    world.put("job_a")
    world.sequence()
    for harm, place in (
        ("update ledger_tiles set hashes = substr(hashes, 1, 16)", "tile 0/0"),
        ("update ledger_sequencer set edge = null", "edge"),
    ):
        world.put("job_b")
        world.damage(harm)
        with pytest.raises(SekishoError) as caught:
            world.sequence()
        assert caught.value.code == "ledger.tree_damaged"
        assert caught.value.params == {"place": place}
        assert len(world.rows("select id from ledger_entries")) == 1


def test_nothing_is_signed_behind_or_beside_an_earlier_head(world: World) -> None:
    world.put("job_a")
    world.sequence()
    world.damage("update ledger_sequencer set root = :root", root=EMPTY_ROOT)
    with pytest.raises(SekishoError, match="checkpoint"):
        world.gate.perform(SYSTEM, SignCheckpoint())
    world.damage("update ledger_sequencer set size = 0")
    with pytest.raises(SekishoError, match="checkpoint"):
        world.gate.perform(SYSTEM, SignCheckpoint())


def test_a_record_is_covered_only_once_its_tree_is_signed(world: World) -> None:
    record = draft(1)
    world.database.write(lambda tx: world.ledger.append(tx, record))

    def covered() -> bool:
        return world.database.read(lambda tx: under_checkpoint(tx, record.id))

    assert not covered()
    world.sequence(sign=False)
    assert not covered()
    world.sequence()
    assert covered()
    assert not world.database.read(lambda tx: under_checkpoint(tx, "rec_" + "0" * 26))


def test_only_the_newest_heads_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHECKPOINTS_KEPT", 3)
    for number in range(6):
        world.put("job_a", number)
        world.sequence()
    assert [row["size"] for row in world.rows("select size from ledger_checkpoints order by size")] == [
        4,
        5,
        6,
    ]
    assert not world.check().findings


def _needs_parallel_writers(world: World) -> None:
    if world.database.dialect == "sqlite":
        pytest.skip("one writer: transactions do not overlap")


def test_a_transaction_that_commits_late_is_not_passed_over(world: World) -> None:
    """It has the lower number, and becomes visible after a higher one is in the log."""
    _needs_parallel_writers(world)
    early, late = draft(1, stream="job_a"), draft(2, stream="job_a")
    written, go_on = threading.Event(), threading.Event()

    def slowly(tx: Tx) -> None:
        world.ledger.append(tx, early)
        written.set()
        assert go_on.wait(30)

    thread = threading.Thread(target=lambda: world.database.write(slowly))
    thread.start()
    assert written.wait(30)
    world.database.write(lambda tx: world.ledger.append(tx, late))
    assert world.sequence() == 1
    go_on.set()
    thread.join(30)
    assert world.sequence() == 1
    logged = world.rows("select id, stream_seq from ledger_entries order by log_index")
    assert logged == [{"id": late.id, "stream_seq": 0}, {"id": early.id, "stream_seq": 1}]
    assert not world.check().findings


def test_a_stream_is_not_closed_over_a_record_under_way(world: World) -> None:
    """Either the closing counts it, or it goes to its actor's stream; it never follows the closing record."""
    _needs_parallel_writers(world)
    world.put("job_a")
    record = draft(1, stream="job_a")
    written, go_on = threading.Event(), threading.Event()

    def slowly(tx: Tx) -> None:
        world.ledger.append(tx, record)
        written.set()
        assert go_on.wait(30)

    thread = threading.Thread(target=lambda: world.database.write(slowly))
    thread.start()
    assert written.wait(30)
    closing = threading.Thread(target=lambda: world.close("job_a"))
    closing.start()
    closing.join(30)
    go_on.set()
    thread.join(30)
    closed = world.close("job_a")
    world.sequence()
    streams = {row["id"]: row["stream"] for row in world.rows("select id, stream from ledger_entries")}
    expected = {2: ANN.ref.id, 3: "job_a"}[closed.count]
    assert streams[record.id] == world.ledger.pseudonym(expected)
    assert not world.check().findings


def test_two_control_planes_take_turns(db_url: str, tmp_path: Path) -> None:
    with opened(db_url, tmp_path) as world:
        _needs_parallel_writers(world)
        other = World(open_database(db_url), tmp_path, "control-2")
        world.put("job_a")
        assert world.sequence() == 1
        other.put("job_a", 1)
        assert other.gate.perform(SYSTEM, SequenceBatch()).leads is False
        other.clock.advance(sequencer.LEASE_MS)  # type: ignore[attr-defined] - a manual clock
        assert other.sequence() == 1
        assert not world.check().findings
        other.database.close()
