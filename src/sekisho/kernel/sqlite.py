"""SQLite: one writer thread that commits for many callers at once.

Why one writer: threads that each commit by themselves starve one another (8,100 commands a second against
26,900 for a group). Each command is a savepoint of the group's transaction, the group is committed once, and
only then are its callers told. Owner of the file: the process that holds `<file>.lock`; a second one is refused,
because two writers' caches of the facts version would disagree.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from sekisho.kernel.desk import Desk, Job
from sekisho.kernel.errors import SekishoError, StorageFullError, UnavailableError
from sekisho.kernel.tx import Dialect, Row, Statement, Tx
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

ResultT = TypeVar("ResultT")

_MACHINE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""Codes that say something about the machine, not about our SQL."""

GROUP_MAX = 256
"""Commands in one commit. Bounds how long the first of a group waits for the last."""

IN_USE = problems.define(
    "database.in_use",
    503,
    Exit.UNAVAILABLE,
    Text(
        "Another process already uses {file}. Only one server may open a SQLite database.",
        "{file}は別のプロセスが使用中です。SQLiteのデータベースを開けるサーバーは1つだけです。",
    ),
)


class _Executor:
    dialect: ClassVar[Dialect] = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: Statement, params: Mapping[str, Any]) -> tuple[list[Row], int]:
        cursor = self._connection.execute(statement.sqlite, params)
        if cursor.description is None:
            return [], cursor.rowcount
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return rows, len(rows) if statement.writes else cursor.rowcount

    def execute_many(self, statement: Statement, params: list[dict[str, Any]]) -> None:
        self._connection.executemany(statement.sqlite, params)


class SqliteDatabase:
    """The embedded database. See the module's comment for who may open it."""

    dialect: ClassVar[Dialect] = "sqlite"

    def __init__(self, path: str) -> None:
        """Lock the file, start the writer. Raises `database.in_use` when another process has it."""
        self._path = path
        self._lock_fd = _lock(path)
        self._closed = False
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._keys: dict[str, tuple[str, ...]] = {}
        self._writer = _connect(path)
        self._writer.execute("pragma journal_mode=wal")
        self._writer.execute("pragma synchronous=full")
        self.reload_keys()
        self._desk = Desk("sqlite-writer", self._commit, together=GROUP_MAX)

    def read(self, work: Callable[[Tx], ResultT]) -> ResultT:
        """Run `work` on a snapshot, on this thread's own connection."""
        connection = self._reader()
        connection.execute("begin")
        try:
            return work(Tx(_Executor(connection), self._keys, read_only=True))
        finally:
            connection.execute("rollback")

    def write(
        self,
        work: Callable[[Tx], ResultT],
        *,
        contention: str = "",
        committed: Callable[[Tx], bool] | None = None,
    ) -> ResultT:
        """Queue `work` to the writer and wait for its group's commit. The two options need nothing here."""
        del contention, committed
        return self._desk.hand_in(Job(work))

    def script(self, sql: str, then: Callable[[Tx], None]) -> None:
        """Run a schema file through the writer, statement by statement (`executescript` would commit first)."""

        def work(tx: Tx) -> None:
            for statement in _statements(sql):
                self._writer.execute(statement)
            self.reload_keys()
            then(tx)

        self.write(work)

    def reload_keys(self) -> None:
        """Read every table's primary key; called on the writer's connection before or between commands."""
        tables = [
            row[0] for row in self._writer.execute("select name from sqlite_master where type = 'table'")
        ]
        self._keys.clear()
        for table in tables:
            columns = self._writer.execute(f'pragma table_info("{table}")').fetchall()
            keys = sorted((column[5], column[1]) for column in columns if column[5])
            self._keys[table] = tuple(name for _, name in keys)

    def backup(self, target: str) -> None:
        """Copy with SQLite's online backup, which sees one committed state."""
        with contextlib.closing(sqlite3.connect(target)) as copy:
            self._reader().backup(copy)

    def close(self) -> None:
        """Let queued commands finish, then release the file."""
        if self._closed:
            return
        self._closed = True
        self._desk.close()
        self._writer.close()
        with self._readers_lock:
            for connection in self._readers:
                connection.close()
        os.close(self._lock_fd)

    def _reader(self) -> sqlite3.Connection:
        if self._closed:
            raise UnavailableError(part="database", seconds=5)
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = _connect(self._path)
            connection.execute("pragma query_only=on")
            self._local.connection = connection
            with self._readers_lock:
                self._readers.append(connection)
        return connection

    def _commit(self, group: list[Job[Any]]) -> None:
        """Run each job in its savepoint and commit once. Never raises."""
        try:
            self._writer.execute("begin immediate")
            for job in group:
                self._run(job)
            self._writer.execute("commit")
        except BaseException as error:  # noqa: BLE001 - whatever broke the group is every caller's answer
            self._fail(group, error)

    def _run(self, job: Job[Any]) -> None:
        self._writer.execute("savepoint command")
        try:
            job.result = job.work(Tx(_Executor(self._writer), self._keys, read_only=False))
        except BaseException as error:
            # A full disk rolls the whole transaction back under the savepoints; going on would commit the rest
            # of the group one by one.
            if not self._writer.in_transaction:
                raise
            self._writer.execute("rollback to command")
            job.error = _translated(error)
        self._writer.execute("release command")

    def _fail(self, group: list[Job[Any]], error: BaseException) -> None:
        if self._writer.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("rollback")
        answer = _translated(error)
        for job in group:
            job.error = answer


def _translated(error: BaseException) -> BaseException:
    """What a caller is told of a fault of the machine; a mistake in our SQL stays what it is."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0
    if code not in _MACHINE:
        return error
    answer = (
        StorageFullError() if code == sqlite3.SQLITE_FULL else UnavailableError(part="database", seconds=5)
    )
    answer.__cause__ = error
    return answer


def _lock(path: str) -> int:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SekishoError(IN_USE, file=Path(path).name) from error
    return descriptor


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=1024)
    connection.execute("pragma foreign_keys=on")
    connection.execute("pragma busy_timeout=10000")
    return connection


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending
