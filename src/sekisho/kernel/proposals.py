"""Commands that need two people: the first proposes, another approves, and only then does it happen."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.kernel.command import Command, Kind, Spec, command, spec_named
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

VALID_MS = 7 * 24 * 3600 * 1000

SAME_PERSON = problems.define(
    "proposal.same_person",
    403,
    Exit.DENIED,
    Text(
        "Two different people are needed; you made this proposal yourself.",
        "異なる2人の承認が必要です。この申請はあなた自身のものです。",
    ),
)
EXPIRED = problems.define(
    "proposal.expired",
    409,
    Exit.CONFLICT,
    Text(
        "This proposal has expired. Propose it again.", "この申請は期限切れです。もう一度申請してください。"
    ),
)


class Proposed(msgspec.Struct, frozen=True):
    """The answer to the first person: nothing has happened yet."""

    proposal: str
    action: str
    expires_ms: int


class Proposal(msgspec.Struct, frozen=True):
    """A command waiting for its second person, as its approver reads it."""

    id: str
    action: str
    command: dict[str, Any]
    proposer: str
    created_ms: int
    expires_ms: int


@command(
    "kernel.proposal.approve",
    kind=Kind.RECORDED,
    resource="Proposal",
    principals=("User",),
    ja="2人目として申請を承認し、実行します。",
)
class ApproveProposal(Command[msgspec.Raw]):
    """Approve another person's proposal; the proposed command then runs with both people on record."""

    proposal: str


@command(
    "kernel.proposal.list",
    kind=Kind.READ,
    resource="Proposal",
    principals=("User",),
    ja="2人目の承認を待つ申請を一覧します。",
)
class ListProposals(Command[list[Proposal]]):
    """List the proposals that wait for a second person."""


def propose(ctx: Ctx, spec: Spec, inner: Command[Any]) -> Proposed:
    """Keep the command for its second person."""
    row = (
        ctx.tx.one(
            "insert into kernel_proposals (id, action, command, proposer, created_ms, expires_ms, record_id)"
            " values (:id, :action, :command, :proposer, :now, :expires, :record_id)",
            id=ctx.new_id("prop"),
            action=spec.name,
            command=msgspec.json.encode(inner).decode(),
            proposer=ctx.actor.ref.id,
            now=ctx.now_ms,
            expires=ctx.now_ms + VALID_MS,
        )
        or {}
    )
    ctx.detail(proposal=row["id"])
    return Proposed(row["id"], spec.name, row["expires_ms"])


def take(tx: Tx, proposal: str) -> Row:
    """The proposal's row; NotFoundError when there is none."""
    row = tx.one("select * from kernel_proposals where id = :id", id=proposal)
    if row is None:
        raise NotFoundError(id=proposal)
    return row


def check(row: Row, approver: str, now_ms: int) -> None:
    """Refuse, before anything is decided, the same person again and a proposal that is too old."""
    if row["proposer"] == approver:
        raise SekishoError(SAME_PERSON)
    if row["expires_ms"] <= now_ms:
        raise SekishoError(EXPIRED)


def settle(ctx: Ctx, row: Row) -> None:
    """Remove a proposal that is being done."""
    ctx.tx.run("delete from kernel_proposals where id = :id", id=row["id"])


def inner_command(row: Row) -> Command[Any]:
    """The proposed command, decoded again with today's types."""
    spec = spec_named(row["action"])
    if spec is None:
        raise NotFoundError(id=row["id"])
    return msgspec.json.decode(row["command"].encode(), type=spec.command)


def _list_target(_tx: Tx, principal: Entity, _command: ListProposals) -> Target:
    return Target(resource=Entity(Ref("Proposal", "all")), stream=principal.ref.id)


def _list(ctx: Ctx, _command: ListProposals) -> list[Proposal]:
    rows = ctx.tx.all("select * from kernel_proposals order by id desc limit 200")
    return [
        Proposal(
            row["id"],
            row["action"],
            msgspec.json.decode(row["command"].encode()),
            row["proposer"],
            row["created_ms"],
            row["expires_ms"],
        )
        for row in rows
    ]


def handlers() -> tuple[Handler[Any], ...]:
    """The kernel's own commands; approving is done by the gate itself."""
    return (Handler(ListProposals, _list_target, _list),)
