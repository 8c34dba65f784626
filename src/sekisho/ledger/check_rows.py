"""Rows against records, both ways: no effect without evidence, no evidence without its effect."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from sekisho.kernel.tx import DELETED, Row, Tx, canonical_key, row_digest
from sekisho.ledger import tables, tables_check
from sekisho.ledger.notes import Notes

PAGE = 512
GONE_MAX = 500_000
"""Deleted rows remembered at once (16 bytes each, and Python's overhead); more take more walks."""
_CLAIMS_CACHED = 1024

Claim = tuple[str, str, str]
"""Table, primary key as text, and row digest; `deleted` for a row that is gone, nothing where it was erased."""


def run(tx: Tx, notes: Notes) -> None:
    """Rows first, then records from the newest back."""
    keys = tables_check.watched_tables(tx)
    claims = _Claims(tx)
    for table, columns in keys.items():
        _rows(tx, (table, columns), claims, notes)
    walks = 1 + notes.counted("deletions") // GONE_MAX
    for part in range(walks):
        _Walk(tx, keys, notes, (part, walks)).run()


def _rows(tx: Tx, table: tuple[str, tuple[str, ...]], claims: _Claims, notes: Notes) -> None:
    """Every row of one table: the record it names must claim it with this digest."""
    name, columns = table
    for row in tables_check.rows_of(tx, name, columns, PAGE):
        notes.count("rows")
        key = canonical_key([row[column] for column in columns])
        place = f"{name} {key}"
        record = row.get("record_id")
        claimed = claims.of(record).get((name, key)) if isinstance(record, str) else None
        if not isinstance(record, str):
            notes.find("row.no_record", place)
        elif claimed is None:
            notes.find("row.no_claim", place, record)
        elif claimed == DELETED:
            notes.find("row.claimed_deleted", place, record)
        elif claimed and claimed != row_digest(row):
            notes.find("row.digest", place, record)


class _Claims:
    """What each record claims, by table and key; the last thousand records asked for are kept."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._cached: OrderedDict[str, dict[tuple[str, str], str]] = OrderedDict()

    def of(self, record: str) -> dict[tuple[str, str], str]:
        found = self._cached.get(record)
        if found is None:
            body = tables.body(self._tx, record)
            claims = _claims(self._tx, record, body)
            found = self._cached[record] = {(table, key): digest for table, key, digest in claims}
            if len(self._cached) > _CLAIMS_CACHED:
                self._cached.popitem(last=False)
        return found


def _claims(tx: Tx, record: str, body: bytes | None) -> list[Claim]:
    """Claims of a body, or of the mark that an erased body left; a body that is no record claims nothing."""
    text = body if body is not None else (tables.erased_claims(tx, record) or "[]").encode()
    try:
        if body is None:
            return msgspec.json.decode(text, type=list[Claim])
        return msgspec.json.decode(text, type=_Body).effects
    except msgspec.DecodeError:
        return []


class _Body(msgspec.Struct):
    effects: list[Claim]


class _Walk:
    """One walk from the newest record back, for the deleted rows of one part."""

    def __init__(self, tx: Tx, keys: dict[str, tuple[str, ...]], notes: Notes, part: tuple[int, int]) -> None:
        self._tx, self._keys, self._notes = tx, keys, notes
        self._part, self._parts = part
        self._gone: set[bytes] = set()

    def run(self) -> None:
        for record, place, body in _newest_first(self._tx):
            for table, key, digest in _claims(self._tx, record, body):
                mark = hashlib.blake2b(f"{table}\n{key}".encode(), digest_size=16).digest()
                if mark[0] % self._parts == self._part:
                    self._notes.count("claims")
                    self._claim(record, place, (table, key, digest), mark)

    def _claim(self, record: str, place: tuple[int, int], claim: Claim, mark: bytes) -> None:
        """The claimed row exists as claimed, has a newer record, or was deleted by a newer one."""
        table, key, digest = claim
        columns = self._keys.get(table)
        where = f"{table} {key}"
        row = tables_check.row_by_key(self._tx, table, columns, msgspec.json.decode(key)) if columns else None
        if columns is None:
            self._notes.find("claim.table_unknown", where, record)
        elif row is None and digest == DELETED:
            self._gone.add(mark)
        elif row is None:
            if mark not in self._gone:
                self._notes.find("claim.row_lost", where, record)
        elif row["record_id"] == record:
            pass  # the walk over the rows has compared it
        elif self._place(row) <= place:
            self._notes.find("claim.row_older", where, record)

    def _place(self, row: Row) -> tuple[int, int]:
        """Place of the row's record: waiting ones come after all logged ones."""
        entry = tables.entry(self._tx, row["record_id"])
        if entry is not None:
            return (0, entry.log_index)
        number = tables_check.waiting_number(self._tx, row["record_id"])
        return (1, number) if number is not None else (-1, 0)


def _newest_first(tx: Tx) -> Iterator[tuple[str, tuple[int, int], bytes | None]]:
    before = tables.NUMBER_MAX
    while page := tables_check.waiting_before(tx, before, PAGE):
        for row in page:
            yield row["id"], (1, row["number"]), row["body"]
        before = page[-1]["number"]
    before = tables.NUMBER_MAX
    while page := tables.newest(tx, before=before, limit=PAGE):
        for row in page:
            yield row["id"], (0, row["log_index"]), row["body"]
        before = page[-1]["log_index"]
