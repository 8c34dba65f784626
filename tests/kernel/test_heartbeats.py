"""Signs of life: the newest counts, and each subject has its own."""

from __future__ import annotations

import functools

from sekisho.kernel import heartbeats
from sekisho.kernel.db import Database


def beat(database: Database, subject: str, at_ms: int, note: str = "") -> None:
    write = functools.partial(heartbeats.beat, subject=subject, at_ms=at_ms, until_ms=at_ms + 5, note=note)
    database.write(write)


def last(database: Database, subject: str) -> tuple[int, int, str] | None:
    row = database.read(lambda tx: heartbeats.last(tx, subject))
    return (row["at_ms"], row["until_ms"], row["note"]) if row else None


def test_the_newest_sign_of_life_counts(database: Database) -> None:
    assert last(database, "agent:a") is None
    beat(database, "agent:a", 1)
    assert last(database, "agent:a") == (1, 6, "")
    beat(database, "agent:a", 9)
    assert last(database, "agent:a") == (9, 14, "")


def test_a_note_stays_until_the_next_note(database: Database) -> None:
    beat(database, "progress:a", 1, '{"step":1}')
    beat(database, "progress:a", 2)
    assert last(database, "progress:a") == (2, 7, '{"step":1}')
    beat(database, "progress:a", 3, "関所")
    assert last(database, "progress:a") == (3, 8, "関所")


def test_what_ended_is_forgotten(database: Database) -> None:
    beat(database, "attempt:a", 1)
    beat(database, "attempt:b", 1)
    for _ in range(2):
        database.write(lambda tx: heartbeats.forget(tx, "attempt:a"))
    assert last(database, "attempt:a") is None
    assert last(database, "attempt:b") is not None
