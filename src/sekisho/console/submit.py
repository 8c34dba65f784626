"""Submitting a job from the browser: paste a job file, plan it or submit it; what was typed is never lost."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.compute import Plan, PlanJob, SubmitJob
from sekisho.console import forms, jobparts
from sekisho.console.asked import Answer, Page, Redirect
from sekisho.console.complaints import complaint
from sekisho.console.drawing import say
from sekisho.console.visit import Visit
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.gate import NOT_FOR_YOU

BODY_BYTES = 1 << 20
"""Room for the largest job file: in a form, one character of Japanese takes nine bytes."""
EXCERPT_LINES = 2
SHOWN_LENGTH_MAX = 200

SAMPLE = """name: hello
run: echo hello
resources:
  cpus: 1
charter:
  residency: [JP]
"""


class ExcerptLine(msgspec.Struct, frozen=True):
    """One line near a mistake; `pointer` is the line under it that points at the column."""

    number: int
    text: str
    wrong: bool
    pointer: str = ""


def form(visit: Visit) -> Answer:
    """The empty form, with the smallest job file that works."""
    return _page(visit, SAMPLE, "")


def send(visit: Visit) -> Answer:
    """Plan or submit. A refusal brings the form back with what was typed and the place of the mistake."""
    text, workdir = visit.field("file"), visit.field("workdir").strip()
    try:
        if visit.field("do") == "plan":
            return _page(visit, text, workdir, plan=visit.ask(PlanJob(file=text)))
        job = visit.ask(SubmitJob(file=text, workdir=workdir), once=forms.once_of(visit.field(forms.ONCE)))
    except SekishoError as error:
        if error.problem is NOT_FOR_YOU:
            raise
        return _page(visit, text, workdir, error=error)
    return Redirect(f"/jobs/{job.id}")


def _page(
    visit: Visit, text: str, workdir: str, *, error: SekishoError | None = None, plan: Plan | None = None
) -> Page:
    found = complaint(error, visit.language, visit.asked.request_id) if error else None
    line, column = (error.params.get("line"), error.params.get("column", 1)) if error else (None, 1)
    values: dict[str, Any] = {
        "text": text,
        "workdir": workdir,
        "once": forms.new_once(),
        "found": found,
        "excerpt": excerpt(text, line, int(column)) if isinstance(line, int) else [],
        "plan": plan,
        "plan_sentence": "",
        "why": "",
        "choices": [],
    }
    if plan:
        values |= {"plan_sentence": _foreseen(visit, plan), "choices": jobparts.choices(visit, plan.sites)}
        values["why"] = say(
            visit.language,
            "submit.plan.allowed",
            allowed=sum(one.decision == "allow" for one in plan.sites),
            all=len(plan.sites),
        )
    return Page(
        template="submit.html",
        title=say(visit.language, "submit.title"),
        nav="jobs",
        values=values,
        status=found.status if found else 200,
        code=found.code if found else "",
        command="sekisho run job.yaml",
    )


def excerpt(text: str, line: int, column: int) -> list[ExcerptLine]:
    """The lines around a mistake, numbered as an editor does."""
    lines = text.split("\n")
    first, last = max(1, line - EXCERPT_LINES), min(len(lines), line + EXCERPT_LINES)
    return [
        ExcerptLine(
            number,
            lines[number - 1][:SHOWN_LENGTH_MAX].replace("\t", "→"),
            number == line,
            " " * (len(str(number)) + 2 + min(column, SHOWN_LENGTH_MAX) - 1) + "^" if number == line else "",
        )
        for number in range(first, last + 1)
    ]


def _foreseen(visit: Visit, plan: Plan) -> str:
    chosen = next((one for one in plan.sites if one.chosen), None)
    if chosen:
        return say(visit.language, "submit.plan.would", site=chosen.name)
    allowed = any(one.decision == "allow" for one in plan.sites)
    return say(visit.language, "submit.plan.wait" if allowed else "submit.plan.never")
