"""Signs of life that change no state: who was last heard when, until when that holds, and a small note."""

from __future__ import annotations

from collections.abc import Sequence

from sekisho.kernel.tx import Row, Tx


def beat(tx: Tx, *subjects: str, at_ms: int, until_ms: int, note: str = "") -> None:
    """Write a sign of life of each subject (`agent:<id>`, `attempt:<id>`)."""
    tx.run_many(
        "insert into kernel_heartbeats (subject, at_ms, until_ms, note) values (:subject, :at, :until, :note)"
        " on conflict (subject) do update set at_ms = excluded.at_ms, until_ms = excluded.until_ms,"
        " note = case when excluded.note = '' then kernel_heartbeats.note else excluded.note end",
        [{"subject": subject, "at": at_ms, "until": until_ms, "note": note} for subject in subjects],
    )


def last(tx: Tx, subject: str) -> Row | None:
    """The newest sign of life: `at_ms`, `until_ms`, `note`."""
    return tx.one(
        "select at_ms, until_ms, note from kernel_heartbeats where subject = :subject", subject=subject
    )


def last_of_each(tx: Tx, kind: str, names: Sequence[str]) -> dict[str, Row]:
    """The newest signs of life of `<kind>:<name>`, by name; whoever gave none is left out."""
    rows = tx.among(
        "select subject, at_ms, until_ms, note from kernel_heartbeats where subject in (:each)",
        [f"{kind}:{name}" for name in names],
    )
    return {row["subject"].removeprefix(f"{kind}:"): row for row in rows}


def forget(tx: Tx, *subjects: str) -> None:
    """Remove the signs of life of what ended."""
    named = {f"subject_{number}": subject for number, subject in enumerate(subjects)}
    places = ", ".join(f":{name}" for name in named)
    tx.run(f"delete from kernel_heartbeats where subject in ({places})", **named)  # noqa: S608 - names made here
