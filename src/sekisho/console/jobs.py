"""Pages of jobs: the list, one job, one attempt, cancelling."""

from __future__ import annotations

import functools
from typing import Any
from urllib.parse import urlencode

import msgspec

from sekisho.compute import CancelJob, JobDetail, JobState, JobView, ListJobs, ReadLog, ShowJob
from sekisho.console import forms, jobparts, logs
from sekisho.console.asked import Answer, Page, Redirect
from sekisho.console.drawing import say
from sekisho.console.visit import Part, Visit
from sekisho.kernel.errors import NotFoundError

ROWS = 50
ATTEMPT_LINES = 50
LOG_LEVEL_MAX = 1
"""Above this a job's log stays at its site, so there is nothing here to ask for."""
_NUMBER_LENGTH_MAX = 5


def listing(visit: Visit) -> Answer:
    """Jobs newest first, 50 to a page; the filter lives in the address, so a filtered list is a link."""
    query = visit.asked.query
    state, mine = query.get("state", ""), query.get("mine", "") == "1"
    chosen = JobState(state) if state in set(JobState) else None
    found = visit.ask(ListJobs(state=chosen, mine=mine, cursor=query.get("cursor", ""), limit=ROWS))
    kept = {name: value for name, value in (("state", state), ("mine", "1" if mine else "")) if value}
    return Page(
        template="jobs.html",
        title=say(visit.language, "jobs.title"),
        nav="jobs",
        data=found,
        command="sekisho jobs --json",
        values={
            "jobs": found.items,
            "states": [one.value for one in JobState],
            "chosen": chosen.value if chosen else "",
            "mine": mine,
            "filtered": bool(kept) or "cursor" in query,
            "next": f"/jobs?{urlencode({**kept, 'cursor': found.next})}" if found.next else "",
            "reason": functools.partial(jobparts.sentence, visit.language),
            "answer": _answer(visit, found.items),
        },
    )


def _answer(visit: Visit, jobs: list[JobView]) -> str:
    states = [job.state for job in jobs]
    going = sum(state in {JobState.STAGING, JobState.STARTING, JobState.RUNNING} for state in states)
    waiting, failed = states.count(JobState.WAITING), states.count(JobState.FAILED)
    return say(visit.language, "jobs.answer", going=going, waiting=waiting, failed=failed)


def show(visit: Visit) -> Answer:
    """One job: what it is doing, why there, and what can be proven of it."""
    detail = visit.ask(ShowJob(job=visit.asked.path["job"]))
    log = read_log(visit, detail)
    job = detail.job
    return Page(
        template="job.html",
        title=job.name,
        nav="jobs",
        data=detail,
        command=f"sekisho job show {job.id} --json",
        stream=""
        if job.state.ended
        else f"/jobs/{job.id}/live?after={log.value.position if log.there else ''}",
        values={**jobparts.values(visit, detail), "log": log, "file": detail.file},
    )


def read_log(visit: Visit, detail: JobDetail) -> Part:
    """The newest lines of the newest attempt's log, or why they cannot be shown."""
    if detail.job.level > LOG_LEVEL_MAX or not detail.attempts:
        return Part(logs.Tail(number=len(detail.attempts)))
    number = detail.attempts[-1].number
    first = visit.part(ReadLog(job=detail.job.id, attempt=number))
    if not first.there:
        return first
    return Part(logs.tail(visit.ask, detail.job.id, number, first.value))


def attempt(visit: Visit) -> Answer:
    """One try at one site: how it ended first, then the last lines of its log and its wall."""
    detail = visit.ask(ShowJob(job=visit.asked.path["job"]))
    text = visit.asked.path["number"]
    number = int(text) if text.isdecimal() and len(text) <= _NUMBER_LENGTH_MAX else 0
    one = next((found for found in detail.attempts if found.number == number), None)
    if one is None:
        raise NotFoundError(id=visit.asked.page[:100])
    narrowed = msgspec.structs.replace(detail, attempts=[one])
    log = read_log(visit, narrowed)
    if log.there:
        log = Part(msgspec.structs.replace(log.value, lines=log.value.lines[-ATTEMPT_LINES:]))
    values: dict[str, Any] = {
        "job": detail.job,
        "one": one,
        "log": log,
        "usage": jobparts.usage(one),
        "egress": {"reached": jobparts.reached(one)},
        "ending": jobparts.Ending(visit.language),
    }
    return Page(
        template="attempt.html",
        title=f"{detail.job.name} - {say(visit.language, 'attempt.title', n=number)}",
        nav="jobs",
        data=one,
        command=f"sekisho job attempts {detail.job.id} --json",
        values=values,
    )


def ask_cancel(visit: Visit) -> Answer:
    """The question before cancelling, on a page of its own."""
    detail = visit.ask(ShowJob(job=visit.asked.path["job"]))
    return Page(
        template="cancel.html",
        title=say(visit.language, "cancel.title", name=detail.job.name),
        nav="jobs",
        values={"job": detail.job, "once": forms.new_once()},
        command=f"sekisho cancel {detail.job.id}",
    )


def cancel(visit: Visit) -> Answer:
    """Cancel, and show the job."""
    job = visit.ask(CancelJob(job=visit.asked.path["job"]), once=forms.once_of(visit.field(forms.ONCE)))
    return Redirect(f"/jobs/{job.id}")
