"""Recorded decisions as they can be asked again: what was decided when, under which charter, from which facts."""

from __future__ import annotations

import msgspec

from sekisho.kernel.clock import parse_rfc3339
from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import tables


class Decided(msgspec.Struct, frozen=True):
    """One record's decision; `facts` is the body it names, None when that was not kept or the record is erased."""

    index: int
    id: str
    time_ms: int = 0
    action: str = ""
    allowed: bool = False
    rules: tuple[str, ...] = ()
    charter: str = ""
    facts_digest: str = ""
    facts: bytes | None = None
    erased: bool = False


def decisions(tx: Tx, before: int, limit: int) -> list[Decided]:
    """Records before a place in the log (0: its end), newest first; each body of facts is read once."""
    found: dict[str, bytes | None] = {}
    return [
        _decided(tx, row, found) for row in tables.newest(tx, before=before or tables.NUMBER_MAX, limit=limit)
    ]


def _decided(tx: Tx, row: Row, found: dict[str, bytes | None]) -> Decided:
    if row["body"] is None:
        return Decided(row["log_index"], row["id"], erased=True)
    body = msgspec.json.decode(bytes(row["body"]))
    facts = body["facts"]
    if facts not in found:
        found[facts] = tables.kept(tx, "facts", facts)
    return Decided(
        index=row["log_index"],
        id=row["id"],
        time_ms=parse_rfc3339(body["time"]),
        action=body["action"],
        allowed=body["decision"] == "allow",
        rules=tuple(body["rules"]),
        charter=body["charter"],
        facts_digest=facts,
        facts=found[facts],
    )
