"""What a transaction lets through, and what a row's digest is."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.kernel.db import Database
from sekisho.kernel.tx import DELETED, READS_KEPT, ROWS_KEPT, Row, Tx, analyse, canonical_key, row_digest
from tests.support import statements, toy

VALUES = st.one_of(
    st.none(),
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.binary(),
)


@given(st.dictionaries(st.text("abcxyz_", min_size=1), VALUES))
def test_a_row_digest_ignores_order_and_absent_columns(row: dict[str, object]) -> None:
    turned = dict(reversed(list(row.items())))
    assert row_digest(row) == row_digest(turned | {"zzz_absent": None})


@pytest.mark.parametrize("value", [1.5, True and 2**53, object()])
def test_a_value_without_normal_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        row_digest({"a": value})


def test_a_key_is_canonical_json() -> None:
    assert canonical_key(['a"b', 3]) == '["a\\"b",3]'


@pytest.mark.parametrize(
    "sql",
    [
        "drop table toy_things",
        "insert into toy_things (id) values (:id)",
        "update toy_things set name = :name where id = :id",
        "pragma journal_mode",
    ],
)
def test_statements_outside_the_shared_subset_are_refused(sql: str) -> None:
    with pytest.raises(ValueError, match=r"shared subset|record_id"):
        analyse(sql)


def test_parameters_are_rewritten_and_literals_left_alone() -> None:
    statement = analyse("select 'it:s %' as a, :b::text as c from t where d = ':e'")
    assert statement.postgres == "select 'it:s %%' as a, %(b)s::text as c from t where d = ':e'"


def test_a_read_transaction_does_not_write(toy_world: toy.World) -> None:
    def write(tx: Tx) -> int:
        return tx.run("delete from kernel_heartbeats")

    with pytest.raises(PermissionError):
        toy_world.database.read(write)


def test_a_capability_table_is_written_under_a_record_only(toy_world: toy.World) -> None:
    def write(tx: Tx) -> int:
        return tx.run("delete from toy_things")

    with pytest.raises(PermissionError):
        toy_world.database.write(write)


def test_a_row_that_two_records_touched_belongs_to_the_later(toy_world: toy.World) -> None:
    insert = "insert into toy_things (id, name, amount, record_id) values (:id, 'n', 0, :record_id)"
    change = "update toy_things set amount = 1, record_id = :record_id where id = :id"

    def work(tx: Tx) -> tuple[list[object], list[object]]:
        with tx.claimed_by("rec_1"):
            tx.run(insert, id="a")
            tx.run(insert, id="b")
            with tx.claimed_by("rec_2"):
                tx.run(change, id="a")
            tx.run("delete from toy_things where id = 'b'")
        return list(tx.effects("rec_1")), list(tx.effects("rec_2"))

    first, second = toy_world.database.write(work)
    assert first == [("toy_things", '["b"]', DELETED)]
    assert [effect[1] for effect in second] == ['["a"]']  # type: ignore[index]  # effects are tuples


def test_the_same_row_has_one_digest_on_both_databases(database: Database) -> None:
    world = toy.World(database)

    def work(tx: Tx) -> object:
        with tx.claimed_by("rec_fixed"):
            tx.run(
                "insert into toy_things (id, name, amount, blob, record_id) values (:id, :name, :amount, :blob, :record_id)",
                id="a",
                name="関所",
                amount=2**52,
                blob=b"\x00\xff",
            )
        return tx.effects("rec_fixed")

    row = {"id": "a", "name": "関所", "amount": 2**52, "blob": "AP8", "record_id": "rec_fixed"}
    text = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert world.database.write(work) == [
        ("toy_things", '["a"]', "sha256:" + hashlib.sha256(text).hexdigest())
    ]


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 120])
def test_a_list_of_values_is_asked_in_portions_of_one_text(database: Database, count: int) -> None:
    world = toy.World(database)
    names = [f"thing_{number:03}" for number in range(120)]

    def fill(tx: Tx) -> None:
        with tx.claimed_by("rec_1"):
            for name in names:
                tx.run(
                    "insert into toy_things (id, name, amount, record_id) values (:id, 'x', 1, :record_id)",
                    id=name,
                )

    def asked(tx: Tx) -> list[Row]:
        query = "select id from toy_things where id in (:each) and amount = :amount"
        assert tx.among(query, names[:count], amount=2) == []
        return tx.among(query, names[:count], amount=1)

    world.database.write(fill)
    assert sorted(row["id"] for row in world.database.read(asked)) == names[:count]


READS = (
    "select * from toy_things order by id",
    "select count(*) as n from toy_things where amount > :least",
    "select * from kernel_heartbeats order by subject",
    "select t.id, h.note from toy_things t left join kernel_heartbeats h on h.subject = t.id order by t.id",
)
PUT = (
    "insert into toy_things (id, name, amount, record_id) values (:id, 'n', :amount, :record_id)"
    " on conflict (id) do update set amount = :amount, record_id = :record_id"
)
BEAT = (
    "insert into kernel_heartbeats (subject, at_ms, until_ms, note) values (:id, 1, 1, :note)"
    " on conflict (subject) do update set note = :note"
)
IDS, NUMBERS = st.sampled_from(["a", "b"]), st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("read"), st.integers(0, len(READS) - 1), NUMBERS),
    st.tuples(st.just("put"), IDS, NUMBERS),
    st.tuples(st.just("drop"), IDS, NUMBERS),
    st.tuples(st.just("beat"), IDS, NUMBERS),
    st.tuples(st.just("beats"), IDS, NUMBERS),
)


def _step(tx: Tx, what: str, which: Any, number: int) -> None:
    if what == "put":
        tx.run(PUT, id=which, amount=number)
    elif what == "drop":
        tx.run("delete from toy_things where id = :id", id=which)
    elif what == "beat":
        tx.run(BEAT, id=which, note=str(number))
    elif what == "beats":
        tx.run_many(BEAT, [{"id": one, "note": str(number)} for one in ("a", which)])
    else:
        params = {"least": number} if ":least" in READS[which] else {}
        found = tx.all(READS[which], **params)
        assert found == tx._executor.execute(analyse(READS[which]), params)[0]
        for row in found:
            row.clear()


@given(st.lists(STEPS, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_what_was_asked_before_is_answered_as_the_database_would(
    toy_world: toy.World, steps: list[tuple[str, Any, int]]
) -> None:
    def work(tx: Tx) -> None:
        with tx.claimed_by("rec_1"):
            tx.run("delete from toy_things")
            for step in steps:
                _step(tx, *step)

    toy_world.database.write(work)


def test_a_transaction_asks_once_for_what_nobody_wrote(toy_world: toy.World) -> None:
    def work(tx: Tx) -> list[str]:
        with statements.counted() as seen, tx.claimed_by("rec_1"):
            for number in range(3):
                tx.all(READS[0])
                tx.run(BEAT, id="a", note=str(number))
        return [text for text in seen if text.startswith("select")]

    assert toy_world.database.write(work) == [READS[0]]


def test_a_transaction_remembers_little(toy_world: toy.World) -> None:
    def work(tx: Tx) -> tuple[int, int, int]:
        with tx.claimed_by("rec_1"):
            for number in range(ROWS_KEPT + 1):
                tx.run(PUT, id=f"{number:03}", amount=number)
        with statements.counted() as many:
            tx.all(READS[0])
            tx.all(READS[0])
        with statements.counted() as few:
            for least in (*range(READS_KEPT + 1), 0):
                tx.one(READS[1], least=least)
            tx.one(READS[1], least=0)
        return len(many), len(few), len(tx._answers)

    assert toy_world.database.write(work) == (2, READS_KEPT + 2, 2)


def test_rows_that_are_locked_are_asked_for_each_time() -> None:
    assert not analyse("select id from kernel_work for update skip locked").words
    assert not analyse("delete from kernel_work").words


MANY = (
    "insert into kernel_heartbeats (subject, at_ms, until_ms, note) values (:subject, :at, :at, :note)"
    " on conflict (subject) do update set at_ms = excluded.at_ms, note = excluded.note"
)
MANY_BY_ONE = (
    "insert into kernel_heartbeats (subject, at_ms, until_ms, note) values (:subject, :at, :at, :note)"
    " on conflict (subject) do update set at_ms = :at, note = :note"
)


@pytest.mark.parametrize("sql", [MANY, MANY_BY_ONE])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 64, 65, 130])
def test_many_rows_are_written_as_one_by_one(toy_world: toy.World, sql: str, count: int) -> None:
    rows = [{"subject": f"{n:03}", "at": n, "note": "%s %(at)s 関所" if n % 2 else ""} for n in range(count)]

    def work(tx: Tx) -> list[dict[str, Any]]:
        tx.run("delete from kernel_heartbeats")
        tx.run_many(sql, [row | {"note": "before"} for row in rows])
        tx.run_many(sql, rows)
        return tx.all("select subject, at_ms, note from kernel_heartbeats order by subject")

    found = toy_world.database.write(work)
    assert [(row["subject"], row["at_ms"], row["note"]) for row in found] == [
        (row["subject"], row["at"], row["note"]) for row in rows
    ]
