"""The log against its records: bodies, digests, order, streams; with every leaf fed to the tree check."""

from __future__ import annotations

import hashlib

from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import sequencer, tables, tables_check
from sekisho.ledger.check_tree import TreeCheck
from sekisho.ledger.keys import KeyFolder
from sekisho.ledger.notes import Notes
from sekisho.ledger.rules import DIGEST_PREFIX
from sekisho.ledger.tables import Entry
from sekisho_verify.errors import VerifyError
from sekisho_verify.merkle import leaf_hash
from sekisho_verify.record import CLOSE_ACTION, Record, parse_record

PAGE = 512
CONTENTS_PAGE = 16
"""Evidence files may be large; few are held at once."""


def run(tx: Tx, keys: KeyFolder, notes: Notes) -> None:
    """Everything that can be said of the log without looking at a capability's rows."""
    tree = TreeCheck(tx, keys, notes)
    _entries(tx, tree, notes)
    tree.finish()
    _waiting(tx, notes)
    for record in tables_check.homeless_bodies(tx, limit=PAGE):
        notes.find("record.not_logged", record)
    for row in tables_check.broken_streams(tx, limit=PAGE):
        notes.find("stream.gap", f"log index {row['log_index']}", f"stream number {row['stream_seq']}")
    _closures(tx, notes)
    _erasures(tx, notes)
    for kind in ("charters", "facts", "files"):
        _contents(tx, kind, notes)


def _entries(tx: Tx, tree: TreeCheck, notes: Notes) -> None:
    expected = 0
    while page := tables_check.logged_from(tx, expected, PAGE):
        for row in page:
            notes.count("records")
            if row["log_index"] != expected:
                notes.find("log.gap", f"log index {expected}", f"next is {row['log_index']}")
            expected = row["log_index"] + 1
            _body(tx, row, notes)
            tree.leaf(leaf_hash(sequencer.leaf_data(Entry.of(row))))


def _body(tx: Tx, row: Row, notes: Notes) -> None:
    if row["body"] is None:
        if tables.erased_claims(tx, row["id"]) is None:
            notes.find("record.missing", row["id"])
        return
    record = _record(row, notes)
    if record is None:
        return
    if (record.id, record.stream) != (row["id"], row["stream"]):
        notes.find("record.misplaced", row["id"], f"the body is of {record.id}")
    for effect in record.effects:
        if effect.digest == "deleted":
            notes.count("deletions")


def _record(row: Row, notes: Notes) -> Record | None:
    """The body, if it has the digest that the log holds and the shape of a record."""
    body = bytes(row["body"])
    if hashlib.sha256(body).digest() != row["digest"]:
        notes.find("record.digest", row["id"])
        return None
    try:
        return parse_record(body)
    except VerifyError as error:
        notes.find("record.shape", row["id"], str(error))
        return None


def _waiting(tx: Tx, notes: Notes) -> None:
    before = tables.NUMBER_MAX
    while page := tables_check.waiting_before(tx, before, PAGE):
        for row in page:
            notes.count("waiting")
            before = row["number"]
            _body(tx, row, notes)
            if tables.entry(tx, row["id"]) is not None:
                notes.find("record.logged_twice", row["id"])


def _closures(tx: Tx, notes: Notes) -> None:
    """A closed stream ends with the record that closed it, whose count is the stream's."""
    after = ""
    while page := tables_check.closures_after(tx, after, PAGE):
        for row in page:
            after = row["stream"]
            there = tables.count_records(tx, row["stream"])
            if there != row["record_count"]:
                notes.find(
                    "stream.count", row["stream"], f"{there} records, closed with {row['record_count']}"
                )
            _closing_record(tx, row, notes)


def _closing_record(tx: Tx, row: Row, notes: Notes) -> None:
    entry, body = tables.entry(tx, row["record_id"]), tables.body(tx, row["record_id"])
    if entry is not None and entry.stream_seq != row["record_count"] - 1:
        notes.find("stream.after_close", row["stream"], f"closed by number {entry.stream_seq}")
    try:
        record = parse_record(body) if body is not None else None
    except VerifyError:
        return
    if record and (record.action != CLOSE_ACTION or record.detail.get("count") != row["record_count"]):
        notes.find("stream.closing_record", row["stream"], row["record_id"])


def _erasures(tx: Tx, notes: Notes) -> None:
    after = ""
    while page := tables_check.erasures_after(tx, after, PAGE):
        for row in page:
            after = row["id"]
            notes.count("erased")
            if tables.body(tx, row["id"]) is not None:
                notes.find("record.not_erased", row["id"])
            if tables.entry(tx, row["id"]) is None and tables.waiting_digest(tx, row["id"]) is None:
                notes.find("record.erased_unknown", row["id"])


def _contents(tx: Tx, kind: str, notes: Notes) -> None:
    """What records name by digest has that digest."""
    after = ""
    while page := tables_check.contents_after(tx, kind, after, CONTENTS_PAGE):
        for row in page:
            after = row["digest"]
            if after != DIGEST_PREFIX + hashlib.sha256(row["body"]).hexdigest():
                notes.find("content.digest", f"{kind} {after}")
