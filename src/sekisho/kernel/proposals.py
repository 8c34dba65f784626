"""Commands that need two people: the first proposes, another approves, and only then does it happen.

A command that names its approvers (`Consent`) waits for all of them. They need not be let do the same themselves: the
charter is asked whether they may approve, and once more, with them in the context, whether the proposer may do it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sekisho.kernel.command import Command, Kind, Spec, command, spec_named
from sekisho.kernel.context import Consent, Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.evidence import Evidence
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho_verify import canonical
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

CHANGED = problems.define(
    "proposal.changed",
    409,
    Exit.CONFLICT,
    Text(
        "What this proposal is about is not what you read, or has changed since. Read it again.",
        "申請の内容が、確認されたものと異なるか、申請後に変わりました。もう一度確認してください。",
    ),
)
TWICE = problems.define(
    "proposal.approved_already",
    409,
    Exit.CONFLICT,
    Text("You approved this proposal already.", "この申請は、すでに承認しています。"),
)

APPROVE = "kernel.proposal.approve"
ORDINARY, NAMED = "all", "named"
"""Ids of the resource of both commands: every proposal, or those alone that name whoever asks."""


class Proposed(msgspec.Struct, frozen=True):
    """Nothing has happened yet. `waiting` are the named people who still have to approve; empty: any second person."""

    proposal: str
    action: str
    expires_ms: int
    waiting: tuple[str, ...] = ()


class Proposal(msgspec.Struct, frozen=True):
    """A command waiting for its approvers, as they read it; `binding` is the digest of all that they approve.

    `approvers` are the people whom the command names, `approved` those of them who said yes.
    """

    id: str
    action: str
    command: dict[str, Any]
    proposer: str
    created_ms: int
    expires_ms: int
    binding: str = ""
    approvers: tuple[str, ...] = ()
    approved: tuple[str, ...] = ()


@command(
    "kernel.proposal.approve",
    kind=Kind.RECORDED,
    resource="Proposal",
    principals=("User",),
    ja="2人目として申請を承認し、実行します。",
)
class ApproveProposal(Command[msgspec.Raw]):
    """Approve another person's proposal; the command runs with all on record once nobody is waited for."""

    proposal: str
    binding: str = ""
    """Digest of what was read; where the proposal names its approvers, it must be given."""


@command(
    "kernel.proposal.list",
    kind=Kind.READ,
    resource="Proposal",
    principals=("User",),
    ja="2人目の承認を待つ申請を一覧します。",
)
class ListProposals(Command[list[Proposal]]):
    """List the proposals that wait for a second person."""


def propose(ctx: Ctx, spec: Spec, inner: Command[Any], consent: Consent[Any] | None = None) -> Proposed:
    """Keep the command for the people who approve it; raises what `consent` has against them."""
    named: tuple[str, ...] = ()
    if consent is not None:
        consent.check(ctx.tx, ctx.principal, inner)
        named = consent.named(inner)
    row = (
        ctx.tx.one(
            "insert into kernel_proposals"
            " (id, action, command, proposer, created_ms, expires_ms, approvers, binding, record_id)"
            " values (:id, :action, :command, :proposer, :now, :expires, :approvers, :binding, :record_id)",
            id=ctx.new_id("prop"),
            action=spec.name,
            command=msgspec.json.encode(inner).decode(),
            proposer=ctx.actor.ref.id,
            now=ctx.now_ms,
            expires=ctx.now_ms + (consent.valid_ms if consent else VALID_MS),
            approvers=msgspec.json.encode(named).decode() if consent else None,
            binding=binding_of(ctx.tx, spec, inner, consent),
        )
        or {}
    )
    ctx.detail(proposal=row["id"], binding=row["binding"])
    if consent is not None:
        ctx.detail(**bound(ctx.tx, inner, consent), named=[*named])
    return Proposed(row["id"], spec.name, row["expires_ms"], named)


def bound(tx: Tx, inner: Command[Any], consent: Consent[Any]) -> dict[str, Evidence]:
    """What the named people say yes to, as evidence."""
    return dict(consent.bound(tx, inner))


def binding_of(tx: Tx, spec: Spec, inner: Command[Any], consent: Consent[Any] | None) -> str:
    """The digest of a command with everything it is about that its approvers rely on."""
    about: dict[str, Evidence] = bound(tx, inner, consent) if consent else {}
    asked = msgspec.json.encode(inner, order="sorted").decode()
    return canonical.digest(canonical.encode({"action": spec.name, "command": asked, "about": about}))


def find(tx: Tx, proposal: str) -> Row | None:
    """The proposal's row, while it waits."""
    return tx.one("select * from kernel_proposals where id = :id", id=proposal)


def check(row: Row, approver: str, now_ms: int) -> None:
    """Refuse, before anything is decided, the same person again and a proposal that is too old."""
    if row["proposer"] == approver:
        raise SekishoError(SAME_PERSON)
    if row["expires_ms"] <= now_ms:
        raise SekishoError(EXPIRED)


def named_target(approver: Entity) -> Target:
    """What somebody is asked about who approves a proposal that names them; the evidence goes to their organisation."""
    org = approver.attributes.get("org")
    stream = org.id if isinstance(org, Ref) else approver.ref.id
    return Target(resource=Entity(Ref("Proposal", NAMED)), stream=stream)


def check_named(tx: Tx, row: Row, binding: str, approver: str, *, now_ms: int) -> None:
    """Refuse whoever is not named (for them there is no such proposal), the same person again, and one too old.

    Also an approval of something else than what was proposed, and a second one by the same person.
    """
    if approver != row["proposer"] and approver not in named_in(row):
        raise NotFoundError(id=row["id"])
    check(row, approver, now_ms)
    if binding != row["binding"]:
        raise SekishoError(CHANGED)
    if approver in approved_by(tx, row["id"]):
        raise SekishoError(TWICE)


def recheck(
    tx: Tx, row: Row, consent: Consent[Any] | None, *, asked: tuple[Spec, Command[Any]], proposer: Entity
) -> dict[str, Evidence]:
    """That a proposal is about what it was about, and its people will still do; answers what they say yes to."""
    spec, inner = asked
    if consent is None or binding_of(tx, spec, inner, consent) != row["binding"]:
        raise SekishoError(CHANGED)
    consent.check(tx, proposer, inner)
    return {"proposal": row["id"], "binding": row["binding"], **bound(tx, inner, consent)}


def named_in(row: Row) -> tuple[str, ...]:
    """The people whom a proposal names; none for one that any second person may approve."""
    return tuple(msgspec.json.decode(row["approvers"])) if row["approvers"] is not None else ()


def approved_by(tx: Tx, proposal: str) -> list[str]:
    """Who approved so far, in the order of approval."""
    rows = tx.all(
        "select approver from kernel_approvals where proposal = :proposal order by id", proposal=proposal
    )
    return [row["approver"] for row in rows]


def keep_approval(ctx: Ctx, row: Row) -> None:
    """One of several people said yes."""
    ctx.tx.run(
        "insert into kernel_approvals (id, proposal, approver, approved_ms, record_id)"
        " values (:id, :proposal, :approver, :now, :record_id)",
        id=ctx.new_id("apv"),
        proposal=row["id"],
        approver=ctx.actor.ref.id,
        now=ctx.now_ms,
    )


def settle(ctx: Ctx, row: Row) -> None:
    """Remove a proposal that is being done."""
    ctx.tx.run("delete from kernel_approvals where proposal = :id", id=row["id"])
    ctx.tx.run("delete from kernel_proposals where id = :id", id=row["id"])


def inner_command(row: Row) -> Command[Any]:
    """The proposed command, decoded again with today's types."""
    spec = spec_named(row["action"])
    if spec is None:
        raise NotFoundError(id=row["id"])
    return msgspec.json.decode(row["command"].encode(), type=spec.command)


def proposed(row: Row, waiting: Iterable[str]) -> Proposed:
    """The answer while people are still waited for."""
    return Proposed(row["id"], row["action"], row["expires_ms"], tuple(waiting))


def _list_target(_tx: Tx, principal: Entity, _command: ListProposals) -> Target:
    return Target(resource=Entity(Ref("Proposal", NAMED)), stream=principal.ref.id)


def _list(ctx: Ctx, _command: ListProposals) -> list[Proposal]:
    """Those that name people go to these and to their proposer; the others to whom the charter shows them all."""
    rows = ctx.tx.all("select * from kernel_proposals order by id desc limit 200")
    ordinary, person = ctx.allows(ListProposals, Entity(Ref("Proposal", ORDINARY))), ctx.actor.ref.id
    return [
        Proposal(
            row["id"],
            row["action"],
            msgspec.json.decode(row["command"].encode()),
            row["proposer"],
            row["created_ms"],
            row["expires_ms"],
            row["binding"] or "",
            named_in(row),
            tuple(approved_by(ctx.tx, row["id"])),
        )
        for row in rows
        if (ordinary if row["approvers"] is None else person in {row["proposer"], *named_in(row)})
    ]


def handlers() -> tuple[Handler[Any], ...]:
    """The kernel's own commands; approving is done by the gate itself."""
    return (Handler(ListProposals, _list_target, _list),)
