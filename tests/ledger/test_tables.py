from __future__ import annotations

import pytest

from sekisho.kernel.tx import PLUMBING
from sekisho.ledger import tables, tables_check
from tests.ledger.world import World, draft

STREAM = "ab" * 32


def _put(world: World, number: int, stream: str = STREAM) -> str:
    record = draft(number).id
    digest = number.to_bytes(32, "big")
    row: dict[str, str | bytes] = {"id": record, "stream": stream, "digest": digest, "body": b"{}"}
    world.database.write(lambda tx: tables.put_many(tx, [row]))
    return record


def test_a_batch_is_ordered_by_the_databases_number(world: World) -> None:
    records = [_put(world, number, STREAM if number % 2 else "cd" * 32) for number in range(6)]
    entries = world.database.write(lambda tx: tables.order_batch(tx, size=0, limit=4))
    assert [entry.id for entry in entries] == records[:4]
    assert [(entry.log_index, entry.stream_seq) for entry in entries] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert world.database.write(lambda tx: tables.empty_outbox(tx, 0)) == 4
    more = world.database.write(lambda tx: tables.order_batch(tx, size=4, limit=4))
    assert [(entry.id, entry.stream_seq) for entry in more] == [(records[4], 2), (records[5], 2)]
    assert world.database.write(lambda tx: tables.empty_outbox(tx, 4)) == 2
    assert not world.database.read(tables.waiting)


def test_the_outbox_takes_nothing_for_a_closed_stream_but_its_closing_record(world: World) -> None:
    world.put("job_a")
    closing = world.close("job_a").record
    stream = world.ledger.pseudonym("job_a")

    def put(record: str) -> bool:
        return world.database.write(
            lambda tx: tables.put_in_outbox(tx, record=record, stream=stream, digest=bytes(32))
        )

    assert not put(draft(1).id)
    assert put(closing)
    assert world.database.read(lambda tx: tables.closed_streams_among(tx, [stream, STREAM])) == {
        stream: closing
    }


def test_records_are_counted_whether_they_have_a_place_or_not(world: World) -> None:
    for number in range(3):
        _put(world, number)
    assert world.database.read(lambda tx: tables.count_records(tx, STREAM)) == 3
    world.database.write(lambda tx: tables.order_batch(tx, size=0, limit=2))
    world.database.write(lambda tx: tables.empty_outbox(tx, 0))
    assert world.database.read(lambda tx: tables.count_records(tx, STREAM)) == 3
    assert world.database.read(lambda tx: tables.count_records(tx, "cd" * 32)) == 0


def test_tiles_are_overwritten_whole(world: World) -> None:
    world.database.write(lambda tx: tables.put_tiles(tx, [(0, 0, b"a" * 32), (1, 0, b"b" * 32)]))
    world.database.write(lambda tx: tables.put_tiles(tx, [(0, 0, b"a" * 64)]))
    assert world.database.read(lambda tx: tables.tile(tx, 0, 0)) == b"a" * 64
    assert world.database.read(lambda tx: tables.tile(tx, 1, 0)) == b"b" * 32
    assert world.database.read(lambda tx: tables.tile(tx, 2, 0)) == b""
    assert world.database.read(tables_check.count_tiles) == 2


@pytest.mark.parametrize("kind", ["charters", "facts", "files"])
def test_the_same_content_twice_is_kept_once(world: World, kind: str) -> None:
    for _ in range(2):
        world.database.write(lambda tx: tables.keep(tx, kind, "sha256:x", b"content"))
    assert world.database.read(lambda tx: tables.kept(tx, kind, "sha256:x")) == b"content"
    assert world.database.read(lambda tx: tables.kept(tx, kind, "sha256:y")) is None


def test_every_table_is_read_page_by_page_also_with_a_key_of_two_columns(world: World) -> None:
    world.database.script(
        "create table toy_pairs (a text not null, b bigint not null, record_id text not null, primary key (a, b));",
        lambda _tx: None,
    )
    world.database.reload_keys()
    for number in range(7):
        world.damage(
            "insert into toy_pairs (a, b, record_id) values (:a, :b, '')", a="xy"[number % 2], b=number
        )
    rows = world.database.read(lambda tx: list(tables_check.rows_of(tx, "toy_pairs", ("a", "b"), 2)))
    assert [(row["a"], row["b"]) for row in rows] == [
        ("x", 0), ("x", 2), ("x", 4), ("x", 6), ("y", 1), ("y", 3), ("y", 5),
    ]  # fmt: skip
    columns = world.database.read(tables_check.watched_tables)["toy_pairs"]
    assert columns == ("a", "b")

    def find(*key: str | int) -> dict[str, object] | None:
        return world.database.read(lambda tx: tables_check.row_by_key(tx, "toy_pairs", columns, key))

    assert find("x", 4) is not None
    assert find("x", 5) is None
    assert find("x") is None


def test_the_check_looks_at_every_table_but_the_plumbing(world: World) -> None:
    watched = set(world.database.read(tables_check.watched_tables))
    assert watched >= {"toy_things", "kernel_proposals", "ledger_closures", "ledger_erasures", "ledger_keys"}
    assert not watched & PLUMBING


def test_the_newest_records_of_a_stream_come_first(world: World) -> None:
    for number in range(5):
        _put(world, number, STREAM if number % 2 else "cd" * 32)
    world.database.write(lambda tx: tables.order_batch(tx, size=0, limit=9))
    rows = world.database.read(lambda tx: tables.newest_of(tx, "cd" * 32, before=4, limit=9))
    assert [(row["log_index"], row["stream_seq"]) for row in rows] == [(2, 1), (0, 0)]
    rows = world.database.read(lambda tx: tables.newest(tx, before=9, limit=2))
    assert [row["log_index"] for row in rows] == [4, 3]
