"""Arrays and services: one submission, many jobs of the same file.

The array itself is never placed; it stands where its members do. Each member is a job like any other, with its own
placement, evidence and outputs, and knows its number. The array's own stream names all of them and is closed once the
last one has ended. A service is an array whose members, its replicas, are begun again whenever they end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sekisho.compute import rules, tables
from sekisho.compute.endings import cancel_job, end_job
from sekisho.compute.model import CancelJob, JobState, SubmitJob
from sekisho.compute.model_rounds import CancelMembers, SettleArray
from sekisho.kernel.command import spec_of
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.evidence import Evidence
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Row, Tx

NAME_LENGTH_MAX = 63
REPLICA = "replica"
CANCELLED_AT_ONCE = 10


def add_members(ctx: Ctx, array: tables.NewJob, size: int, evidence: Mapping[str, Evidence]) -> list[str]:
    """Queue every member, each with a record in a stream of its own; their ids, in order, which is the queue's."""
    members = sorted(ctx.new_id("job") for _ in range(size))
    for index, member in enumerate(members):
        suffix = f"-{index}"
        with ctx.row(
            action=spec_of(SubmitJob).name,
            resource=Ref("Job", member),
            stream=member,
            detail={**evidence, "array": array.id, "index": index, "size": size},
        ):
            tables.insert_job(
                ctx.tx,
                msgspec.structs.replace(
                    array,
                    id=member,
                    name=array.name[: NAME_LENGTH_MAX - len(suffix)] + suffix,
                    kind=REPLICA if array.kind == "service" else "batch",
                    array=array.id,
                    index=index,
                ),
            )
            tables.add_event(ctx.tx, member, "accepted", ctx.now_ms, level=str(array.level))
    return members


def settle(ctx: Ctx, command: SettleArray) -> JobState:
    """Move an array to where its members leave it; the last one's end is its own."""
    row = _array(ctx.tx, command.job)
    counts = tables.member_counts(ctx.tx, row["id"])
    state, before = rules.array_state(counts), JobState(row["state"])
    if before.ended or state is before:
        return before
    ctx.detail(members={name.value: count for name, count in counts.items()})
    if state.ended:
        end_job(ctx, row, state, "array.member_failed" if state is JobState.FAILED else "")
    else:
        tables.move_job(ctx.tx, row["id"], state, ctx.now_ms)
        tables.add_event(ctx.tx, row["id"], state.value, ctx.now_ms)
    return state


def cancel_some(ctx: Ctx, command: CancelMembers) -> int:
    """Cancel some members now; the others follow, because agents change them all the while.

    One transaction over a thousand jobs that are under way would collide each time it is tried.
    """
    members = tables.members_to_cancel(ctx.tx, command.job, command.after, CANCELLED_AT_ONCE)
    for member in members:
        with ctx.row(
            action=spec_of(CancelJob).name,
            resource=Ref("Job", member["id"]),
            stream=member["id"],
            detail={"array": command.job, "asked": command.asked, "asked_by": command.asked_by},
        ):
            cancel_job(ctx, member)
    if len(members) == CANCELLED_AT_ONCE:
        following = msgspec.structs.replace(command, after=members[-1]["array_index"])
        ctx.later(following, dedupe=f"cancel:{command.job}")
    return len(members)


def _array(tx: Tx, job: str) -> Row:
    row = tables.find_job(tx, job, "")
    if row is None:
        raise NotFoundError(id=job)
    return row


def _target(tx: Tx, principal: Entity, command: SettleArray | CancelMembers) -> Target:
    """What changes nothing leaves no record, so none follows the end of the array's stream."""
    del tx, principal
    return Target(resource=Entity(Ref("Ledger", "queue")), stream=command.job)


def handlers() -> tuple[Handler[Any], ...]:
    """Every command about arrays."""
    return (
        Handler(SettleArray, _target, settle, lambda command: f"array:{command.job}"),
        Handler(CancelMembers, _target, cancel_some, lambda command: f"array:{command.job}"),
    )
