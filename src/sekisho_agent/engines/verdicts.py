"""When a task of a scheduler has ended, and what must be done about it: pure, from what is known at one moment.

Three know something: the wrapper inside the job (which may be cut off), the scheduler (which may be away, or start the
job again), and the agent (which holds the lease). A task may only be called ended when nothing of it can still run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from sekisho_agent.engines.contract import EndReport
from sekisho_wire.messages import (
    REASON_ENGINE_ENDED,
    REASON_ENGINE_GONE,
    REASON_ENGINE_QUEUE,
    REASON_ENGINE_REQUEUED,
    REASON_LEASE_LOST,
    REASON_PEERS_MISSING,
)

SETTLE_SECONDS: Final = 3.0
"""How long a shared file system may take to show the last word of a job that is gone."""
PATIENCE_SECONDS: Final = 15.0
"""How long a job may take to obey, beyond the grace it was given, before the scheduler is told to end it."""


TOGETHER_SECONDS_MAX: Final = 90.0
"""How long the wrapper of a gang's last node may come after that of the first."""


class NativeJob(msgspec.Struct, frozen=True):
    """A job as the scheduler sees it. `reason` is ours, once it is gone; `said` is the scheduler's own word.

    `sure` tells that the scheduler has seen every process of it end: a node that does not answer may still run it.
    `attempt` is whose job it is, from a scheduler that may give the same id to another. `nodes` are the names of the
    machines (or pods) that it gave to a job of several, with the address of each where the scheduler says it.
    """

    phase: Literal["queued", "running", "gone"]
    reason: str = ""
    said: str = ""
    restarts: int = 0
    sure: bool = True
    attempt: str = ""
    nodes: Mapping[str, str] = {}


UNKNOWN: Final = NativeJob(
    "gone", reason=REASON_ENGINE_GONE, said="the scheduler does not know the job", sure=False
)


class View(msgspec.Struct, frozen=True):
    """All that is known of one wrapper; times are in seconds, ages count from the event, `*_left` until it.

    In a gang each node's wrapper has a view of its own; `alone_age` is how long the first of the others has been up.
    `silent_age` counts from the wrapper's last word.
    `answered_left` is what remains of the last lease that the wrapper was given, with the time it needs to end.
    """

    job: NativeJob
    claimed: bool
    told: EndReport | None = None
    told_age: float = 0.0
    silent_age: float = 60.0
    gone_age: float = 0.0
    queued_age: float = 0.0
    queue_max: float = 86_400.0
    lease_left: float = 60.0
    answered_left: float = 0.0
    cancel: str = ""
    cancel_age: float = 0.0
    cancel_grace: float = 0.0
    alone_age: float = 0.0


class Verdict(msgspec.Struct, frozen=True):
    """`end` is final; `order` is a reason to end it for; `press` asks the scheduler to end the job."""

    end: EndReport | None = None
    order: str = ""
    press: bool = False


def judge(view: View) -> Verdict:
    """What holds now; an empty verdict means: go on."""
    if view.told is not None:
        return _told(view, view.told)
    if view.job.phase == "gone":
        return _gone(view)
    if view.claimed and view.job.restarts:
        return _requeued(view)
    if view.cancel:
        overdue = view.cancel_age > view.cancel_grace + PATIENCE_SECONDS
        return Verdict(press=overdue or not view.claimed)
    if view.lease_left <= 0:
        return Verdict(order=REASON_LEASE_LOST)
    if not view.claimed and view.queued_age > view.queue_max:
        return Verdict(order=REASON_ENGINE_QUEUE)
    if not view.claimed and view.alone_age > TOGETHER_SECONDS_MAX:
        return Verdict(order=REASON_PEERS_MISSING)
    return Verdict()


def _told(view: View, told: EndReport) -> Verdict:
    """The wrapper knows best, except why the engine ended the job: that is for the scheduler to say."""
    if told.reason != REASON_ENGINE_ENDED:
        return Verdict(end=told)
    if view.cancel:
        return Verdict(end=msgspec.structs.replace(told, reason=view.cancel))
    if view.job.restarts:
        return Verdict(end=_because(told, REASON_ENGINE_REQUEUED, view.job.said))
    if view.job.phase == "gone" and view.job.reason:
        return Verdict(end=_because(told, view.job.reason, view.job.said))
    return Verdict(end=told) if view.told_age > PATIENCE_SECONDS else Verdict()


def _gone(view: View) -> Verdict:
    """Gone without a word. What was never begun has ended; what was begun may have to be waited for.

    A wrapper that still speaks runs, whatever the scheduler says: it may be that of a job which was submitted twice.
    """
    reason = view.cancel or view.job.reason or REASON_ENGINE_GONE
    end = EndReport(reason=reason, detail=view.job.said)
    if not view.claimed:
        return Verdict(end=end)
    over = view.answered_left <= 0
    settled = view.job.sure and min(view.gone_age, view.silent_age) > SETTLE_SECONDS
    return Verdict(end=end if over or settled else None)


def _requeued(view: View) -> Verdict:
    """The scheduler starts it again by itself: the charter was not asked, so this attempt is over."""
    if view.answered_left > 0:
        return Verdict(press=True)
    return Verdict(end=EndReport(reason=view.cancel or REASON_ENGINE_REQUEUED, detail=view.job.said))


def _because(told: EndReport, reason: str, said: str) -> EndReport:
    return msgspec.structs.replace(told, reason=reason, detail=said)
