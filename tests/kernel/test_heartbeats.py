"""Signs of life: the newest counts, and each subject has its own."""

from __future__ import annotations

from sekisho.kernel import heartbeats
from sekisho.kernel.db import Database


def beat(database: Database, subject: str, at_ms: int, note: str = "") -> None:
    database.write(lambda tx: heartbeats.beat(tx, subject, at_ms=at_ms, until_ms=at_ms + 5, note=note))


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


def test_several_beat_and_are_forgotten_at_once(database: Database) -> None:
    names = ("agent:x", "site:x", "attempt:x")
    database.write(lambda tx: heartbeats.beat(tx, *names, at_ms=1, until_ms=2, note="n"))
    assert [last(database, name) for name in names] == [(1, 2, "n")] * 3
    database.write(lambda tx: heartbeats.forget(tx, *names[1:]))
    assert [last(database, name) for name in names] == [(1, 2, "n"), None, None]
