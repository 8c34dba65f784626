"""The charter in force: its rules in words and in Cedar, and the versions before it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from sekisho.charter import ListVersions, ReplayVersion, ShowVersion, default_policies
from sekisho.console import marks
from sekisho.console.asked import Answer, Page
from sekisho.console.drawing import known, say
from sekisho.console.visit import Visit

VERSIONS = 20
PLACE_DIGITS_MAX = 15
_VERDICTS = {"denied": ("⊘", "deny"), "allowed": ("✓", "ok"), "rules": ("○", "idle")}
_RULE = re.compile(
    r'^(?P<notes>(?:@\w+(?:\("(?:[^"\\]|\\.)*"\))?\s*)+)^(?P<effect>permit|forbid)\b(?P<rest>.*?;)[ \t]*$',
    re.MULTILINE | re.DOTALL,
)
_NOTE = re.compile(r'@(\w+)\("((?:[^"\\]|\\.)*)"\)')
_STATES = {"active": ("✓", "ok"), "draft": ("…", "wait"), "retired": ("○", "idle")}


class Rule(msgspec.Struct, frozen=True):
    """One policy: its id, permit or forbid, what it says in words (empty when nobody wrote that), its text."""

    id: str
    mark: marks.Mark
    words: str
    cited: str
    text: str


def show(visit: Visit) -> Answer:
    """The charter in force, or the version that the address names."""
    found = visit.ask(ShowVersion(version=visit.asked.query.get("version", "")))
    rules_found = rules(visit, found.policies)
    forbids = sum(rule.mark.tint == "deny" for rule in rules_found)
    version = found.version
    key = "charter.lead" if version.state == "active" else "charter.lead.other"
    return Page(
        template="charter.html",
        title=say(visit.language, "nav.charter"),
        nav="charter",
        data=found,
        command="sekisho charter show --json",
        values={
            "answer": say(visit.language, key, permits=len(rules_found) - forbids, forbids=forbids),
            "version": version,
            "standing": _standing(version.state),
            "outdated": found.outdated,
            "rules": rules_found,
            "policies": found.policies,
            "versions": visit.part(ListVersions(limit=VERSIONS)),
            "standing_of": _standing,
        },
    )


def tried(visit: Visit) -> Answer:
    """A page of recorded decisions, asked again under one version; the address continues further back."""
    query = visit.asked.query
    found = visit.ask(
        ReplayVersion(
            version=visit.asked.path["version"], upto=_place(query, "upto"), after=_place(query, "after")
        )
    )
    counts = {name: getattr(found, name) for name in ("missing", "erased", "unfit", "nameless")}
    left = sum(counts.values())
    lead = {"looked": found.looked_at, "upto": found.upto, "changed": found.changed, "same": found.same}
    page = f"/charter/{found.version}/test?upto={found.upto}&after={found.next}"
    return Page(
        template="charter_test.html",
        title=say(visit.language, "charter.test"),
        nav="charter",
        data=found,
        command=f"sekisho charter test {found.version} --json",
        values={
            "answer": say(visit.language, "charter.test.lead", **lead),
            "left": say(visit.language, "charter.test.left", left=left, **counts) if left else "",
            "found": found,
            "verdict_of": _verdict,
            "older": page if found.next else "",
        },
    )


def _place(query: Mapping[str, str], name: str) -> int:
    """A place in the log from the address; anything else counts as none."""
    text = query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= PLACE_DIGITS_MAX else 0


def _verdict(verdict: str) -> marks.Mark:
    return marks.Mark(*_VERDICTS.get(verdict, ("○", "idle")), f"charter.test.{verdict}")


def rules(visit: Visit, policies: str) -> list[Rule]:
    """The policies of a charter one by one, as they stand in the text.

    The shipped charter's rules have words of their own; they are shown only for exactly that text, because another
    charter may mean something else by the same id. A charter of one's own brings `@en` and `@ja`.
    """
    shipped = policies.strip() == default_policies().strip()
    found = []
    for match in _RULE.finditer(policies):
        notes = dict(_NOTE.findall(match["notes"]))
        words = notes.get(visit.language.value, "")
        key = f"rule.{notes.get('id', '').partition('-')[0]}"
        if not words and shipped and known(key):
            words = say(visit.language, key)
        forbid = match["effect"] == "forbid"
        mark = marks.Mark("⊘", "deny", "rule.forbid") if forbid else marks.Mark("✓", "ok", "rule.permit")
        found.append(Rule(notes.get("id", "-"), mark, words, notes.get("cite", ""), match[0]))
    return found


def _standing(state: str) -> marks.Mark:
    return marks.Mark(*_STATES.get(state, ("○", "idle")), f"charter.state.{state}")
