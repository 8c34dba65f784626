"""The parts of a job's page, as values for their templates: drawn with the page, and again by its live stream."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.compute import GROUPS, AttemptView, JobDetail, JobState, JobView, SiteChoice, reason_sentence
from sekisho.console import marks, shapes
from sekisho.console.drawing import known, pick, say
from sekisho.console.visit import Visit
from sekisho.data import ListArtefacts
from sekisho.identity import ShowPerson
from sekisho_wire.problems import Language

PARTS = ("state", "lead", "glance", "members", "why", "attempts", "events", "outputs", "proof")
"""What a live page replaces; each is drawn by the template `_job_<part>.html`."""
GAP_MS = 60_000
"""A wait longer than this is said in the timeline."""
OUTPUTS_MAX = 50


class Choice(msgspec.Struct, frozen=True):
    """One row of "why here, and why not there". `grade` is how the site's country is known."""

    choice: SiteChoice
    mark: marks.Mark
    why: str
    grade: str
    stand_in: bool


class Moment(msgspec.Struct, frozen=True):
    """One line of the timeline; `gap` is how long nothing happened before it, `day` a new day's name."""

    time_ms: int
    sign: str
    text: str
    record: str
    gap: str = ""
    day: str = ""


class Claim(msgspec.Struct, frozen=True):
    """Something the evidence shows, how well it is known, and the record that holds it."""

    text: str
    grade: str
    record: str


class Ending:
    """How an attempt ended, in words; the bare reason where a newer agent invented one."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def __call__(self, attempt: AttemptView) -> str:
        """One sentence."""
        if not attempt.state.ended:
            return say(self._language, "attempt.going")
        return reason(self._language, attempt.reason) or attempt.reason or "-"


def reason(language: Language, name: str) -> str:
    """A reason in words; empty when there are none for it."""
    return say(language, f"reason.{name}") if known(f"reason.{name}") else ""


def sentence(language: Language, job: JobView) -> str:
    """Why a job is where it is; how it failed in our words, because its reason is a name for programs."""
    if job.state is JobState.FAILED and job.kind not in GROUPS:
        why = reason(language, job.reason) or job.reason or "-"
        return say(language, "job.failed", reason=why.rstrip(".。"))
    return pick(language, reason_sentence(job))


def values(visit: Visit, detail: JobDetail) -> dict[str, Any]:
    """Everything the parts of one job show."""
    job, language = detail.job, visit.language
    site = visit.sites.get(job.site)
    return {
        "job": job,
        "sentence": sentence(language, job),
        "submitter": _submitter(visit, job),
        "country": site.facts.get("country") if site else None,
        "stand_in": bool(site and site.stand_in),
        "progress": _progress(language, job),
        "members": detail.members,
        "choices": choices(visit, detail.sites),
        "why": _why(language, job, detail.sites),
        "attempts": detail.attempts,
        "ending": Ending(language),
        "events": timeline(detail, language),
        "outputs": visit.part(ListArtefacts(job=job.id, limit=OUTPUTS_MAX)),
        "claims": claims(visit, detail),
        "sites": visit.sites,
    }


def choices(visit: Visit, sites: list[SiteChoice]) -> list[Choice]:
    """The sites considered: chosen first, then allowed, then denied, each by name."""
    rows = []
    for choice in sorted(sites, key=lambda one: (not one.chosen, one.decision != "allow", one.name)):
        seen = visit.sites.get(choice.site)
        country = seen.facts.get("country") if seen else None
        rows.append(
            Choice(
                choice,
                marks.of_choice(choice.decision, chosen=choice.chosen),
                _why_one(visit.language, choice),
                country.grade if country else "",
                bool(seen and seen.stand_in),
            )
        )
    return rows


def timeline(detail: JobDetail, language: Language) -> list[Moment]:
    """What happened, in order, with long waits and new days said between."""
    found: list[Moment] = []
    before_ms, day = 0, ""
    for event in detail.events:
        today = shapes.day(event.time_ms, language)
        waited_ms = event.time_ms - before_ms if before_ms else 0
        found.append(
            Moment(
                time_ms=event.time_ms,
                sign=marks.EVENTS.get(event.what, "●"),
                text=_event(language, event.what, event.params),
                record=event.record_id,
                gap=say(language, "event.gap", span=shapes.span(waited_ms, language))
                if waited_ms > GAP_MS
                else "",
                day=today if today != day else "",
            )
        )
        before_ms, day = event.time_ms, today
    return found


def claims(visit: Visit, detail: JobDetail) -> list[Claim]:
    """What can be shown, each with its grade: decisions are ours, what only the site's agent says is D."""
    language, job = visit.language, detail.job
    found: list[Claim] = []
    accepted = next((event for event in detail.events if event.what == "accepted"), None)
    if accepted:
        found.append(Claim(say(language, "claim.file"), "M", accepted.record_id))
    placed = next((event for event in reversed(detail.events) if event.what == "placed"), None)
    if placed:
        found.append(Claim(say(language, "claim.decided"), "M", placed.record_id))
    last = detail.attempts[-1] if detail.attempts else None
    site = visit.sites.get(job.site)
    country = site.facts.get("country") if site else None
    if last and last.started_ms and site and country:
        found.append(
            Claim(say(language, "claim.country", country=country.value), country.grade, site.record_id)
        )
    if last and last.canaries:
        closed = sum(result == "closed" for result in last.canaries.values())
        text = say(language, "claim.wall", closed=closed, routes=len(last.canaries))
        found.append(Claim(text, "D", last.record_id))
    if last and last.egress:
        sent = sum(one.sent_bytes for one in last.egress.reached)
        text = say(language, "claim.egress", destinations=len(last.egress.reached), sent=shapes.size(sent))
        found.append(Claim(text, "D", last.record_id))
    for seen in last.observed if last else []:
        results = ", ".join(f"{protocol}: {result}" for protocol, result in sorted(seen.results.items()))
        text = say(language, "claim.observed", listener=seen.listener, results=results)
        found.append(Claim(text, "M" if seen.known else "D", last.record_id if last else ""))
    if last and last.exit_status is not None:
        found.append(Claim(say(language, "claim.exit", status=last.exit_status), "D", last.record_id))
    return found


def reached(attempt: AttemptView) -> list[dict[str, str]]:
    """The destinations that an attempt reached, as its agent counted."""
    return [
        {
            "destination": one.destination,
            "connections": shapes.count(one.connections),
            "sent": shapes.size(one.sent_bytes),
            "received": shapes.size(one.received_bytes),
        }
        for one in (attempt.egress.reached if attempt.egress else [])
    ]


def usage(attempt: AttemptView) -> list[tuple[str, str]]:
    """What an attempt used, as its agent says."""
    return [
        (name, shapes.size(value) if name.endswith("_bytes") else shapes.count(value))
        for name, value in sorted(attempt.usage.items())
    ]


def _submitter(visit: Visit, job: JobView) -> str:
    """The submitter's name where the charter shows it, else the account."""
    if not job.submitter.startswith("usr_"):
        return job.submitter
    person = visit.part(ShowPerson(person=job.submitter)).value
    return person.display_name or job.submitter if person else job.submitter


def _progress(language: Language, job: JobView) -> list[tuple[str, str]]:
    """The payload's own figures as they came; of an array, how many of its jobs are in which state."""
    if job.kind in GROUPS:
        counts = [(state, job.progress[state]) for state in JobState if state in job.progress]
        return [(say(language, f"job.state.{state}"), str(count)) for state, count in counts]
    return sorted((name, str(value)) for name, value in job.progress.items())


def _why(language: Language, job: JobView, sites: list[SiteChoice]) -> str:
    if not sites:
        return say(language, "job.why.nothing")
    allowed = sum(choice.decision == "allow" for choice in sites)
    if job.site:
        site = job.site_name or job.site
        return say(language, "job.why.chosen", site=site, allowed=allowed, all=len(sites))
    return say(language, "job.why.open", allowed=allowed, all=len(sites))


def _why_one(language: Language, choice: SiteChoice) -> str:
    given = pick(language, choice.why, choice.why_ja)
    if given:
        return given
    if choice.decision != "allow":
        return ", ".join(choice.rules) or "-"
    return say(language, "job.why.best" if choice.chosen else "job.why.other")


def _event(language: Language, what: str, params: dict[str, str]) -> str:
    """An event in words; its bare name where a newer part invented one."""
    key = f"event.{what}"
    if not known(key):
        return what
    shown = dict.fromkeys(("level", "site", "attempt", "reason", "closed", "routes"), "-") | params
    shown["reason"] = (reason(language, params.get("reason", "")) or params.get("reason", "-")).rstrip(".。")
    return say(language, key, **shown)
