"""Pages of evidence: the newest checkpoint, records, and how to verify without trusting this server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec

from sekisho.console import marks, shapes
from sekisho.console.asked import Answer, Page, Redirect
from sekisho.console.drawing import known, say
from sekisho.console.visit import Part, Visit
from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.ids import is_id
from sekisho.ledger import ListRecords, RecordLine, ShowCheckpoint, ShowRecord, ShowTrust
from sekisho_verify import Exit

ROWS = 50
MEMBERS = (
    "time",
    "actor",
    "approvers",
    "action",
    "resource",
    "decision",
    "outcome",
    "rules",
    "charter",
    "facts",
    "stream",
)


def ledger(visit: Visit) -> Answer:
    """The newest checkpoint, for anybody; the list of records, for auditors."""
    checkpoint = visit.part(ShowCheckpoint())
    after = visit.asked.query.get("after", "")
    records = visit.part(ListRecords(after=after, limit=ROWS)) if visit.who.signed_in else Part()
    following = records.value.next if records.value else None

    def outcome(line: RecordLine) -> str:
        key = f"outcome.{line.outcome}"
        return say(visit.language, key) if known(key) else line.outcome or "-"

    return Page(
        template="ledger.html",
        title=say(visit.language, "ledger.title"),
        nav="ledger",
        data={"checkpoint": checkpoint.value, "records": records.value.items if records.value else []},
        command="sekisho ledger checkpoint --json",
        values={
            "checkpoint": checkpoint,
            "records": records,
            "outcome": outcome,
            "next": f"/ledger?{urlencode({'after': following})}" if following else "",
        },
    )


def find(visit: Visit) -> Answer:
    """To the record whose id was typed."""
    text = visit.asked.query.get("record", "").strip()
    if not is_id(text, "rec"):
        raise NotFoundError(id=text[:100])
    return Redirect(f"/ledger/{text}")


def record(visit: Visit) -> Answer:
    """One record, where it stands in the log, and its inclusion proof."""
    found = visit.ask(ShowRecord(record=visit.asked.path["record"]))
    state = "erased" if found.erased else "covered" if found.covered else "open"
    tint = {"erased": ("○", "idle"), "covered": ("✓", "ok"), "open": ("…", "wait")}[state]
    index = shapes.count(found.log_index)
    return Page(
        template="record.html",
        title=say(visit.language, "record.title"),
        nav="ledger",
        data=found,
        command=f"sekisho ledger show {found.id} --json",
        values={
            "one": found,
            "standing": marks.Mark(*tint, f"record.{state}"),
            "answer": say(visit.language, f"record.answer.{state}", index=index),
            "body": _told(found.body),
        },
    )


def _told(body: str) -> list[tuple[str, Any]]:
    """The members of a record that people ask about; the whole record stands below them."""
    members = msgspec.json.decode(body) if body else {}
    return [(name, members[name]) for name in MEMBERS if name in members]


def how(visit: Visit) -> Answer:
    """How anybody checks a bundle on their own machine."""
    codes = [(int(code), say(visit.language, f"exit.{int(code)}")) for code in Exit]
    return Page(
        template="verify.html",
        title=say(visit.language, "verify.title"),
        nav="verify",
        values={"codes": codes, "trust": visit.part(ShowTrust())},
        data={"exit_codes": [{"code": code, "means": means} for code, means in codes]},
        command="sekisho-verify BUNDLE --trust trust.json",
    )
