"""When a scheduler's task has ended: never while something of it may still run, and always in the end."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent.engines.contract import EndReport
from sekisho_agent.engines.verdicts import (
    PATIENCE_SECONDS,
    SETTLE_SECONDS,
    UNKNOWN,
    NativeJob,
    Verdict,
    View,
    judge,
)

RUNNING, QUEUED = NativeJob("running", said="RUNNING"), NativeJob("queued", said="Resources")
KILLED = NativeJob("gone", reason="engine.cancelled", said="CANCELLED")
NODE_FAILED = NativeJob("gone", reason="engine.node_failed", said="NODE_FAIL", sure=False)
FINISHED, ENGINE_ENDED = (
    EndReport(reason="finished", exit_status=0),
    EndReport(reason="engine.ended", exit_status=75),
)

ages = st.floats(0, 200)
jobs = st.sampled_from(
    [RUNNING, QUEUED, KILLED, NODE_FAILED, UNKNOWN, msgspec.structs.replace(RUNNING, restarts=1)]
)
views = st.builds(
    View,
    job=jobs,
    claimed=st.booleans(),
    told=st.sampled_from([None, FINISHED, ENGINE_ENDED]),
    told_age=ages,
    gone_age=ages,
    queued_age=ages,
    queue_max=st.just(100.0),
    lease_left=st.floats(-100, 100),
    answered_left=st.floats(-100, 100),
    cancel=st.sampled_from(["", "job.cancelled"]),
    cancel_age=ages,
    cancel_grace=st.floats(0, 20),
)


@pytest.mark.parametrize(
    ("view", "verdict"),
    [
        (View(job=RUNNING, claimed=True), Verdict()),
        (View(job=QUEUED, claimed=False), Verdict()),
        (View(job=RUNNING, claimed=True, told=FINISHED), Verdict(end=FINISHED)),
        (View(job=RUNNING, claimed=True, lease_left=0), Verdict(order="lease.lost")),
        (View(job=QUEUED, claimed=False, queued_age=5, queue_max=4), Verdict(order="engine.queue_too_long")),
        (View(job=RUNNING, claimed=True, queued_age=5, queue_max=4), Verdict()),
        (View(job=QUEUED, claimed=False, cancel="job.cancelled"), Verdict(press=True)),
        (View(job=RUNNING, claimed=True, cancel="job.cancelled"), Verdict()),
        (
            View(
                job=RUNNING,
                claimed=True,
                cancel="job.cancelled",
                cancel_age=PATIENCE_SECONDS + 6,
                cancel_grace=5,
            ),
            Verdict(press=True),
        ),
        (
            View(job=KILLED, claimed=False, cancel="job.cancelled"),
            Verdict(end=EndReport(reason="job.cancelled", detail="CANCELLED")),
        ),
        (View(job=KILLED, claimed=True, answered_left=9, gone_age=SETTLE_SECONDS), Verdict()),
        (
            View(job=KILLED, claimed=True, answered_left=9, gone_age=SETTLE_SECONDS + 1),
            Verdict(end=EndReport(reason="engine.cancelled", detail="CANCELLED")),
        ),
        (View(job=NODE_FAILED, claimed=True, answered_left=1, gone_age=100), Verdict()),
        (
            View(job=NODE_FAILED, claimed=True, answered_left=0),
            Verdict(end=EndReport(reason="engine.node_failed", detail="NODE_FAIL")),
        ),
        (View(job=RUNNING, claimed=True, told=ENGINE_ENDED), Verdict()),
        (
            View(job=RUNNING, claimed=True, told=ENGINE_ENDED, told_age=PATIENCE_SECONDS + 1),
            Verdict(end=ENGINE_ENDED),
        ),
        (
            View(job=KILLED, claimed=True, told=ENGINE_ENDED),
            Verdict(end=EndReport(reason="engine.cancelled", detail="CANCELLED", exit_status=75)),
        ),
        (
            View(job=msgspec.structs.replace(QUEUED, restarts=1), claimed=True, told=ENGINE_ENDED),
            Verdict(end=EndReport(reason="engine.requeued", detail="Resources", exit_status=75)),
        ),
        (
            View(job=KILLED, claimed=True, told=ENGINE_ENDED, cancel="job.cancelled"),
            Verdict(end=EndReport(reason="job.cancelled", exit_status=75)),
        ),
        (
            View(job=msgspec.structs.replace(RUNNING, restarts=1), claimed=True, answered_left=1),
            Verdict(press=True),
        ),
        (
            View(job=msgspec.structs.replace(RUNNING, restarts=1), claimed=True),
            Verdict(end=EndReport(reason="engine.requeued", detail="RUNNING")),
        ),
    ],
)
def test_each_story_has_its_verdict(view: View, verdict: Verdict) -> None:
    assert judge(view) == verdict


@given(views)
def test_nothing_is_called_ended_that_may_still_run(view: View) -> None:
    verdict = judge(view)
    if verdict.end is None or view.told is not None or not view.claimed:
        return
    surely_dead = view.job.phase == "gone" and view.job.sure and view.gone_age > SETTLE_SECONDS
    assert surely_dead or view.answered_left <= 0


@given(views)
def test_once_every_clock_has_run_out_there_is_an_end_or_something_to_do(view: View) -> None:
    late = msgspec.structs.replace(
        view,
        told_age=1e6,
        gone_age=1e6,
        queued_age=1e6,
        lease_left=-1e6,
        answered_left=-1e6,
        cancel_age=1e6,
    )
    verdict = judge(late)
    assert verdict.end or verdict.order or verdict.press


@given(views)
def test_whoever_asked_for_the_end_is_named_as_its_reason(view: View) -> None:
    verdict = judge(view)
    if verdict.end is not None and view.cancel and view.told is not FINISHED:
        assert verdict.end.reason == view.cancel
