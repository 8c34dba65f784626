"""Denials are evidence, but a script that asks ten times a second must not fill the log with the same no."""

from __future__ import annotations

import msgspec

from sekisho.kernel.facts import Actor
from sekisho.kernel.tx import Tx

WINDOW_MS = 60_000
KEPT_MS = 24 * 3600 * 1000


class Noted(msgspec.Struct, frozen=True):
    """The record that stands for this denial, and how many unrecorded ones it also counts."""

    record: str
    repeats: int


def note(tx: Tx, what: tuple[Actor, str, tuple[str, ...]], *, record_id: str, now_ms: int) -> Noted:
    """Count one denial: who, which action, which rules. `record_id` is that of the record that would be written.

    The first of an actor, action and set of rules is recorded at once; repeats within a minute are counted and
    go into the next record.
    """
    actor, action, rules = what
    key = {"actor": actor.ref.id, "action": action, "rules": " ".join(rules)}
    row = tx.one(
        "select * from kernel_denials where actor = :actor and action = :action and rules = :rules", **key
    )
    if row is not None and now_ms - row["recorded_ms"] < WINDOW_MS:
        tx.run(
            "update kernel_denials set repeats = repeats + 1"
            " where actor = :actor and action = :action and rules = :rules",
            **key,
        )
        return Noted(row["record"], 0)
    tx.run(
        "insert into kernel_denials (actor, action, rules, record, recorded_ms, repeats)"
        " values (:actor, :action, :rules, :record, :now, 0)"
        " on conflict (actor, action, rules) do update set record = :record, recorded_ms = :now, repeats = 0",
        record=record_id,
        now=now_ms,
        **key,
    )
    return Noted(record_id, row["repeats"] if row else 0)


def drop_old(tx: Tx, now_ms: int) -> None:
    """Forget denials recorded a day ago; what was counted since and never recorded goes with them."""
    tx.run("delete from kernel_denials where recorded_ms <= :old", old=now_ms - KEPT_MS)
