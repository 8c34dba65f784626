"""Rows of charter versions on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sekisho.charter import tables
from sekisho.kernel.db import Database, open_database
from sekisho.kernel.tx import Row, Tx


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    found = open_database(db_url)
    yield found
    found.close()


def write(database: Database, *versions: tuple[str, str, str]) -> None:
    def work(tx: Tx) -> None:
        with tx.claimed_by("rec_1"):
            for version, digest, state in versions:
                tables.insert(
                    tx,
                    version=version,
                    digest=digest,
                    policies=f"policies of {version}",
                    schema="{}",
                    state=state,
                    drafted_by="usr_a",
                    drafted_ms=5,
                    activated_ms=5 if state == "active" else None,
                )

    database.write(work)


def found(row: Row | None) -> tuple[str, str, str] | None:
    return None if row is None else (row["id"], row["digest"], row["state"])


def test_a_version_is_found_by_id_digest_and_state(database: Database) -> None:
    assert database.read(tables.active) is None
    write(database, ("chv_1", "d1", "active"), ("chv_2", "d2", "draft"))
    assert found(database.read(tables.active)) == ("chv_1", "d1", "active")
    assert found(database.read(lambda tx: tables.by_id(tx, "chv_2"))) == ("chv_2", "d2", "draft")
    assert found(database.read(lambda tx: tables.by_digest(tx, "d2"))) == ("chv_2", "d2", "draft")
    assert database.read(lambda tx: tables.by_id(tx, "chv_9")) is None
    assert database.read(lambda tx: tables.by_digest(tx, "d9")) is None


@pytest.mark.parametrize(
    "second",
    [("chv_2", "d2", "active"), ("chv_2", "d1", "draft"), ("chv_1", "d2", "draft"), ("chv_2", "d2", "gone")],
)
def test_the_database_holds_one_active_version_and_each_text_once(
    database: Database, second: tuple[str, str, str]
) -> None:
    write(database, ("chv_1", "d1", "active"))
    with pytest.raises(Exception, match=r"(?i)unique|duplicate|check"):
        write(database, second)
    assert len(database.read(lambda tx: tables.page(tx, "", 10))) == 1


def test_pages_run_from_new_to_old_without_texts(database: Database) -> None:
    write(database, *((f"chv_{number}", f"d{number}", "draft") for number in range(5)))
    rows = database.read(lambda tx: tables.page(tx, "", 2))
    assert [row["id"] for row in rows] == ["chv_4", "chv_3"]
    rows = database.read(lambda tx: tables.page(tx, "chv_3", 10))
    assert [row["id"] for row in rows] == ["chv_2", "chv_1", "chv_0"]
    assert "policies" not in rows[0]


def test_activation_moves_the_state_and_claims_both_rows(database: Database) -> None:
    write(database, ("chv_1", "d1", "active"), ("chv_2", "d2", "draft"))

    def work(tx: Tx) -> list[str]:
        with tx.claimed_by("rec_2"):
            tables.retire_active(tx, 7)
            tables.activate(tx, "chv_2", 7)
        return [effect[1] for effect in tx.effects("rec_2")]

    assert database.write(work) == ['["chv_1"]', '["chv_2"]']
    old, new = (database.read(lambda tx, one=one: tables.by_id(tx, one)) or {} for one in ("chv_1", "chv_2"))
    assert (old["state"], old["activated_ms"], old["retired_ms"], old["record_id"]) == (
        "retired",
        5,
        7,
        "rec_2",
    )
    assert (new["state"], new["activated_ms"], new["retired_ms"], new["record_id"]) == (
        "active",
        7,
        None,
        "rec_2",
    )
