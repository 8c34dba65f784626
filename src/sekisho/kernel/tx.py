"""What `tables.py` may do inside a transaction: `all`, `one`, `run`, and nothing else.

A `Tx` is made only by the gate. Writes to capability tables are watched: each names `:record_id`, which the
transaction supplies, and every row as it stands after the write becomes a claim (an *effect*) of that record.
Kernel and ledger tables are plumbing: they carry no claims, and the list of them is closed.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import msgspec

Row: TypeAlias = dict[str, Any]
Dialect: TypeAlias = Literal["sqlite", "postgres"]

PLUMBING = frozenset(
    {
        "kernel_denials",
        "kernel_facts",
        "kernel_heartbeats",
        "kernel_idempotency",
        "kernel_lanes",
        "kernel_leases",
        "kernel_logins",
        "kernel_migrations",
        "kernel_sessions",
        "kernel_work",
        "ledger_bodies",
        "ledger_charters",
        "ledger_checkpoints",
        "ledger_cosignatures",
        "ledger_entries",
        "ledger_facts",
        "ledger_files",
        "ledger_outbox",
        "ledger_sequencer",
        "ledger_tiles",
        "ledger_timestamps",
        "ledger_witnesses",
    }
)
"""Tables that carry no effects. `tests/architecture` holds this list equal to the schema files."""

_STATEMENT = re.compile(r"\s*(?:(select|with)\b|(insert\s+into|update|delete\s+from)\s+(\w+))", re.IGNORECASE)
_WORD = re.compile(r"\w+")
_PARAMETER = re.compile(r"'(?:[^']|'')*'|::|:([a-z_][a-z0-9_]*)")
_PORTION = 50
_PLACES = tuple(f"each_{number}" for number in range(_PORTION))
_EACH = ", ".join(f":{place}" for place in _PLACES)
_LARGEST = 2**53
_encoder = msgspec.json.Encoder(order="sorted")


READS_KEPT, ROWS_KEPT = 64, 16
"""How many answers a transaction remembers, and of how many rows at most: enough for what handlers ask twice."""


class Statement(msgspec.Struct, frozen=True):
    """One SQL text, looked at once: what it does, to which table, and its spelling for each database.

    `written` is the table of a write, also of one that carries no claim; `words` are what a read may depend on, none
    where it must be asked each time.
    """

    writes: bool
    table: str
    written: str
    words: frozenset[str]
    deletes: bool
    needs_record: bool
    sqlite: str
    postgres: str


@functools.lru_cache(maxsize=4096)
def analyse(sql: str) -> Statement:
    """Classify one statement of the shared subset; ValueError for anything outside it."""
    match = _STATEMENT.match(sql)
    if match is None:
        message = f"not a statement of the shared subset: {sql[:60]!r}"
        raise ValueError(message)
    writes = match[2] is not None
    verb, table = (match[2].lower().split()[0], match[3].lower()) if writes else ("select", "")
    watched = writes and table not in PLUMBING
    text = sql.strip().rstrip(";")
    words = frozenset(_WORD.findall(text.lower()))
    if watched:
        if verb != "delete" and ":record_id" not in text:
            message = f"a write to {table} must set record_id = :record_id"
            raise ValueError(message)
        if " returning " not in text.lower():
            text += " returning *"
    return Statement(
        writes=writes,
        table=table if watched else "",
        written=table,
        words=frozenset() if writes or "update" in words else words,
        deletes=verb == "delete",
        needs_record=watched and verb != "delete",
        sqlite=text,
        postgres=_PARAMETER.sub(_to_pyformat, text.replace("%", "%%")),
    )


def _to_pyformat(match: re.Match[str]) -> str:
    return f"%({match[1]})s" if match[1] else match[0]


class ReadOnlyError(PermissionError):
    """A write was tried on a reader."""


class Executor(Protocol):
    """One open transaction of a driver; implemented in `db.py`."""

    dialect: ClassVar[Dialect]

    def execute(self, statement: Statement, params: Mapping[str, Any]) -> tuple[list[Row], int]:
        """Run it; answer all rows (so that COMMIT never meets an unread cursor) and the count of rows touched."""
        ...

    def execute_many(self, statement: Statement, params: list[dict[str, Any]]) -> None:
        """Run one plumbing write for many rows, in this order."""
        ...


Effect: TypeAlias = tuple[str, str, str]
"""Table, primary key as canonical JSON array, digest of the row or `deleted`."""

DELETED = "deleted"


class Tx:
    """One transaction. Owned by one thread; dead once the gate's work function returns.

    Both databases answer a question of one transaction always from the same snapshot and its own writes. So what was
    asked before is answered from memory, until a write to a table that the question names: what a decision looked at
    and what the handler looks at are one reading. There are no views, triggers or cascades that would write elsewhere.
    """

    def __init__(
        self,
        executor: Executor,
        keys: Mapping[str, tuple[str, ...]],
        *,
        read_only: bool,
        facts_version: int | None = None,
    ) -> None:
        """`keys` gives the primary key columns of every table, `facts_version` that of the snapshot if it is known."""
        self._executor = executor
        self._keys = keys
        self._read_only = read_only
        self._record_id = ""
        self._touched: dict[str, dict[tuple[str, str], Row | None]] = {}
        self._facts_version = facts_version
        self._answers: dict[tuple[object, ...], tuple[frozenset[str], list[Row]]] = {}

    @property
    def dialect(self) -> Dialect:
        """Which database this is; only `kernel` may branch on it."""
        return self._executor.dialect

    @property
    def keys(self) -> Mapping[str, tuple[str, ...]]:
        """The primary key columns of every table; for whoever compares rows with claims."""
        return self._keys

    @property
    def record_id(self) -> str:
        """The record that the next write will be claimed by; empty in plumbing."""
        return self._record_id

    def all(self, sql: str, /, **params: Any) -> list[Row]:
        """Every row of a query, or every row a write touched."""
        return self._run(sql, params)[0]

    def among(self, sql: str, values: Sequence[str], /, **params: Any) -> list[Row]:
        """Every row of a query whose `in (:each)` stands for a list of values, without duplicates in `values`.

        Asked in portions of one size, padded with the last value, so that a database prepares the text only once.
        """
        text, found = sql.replace(":each", _EACH), list[Row]()
        for start in range(0, len(values), _PORTION):
            portion = list(values[start : start + _PORTION])
            padded = portion + portion[-1:] * (_PORTION - len(portion))
            found += self.all(text, **params, **dict(zip(_PLACES, padded, strict=True)))
        return found

    def one(self, sql: str, /, **params: Any) -> Row | None:
        """The first row, or None."""
        rows = self._run(sql, params)[0]
        return rows[0] if rows else None

    def run(self, sql: str, /, **params: Any) -> int:
        """The number of rows touched."""
        return self._run(sql, params)[1]

    def run_many(self, sql: str, rows: list[dict[str, Any]]) -> None:
        """One write to a plumbing table, for many rows of different keys."""
        statement = analyse(sql)
        if not statement.writes or statement.table:
            message = "run_many writes plumbing tables only"
            raise ValueError(message)
        if rows:
            self._check_write(statement)
        if len(rows) == 1:
            self._run(sql, rows[0])
        elif rows:
            self._forget(statement.written)
            self._executor.execute_many(statement, rows)

    def facts_version(self) -> int:
        """Moves whenever organisations, sites, keys or charters change; read once per transaction."""
        if self._facts_version is None:
            row = self.one("select version from kernel_facts")
            self._facts_version = int(row["version"]) if row else 0
        return self._facts_version

    def move_facts(self) -> None:
        """Tell every cache of slow entities to read again after this commit.

        By chance, not by counting: after a rollback a counter would give the same number to other facts, which a
        cache may have met in the meantime.
        """
        self.run("update kernel_facts set version = :fresh", fresh=secrets.randbits(52))
        self._facts_version = None

    def for_update(self) -> str:
        """The suffix that makes a row claim skip rows claimed elsewhere."""
        return " for update skip locked" if self.dialect == "postgres" else ""

    @contextlib.contextmanager
    def claimed_by(self, record_id: str) -> Iterator[None]:
        """Writes inside belong to `record_id`."""
        before, self._record_id = self._record_id, record_id
        try:
            yield
        finally:
            self._record_id = before

    def effects(self, record_id: str) -> list[Effect]:
        """Sorted final state of every row written under `record_id`, less rows that a later record took over."""
        rows = self._touched.get(record_id, {})
        return sorted(
            (table, key, DELETED if row is None else row_digest(row)) for (table, key), row in rows.items()
        )

    def _run(self, sql: str, params: dict[str, Any]) -> tuple[list[Row], int]:
        statement = analyse(sql)
        if not statement.writes:
            rows = self._ask(statement, params)
            return rows, len(rows)
        self._check_write(statement)
        if statement.needs_record:
            params["record_id"] = self._record_id
        self._forget(statement.written)
        rows, count = self._executor.execute(statement, params)
        if statement.table:
            self._claim(statement, rows)
        return rows, count

    def _ask(self, statement: Statement, params: dict[str, Any]) -> list[Row]:
        """Rows that are the caller's own, from memory where nothing was written to what they come from."""
        asked = (statement.sqlite, *params.items())
        found = self._answers.get(asked)
        if found is not None:
            return [row.copy() for row in found[1]]
        rows, _ = self._executor.execute(statement, params)
        if statement.words and len(rows) <= ROWS_KEPT:
            if len(self._answers) >= READS_KEPT:
                self._answers.clear()
            self._answers[asked] = (statement.words, [row.copy() for row in rows])
        return rows

    def _forget(self, table: str) -> None:
        """A write to `table`: whatever was read of it is asked again."""
        stale = [asked for asked, (words, _) in self._answers.items() if table in words]
        for asked in stale:
            del self._answers[asked]

    def _check_write(self, statement: Statement) -> None:
        if self._read_only:
            message = "a read command tried to write"
            raise ReadOnlyError(message)
        if statement.table and not self._record_id:
            message = f"a write to {statement.table} outside a recorded command"
            raise PermissionError(message)

    def _claim(self, statement: Statement, rows: list[Row]) -> None:
        columns = self._keys[statement.table]
        mine = self._touched.setdefault(self._record_id, {})
        for row in rows:
            key = statement.table, canonical_key([row[column] for column in columns])
            for other in self._touched.values():
                other.pop(key, None)
            mine[key] = None if statement.deletes else row


def canonical_key(values: list[str | int]) -> str:
    """A primary key as one text: canonical JSON of its values in column order."""
    return _encoder.encode(values).decode()


def row_digest(row: Row) -> str:
    """`sha256:` of the row's canonical JSON without NULL columns; the same on both databases."""
    plain: dict[str, str | int] = {}
    for name, value in row.items():
        if value is None:
            continue
        if isinstance(value, bytes):
            plain[name] = base64.urlsafe_b64encode(value).rstrip(b"=").decode()
        elif isinstance(value, str) or (isinstance(value, int) and abs(value) < _LARGEST):
            plain[name] = value
        else:
            message = f"column {name} holds {type(value).__name__}, which has no normal form"
            raise TypeError(message)
    return "sha256:" + hashlib.sha256(_encoder.encode(plain)).hexdigest()
