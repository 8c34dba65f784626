"""The overview: whether anything is wrong and is yours to mend, five numbers, sites and the map; and search."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.compute import JobPage, JobState, ListJobs, ShowJob
from sekisho.console import japan, places, shapes
from sekisho.console.asked import Answer, Page, Redirect
from sekisho.console.drawing import say
from sekisho.console.visit import Part, Visit
from sekisho.data import ShowDataset
from sekisho.kernel.command import Command
from sekisho.kernel.ids import is_id
from sekisho.kernel.proposals import ListProposals
from sekisho.ledger import ShowCheckpoint
from sekisho.sites import ShowSite

COUNT_MAX = 200
"""Jobs looked at for a number; beyond it the number says "or more"."""
RECENT = 8
NEEDS_MAX = 5
FAILED_MS = 24 * 3600 * 1000


class Need(msgspec.Struct, frozen=True):
    """Something that waits for whoever looks, and where it is mended."""

    text: str
    action: str
    link: str


class Number(msgspec.Struct, frozen=True):
    """One of the numbers; `grade` where the number is somebody's word."""

    value: str
    text: str
    grade: str = ""


def overview(visit: Visit) -> Answer:
    """The answer first, then what it rests on. A number that cannot be had is left out, not made up."""
    jobs = visit.part(ListJobs(limit=RECENT))
    waiting = visit.part(ListJobs(state=JobState.WAITING, limit=COUNT_MAX))
    running = visit.part(ListJobs(state=JobState.RUNNING, limit=COUNT_MAX))
    seen = list(visit.sites.values())
    rows = places.site_rows(visit, [site for site in seen if not site.control])
    needs = [*_forbidden(visit, waiting), *_failed(visit), *_silent(visit, rows), *_proposals(visit)]
    key = "overview.busy" if needs else "overview.calm"
    numbers = _numbers(visit, (running, waiting), rows)
    return Page(
        template="overview.html",
        title=say(visit.language, "overview.title"),
        nav="overview",
        command="sekisho status --json",
        data={
            "needs": needs,
            "numbers": numbers,
            "sites": seen,
            "jobs": jobs.value.items if jobs.there else [],
        },
        values={
            "answer": say(visit.language, key, n=len(needs)),
            "needs": needs[:NEEDS_MAX],
            "numbers": numbers,
            "jobs": jobs,
            "site_rows": rows,
            "map": japan.draw(seen, visit.asked.now_ms),
        },
    )


def search(visit: Visit) -> Answer:
    """Straight to what an id or a name stands for; a page that says how to search when there is no such thing."""
    text = visit.asked.query.get("q", "").strip()[:100]
    for prefix, path in (("rec", "/ledger"), ("job", "/jobs"), ("site", "/sites"), ("ds", "/data")):
        if is_id(text, prefix):
            return Redirect(f"{path}/{text}")
    commands: list[tuple[str, Command[Any]]] = (
        [("/sites", ShowSite(site=text)), ("/jobs", ShowJob(job=text)), ("/data", ShowDataset(dataset=text))]
        if text
        else []
    )
    for path, command in commands:
        found = visit.part(command)
        if found.there:
            view = getattr(found.value, "job", found.value)
            return Redirect(f"{path}/{view.id}")
    return Page(template="search.html", title=say(visit.language, "search.title"), values={"q": text})


def _numbers(visit: Visit, jobs: tuple[Part, Part], rows: list[places.SiteRow]) -> list[Number]:
    language, found = visit.language, list[Number]()
    running, waiting = jobs
    if running.there:
        found.append(Number(_counted(running.value), say(language, "overview.running")))
    if waiting.there:
        text = say(language, "overview.waiting")
        if waiting.value.items:
            longest_ms = visit.asked.now_ms - min(job.created_ms for job in waiting.value.items)
            text = say(language, "overview.waiting.longest", span=shapes.span(longest_ms, language))
        found.append(Number(_counted(waiting.value), text))
    if rows:
        serving = sum(row.mark.tint == "ok" for row in rows)
        found.append(Number(str(serving), say(language, "overview.sites", n=len(rows))))
        gpus = sum(one.count for row in rows for one in row.site.accelerators)
        found.append(Number(shapes.count(gpus), say(language, "overview.gpus"), "D"))
    checkpoint = visit.part(ShowCheckpoint())
    if checkpoint.there:
        found.append(Number(shapes.count(checkpoint.value.size), say(language, "overview.log"), "M"))
    return found


def _counted(page: JobPage) -> str:
    return f"{len(page.items)}+" if page.next else str(len(page.items))


def _forbidden(visit: Visit, waiting: Part) -> list[Need]:
    """Jobs that will wait for ever unless somebody changes something."""
    jobs = waiting.value.items if waiting.there else []
    return [
        Need(
            say(visit.language, "need.forbidden", name=job.name),
            say(visit.language, "need.forbidden.go"),
            f"/jobs/{job.id}",
        )
        for job in jobs
        if job.reason == "CharterForbids"
    ]


def _failed(visit: Visit) -> list[Need]:
    """One's own jobs that failed within a day."""
    found = visit.part(ListJobs(state=JobState.FAILED, mine=True, limit=RECENT))
    now_ms = visit.asked.now_ms
    return [
        Need(
            say(
                visit.language,
                "need.failed",
                name=job.name,
                age=shapes.ago(job.ended_ms, now_ms, visit.language),
            ),
            say(visit.language, "need.failed.go"),
            f"/jobs/{job.id}",
        )
        for job in (found.value.items if found.there else [])
        if now_ms - job.ended_ms < FAILED_MS
    ]


def _silent(visit: Visit, rows: list[places.SiteRow]) -> list[Need]:
    """Sites that do not answer, for those who can do something about it."""
    if not visit.roles & {"administrator", "site_operator"}:
        return []
    return [
        Need(
            say(visit.language, "need.silent", name=row.site.name),
            say(visit.language, "need.silent.go"),
            f"/sites/{row.site.name}",
        )
        for row in rows
        if row.mark.word == "site.state.unreachable"
    ]


def _proposals(visit: Visit) -> list[Need]:
    """What waits for a second person, which the proposer cannot be."""
    found = visit.part(ListProposals())
    return [
        Need(
            say(visit.language, "need.proposal", action=one.action),
            say(visit.language, "need.proposal.go"),
            "/proposals",
        )
        for one in (found.value if found.there else [])
        if one.proposer != visit.who.actor.ref.id
    ]
