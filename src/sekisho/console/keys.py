"""Pages of keys in their owners' custody: who holds each, whether it is released now, and the switch that stops it."""

from __future__ import annotations

from typing import Literal

from sekisho.console import forms
from sekisho.console.asked import Answer, Page, Redirect
from sekisho.console.drawing import say
from sekisho.console.places import following
from sekisho.console.visit import Visit
from sekisho.data import KeyView, ListKeys, ResumeKey, ShowKey, StopKey
from sekisho.kernel.errors import NotFoundError

ROWS = 50
Change = Literal["stop", "resume"]


def listing(visit: Visit) -> Answer:
    """Keys that may be seen."""
    found = visit.ask(ListKeys(cursor=visit.asked.query.get("cursor", ""), limit=ROWS))
    serving = sum(one.state == "serving" for one in found.items)
    return Page(
        template="keys.html",
        title=say(visit.language, "keys.title"),
        nav="data",
        data=found,
        command="sekisho key list --json",
        values={
            "answer": say(
                visit.language,
                "keys.answer" if found.items else "keys.none",
                n=len(found.items),
                serving=serving,
            ),
            "keys": found.items,
            "next": following("/keys", found.next),
        },
    )


def show(visit: Visit) -> Answer:
    """One key: whether it is released, who holds it, and what nobody here can check of that."""
    found = visit.ask(ShowKey(key=visit.asked.path["key"]))
    return Page(
        template="key.html",
        title=found.name,
        nav="data",
        data=found,
        command=f"sekisho key show {found.name} --json",
        values={"one": found, "answer": say(visit.language, f"key.answer.{found.state}", name=found.name)},
    )


def ask(visit: Visit) -> Answer:
    """The question before a change, on a page of its own."""
    found, change = _asked(visit)
    return Page(
        template="key_change.html",
        title=say(visit.language, f"key.{change}.title", name=found.name),
        nav="data",
        command=f"sekisho key {change} {found.name}",
        values={"one": found, "change": change, "once": forms.new_once()},
    )


def change(visit: Visit) -> Answer:
    """Stop the key or let it be released again, and show it."""
    found, wanted = _asked(visit)
    command = StopKey(key=found.id) if wanted == "stop" else ResumeKey(key=found.id)
    visit.ask(command, once=forms.once_of(visit.field(forms.ONCE)))
    return Redirect(f"/keys/{found.id}")


def _asked(visit: Visit) -> tuple[KeyView, Change]:
    wanted = visit.asked.path["change"]
    if wanted == "stop" or wanted == "resume":  # noqa: PLR1714 - one by one they are literals for the type checker
        return visit.ask(ShowKey(key=visit.asked.path["key"])), wanted
    raise NotFoundError(id=visit.asked.page[:100])
