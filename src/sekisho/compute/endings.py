"""How a job comes to its end, whoever brought it there."""

from __future__ import annotations

from sekisho.compute import tables
from sekisho.compute.model import AttemptState, JobState
from sekisho.compute.model_rounds import PlaceRound, SettleArray
from sekisho.kernel import heartbeats
from sekisho.kernel.context import Ctx
from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import CloseStream


def told_offer(attempt: str) -> str:
    """Under which name it is kept when an attempt's offer was handed out last."""
    return f"offer:{attempt}"


def told_cancel(attempt: str) -> str:
    """Under which name it is kept when an attempt's agent was told last to cancel it."""
    return f"cancel:{attempt}"


def forget_attempt(tx: Tx, attempt: str) -> None:
    """Nobody is asked any more when an ended attempt was heard last, or what its agent was told."""
    heartbeats.forget(tx, f"attempt:{attempt}", told_offer(attempt), told_cancel(attempt))


def end_job(ctx: Ctx, row: Row, state: JobState, reason: str) -> None:
    """Move a job to an end, and close its evidence stream once the record is in; its array looks at itself again."""
    job = row["id"]
    tables.move_job(ctx.tx, job, state, ctx.now_ms, reason=reason)
    tables.add_event(ctx.tx, job, state.value, ctx.now_ms, reason=reason)
    ctx.later(CloseStream(stream=job, resource_type="Job", resource_id=job), dedupe=f"close:{job}")
    ctx.later(PlaceRound(), dedupe="place")
    settle_later(ctx, row)


def cancel_job(ctx: Ctx, row: Row) -> None:
    """End a job that waits at once; tell the site of one that runs."""
    active = tables.active_of_job(ctx.tx, row["id"])
    if active is not None and AttemptState(active["state"]) is not AttemptState.OFFERED:
        mark_cancelling(ctx, row)
        return
    if active is not None:
        tables.move_attempt(ctx.tx, active["id"], AttemptState.CANCELLED, ctx.now_ms, reason="job.cancelled")
        forget_attempt(ctx.tx, active["id"])
    end_job(ctx, row, JobState.CANCELLED, "job.cancelled")


def mark_cancelling(ctx: Ctx, row: Row) -> None:
    """Somebody asked; once is enough."""
    if not row["cancelling"]:
        tables.mark_cancelling(ctx.tx, row["id"], ctx.now_ms)
        tables.add_event(ctx.tx, row["id"], "cancelling", ctx.now_ms)


def settle_later(ctx: Ctx, row: Row) -> None:
    """A member moved: its array, if it has one, is told after this commit."""
    if row["array_job"]:
        ctx.later(SettleArray(job=row["array_job"]), dedupe=f"settle:{row['array_job']}")
