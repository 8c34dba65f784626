"""`sekisho why JOB`: the reason in one sentence, then what the charter says of every site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sekisho_client.client import connect
from sekisho_client.render import Screen, pad, width
from sekisho_client.session import Session

_COLUMNS = ("name", "country", "decision", "rules", "why")
_INDENT = "  "


def run(session: Session, values: dict[str, Any]) -> int:
    """Show it; for programs the answer as it is, off a terminal the sites as rows."""
    with connect(session.settings) as client:
        found = client.call("compute.job.explain", job=values["job"])
    screen = session.screen
    if screen.as_json:
        screen.json(found)
        return 0
    screen.text(screen.say(found["sentence"], found["sentence_ja"]))
    if screen.terminal:
        for line in groups(screen, found["sites"]):
            screen.text(line)
    else:
        screen.table(found["sites"], _COLUMNS)
    return 0


def groups(screen: Screen, sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sites as chosen, allowed and denied, one a line, with the rule and the reason."""
    titles = (
        (screen.say("Chosen", "選択"), [site for site in sites if site["chosen"]]),
        (
            screen.say("Allowed", "許可"),
            [site for site in sites if site["decision"] == "allow" and not site["chosen"]],
        ),
        (screen.say("Denied", "不許可"), [site for site in sites if site["decision"] != "allow"]),
    )
    wide = max(width(title) for title, _ in titles)
    names = max((width(site["name"]) for site in sites), default=0)
    rules = max((width(_rules(site)) for site in sites), default=0)
    lines = []
    for title, members in titles:
        for index, site in enumerate(members):
            parts = (
                pad(title if index == 0 else "", wide),
                pad(site["name"], names),
                pad(_rules(site), rules),
                screen.say(site["why"], site["why_ja"]),
            )
            lines.append((_INDENT + _INDENT.join(parts)).rstrip())
    return lines


def _rules(site: Mapping[str, Any]) -> str:
    """The rules that denied a site; what allowed one is no news."""
    return "" if site["decision"] == "allow" else " ".join(site["rules"])
