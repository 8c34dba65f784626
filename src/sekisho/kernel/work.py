"""Durable background work: a command that waits in the database until somebody does it.

Claim, work, apply: a short transaction claims a row with a lease token; the command then runs through the gate
like any other, and its transaction removes the row only while the token still matches. So work is done at least
once and takes effect exactly once; a command with outside effects must bear a repeat.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from sekisho.kernel.command import Command, Spec, spec_named, spec_of
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Tx
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

LEASE_MS = 30_000
"""Longer than any background command takes; what a killed server leaves untouched."""
RETRY_MS_MAX = 300_000
ASIDE_MS = 3_600_000

LEASE_LOST = problems.define(
    "work.lease_lost",
    409,
    Exit.CONFLICT,
    Text(
        "Somebody else took over this piece of background work.", "この処理は別のプロセスが引き継ぎました。"
    ),
)


class Claim(msgspec.Struct, frozen=True):
    """One piece of work, held until the lease ends."""

    id: str
    token: str
    command: Command[Any]
    tries: int


def enqueue(tx: Tx, command: Command[Any], *, due_ms: int, dedupe: str, now_ms: int) -> None:
    """Put a command into the queue; with a `dedupe` name that already waits, only an earlier due time counts."""
    tx.run(
        "insert into kernel_work (id, action, payload, dedupe, due_ms, tries)"
        " values (:id, :action, :payload, :dedupe, :due_ms, 0)"
        " on conflict (dedupe) do update set due_ms ="
        " case when excluded.due_ms < kernel_work.due_ms then excluded.due_ms else kernel_work.due_ms end",
        id=new_id("wrk", now_ms),
        action=spec_of(type(command)).name,
        payload=msgspec.json.encode(command).decode(),
        dedupe=dedupe or None,
        due_ms=due_ms,
    )


def claim(tx: Tx, now_ms: int) -> Claim | None:
    """Take the longest-due piece that nobody holds, or None."""
    row = tx.one(
        "update kernel_work set lease_token = :token, lease_until_ms = :until, tries = tries + 1 where id = ("
        " select id from kernel_work where due_ms <= :now and (lease_until_ms is null or lease_until_ms < :now)"
        f" order by due_ms, id limit 1{tx.for_update()}) returning id, action, payload, tries",
        token=secrets.token_hex(8),
        until=now_ms + LEASE_MS,
        now=now_ms,
    )
    if row is None:
        return None
    token = tx.one("select lease_token from kernel_work where id = :id", id=row["id"])
    spec = spec_named(row["action"])
    command = _decode(row["payload"], spec) if spec else None
    if command is None or token is None:
        # Written by another version of this program: set aside for it, in nobody's way.
        _set_aside(tx, row["id"], "unreadable", now_ms)
        return None
    return Claim(row["id"], token["lease_token"], command, row["tries"])


def _decode(payload: str, spec: Spec) -> Command[Any] | None:
    try:
        return msgspec.json.decode(payload.encode(), type=spec.command)
    except msgspec.MsgspecError:
        return None


def _set_aside(tx: Tx, piece: str, error: str, now_ms: int) -> None:
    tx.run(
        "update kernel_work set lease_token = null, lease_until_ms = null, last_error = :error, due_ms = :due"
        " where id = :id",
        id=piece,
        error=error,
        due=now_ms + ASIDE_MS,
    )


def finish(tx: Tx, held: Claim) -> None:
    """Remove the piece in the transaction that did it; `work.lease_lost` when the token moved on."""
    if not tx.run(
        "delete from kernel_work where id = :id and lease_token = :token", id=held.id, token=held.token
    ):
        raise SekishoError(LEASE_LOST)


def put_back(tx: Tx, held: Claim, error: str, now_ms: int) -> None:
    """After a failure: try again later, twice as late each time."""
    tx.run(
        "update kernel_work set lease_token = null, lease_until_ms = null, last_error = :error, due_ms = :due"
        " where id = :id and lease_token = :token",
        id=held.id,
        token=held.token,
        error=error[:200],
        due=now_ms + min(RETRY_MS_MAX, 1000 << min(held.tries, 16)),
    )


def next_due_ms(tx: Tx) -> int | None:
    """When the next piece falls due, leases counted; None when nothing waits."""
    row = tx.one(
        "select min(case when lease_until_ms is not null and lease_until_ms > due_ms then lease_until_ms"
        " else due_ms end) as due_ms from kernel_work"
    )
    return None if row is None else row["due_ms"]
