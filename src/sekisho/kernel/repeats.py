"""Idempotency keys: the same request again gets the stored answer, a different one under the same key is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from sekisho.kernel.command import Command, spec_of
from sekisho.kernel.context import Ctx
from sekisho.kernel.errors import ConflictError, SekishoError
from sekisho.kernel.facts import Actor
from sekisho.kernel.tx import Tx
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

KEPT_MS = 24 * 3600 * 1000

MISMATCH = problems.define(
    "idempotency.mismatch",
    422,
    Exit.USAGE,
    Text(
        "This idempotency key was used for a different request.",
        "この冪等キーは別の要求で使用済みです。",
    ),
)


SHOWN_ONCE = problems.define(
    "idempotency.shown_once",
    409,
    Exit.CONFLICT,
    Text(
        "This request was done; its answer held a secret that is shown only once.",
        "この要求は完了しています。回答に含まれる秘密は一度しか表示されません。",
    ),
)


def find(tx: Tx, actor: Actor, key: str, command: Command[Any], *, now_ms: int) -> bytes | None:
    """The stored answer (JSON), or None for a new or expired key; `idempotency.mismatch` for another command."""
    row = tx.one(
        "select command_digest, result from kernel_idempotency"
        " where actor = :actor and key = :key and expires_ms > :now",
        actor=actor.ref.id,
        key=key,
        now=now_ms,
    )
    if row is None:
        return None
    if row["command_digest"] != digest(command):
        raise SekishoError(MISMATCH)
    if spec_of(type(command)).shows_secret:
        raise SekishoError(SHOWN_ONCE)
    return bytes(row["result"])


def keep(ctx: Ctx, key: str, command: Command[Any], result: bytes) -> None:
    """Store the answer in the transaction that made it; of one that shows a secret only that it was given.

    `conflict` when the same request was done meanwhile: then this transaction must not take effect.
    """
    shown = not spec_of(type(command)).shows_secret
    kept = ctx.tx.run(
        "insert into kernel_idempotency (actor, key, command_digest, result, record_id, expires_ms)"
        " values (:actor, :key, :digest, :result, :record, :expires) on conflict (actor, key) do update set"
        " command_digest = excluded.command_digest, result = excluded.result,"
        " record_id = excluded.record_id, expires_ms = excluded.expires_ms"
        " where kernel_idempotency.expires_ms <= :now",
        actor=ctx.actor.ref.id,
        key=key,
        digest=digest(command),
        result=result if shown else b"",
        record=ctx.record_id,
        expires=ctx.now_ms + KEPT_MS,
        now=ctx.now_ms,
    )
    if not kept:
        raise ConflictError(what=key)


def drop_expired(tx: Tx, now_ms: int) -> None:
    """Remove the answers that are no longer given."""
    tx.run("delete from kernel_idempotency where expires_ms <= :now", now=now_ms)


def digest(command: Command[Any]) -> str:
    """Identifies what was asked: the command's type and content."""
    text = type(command).__name__.encode() + b"\n" + msgspec.json.encode(command, order="sorted")
    return hashlib.sha256(text).hexdigest()
