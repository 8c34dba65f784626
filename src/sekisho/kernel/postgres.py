"""PostgreSQL: SERIALIZABLE transactions with at most five tries, and turns for contended things.

Callers of this process take turns at the desk, those of other control planes at the database.

A lock taken inside a SERIALIZABLE transaction comes after its snapshot, so callers of one quota would still fail
each other; hence the session advisory lock *before* BEGIN (without it 338 of 640 callers gave up, measured).
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import secrets
import shutil
import subprocess  # pg_dump is the one backup tool that restores everywhere
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import psycopg
import psycopg_pool
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from sekisho.kernel.desk import Desk, Job
from sekisho.kernel.errors import BusyError, StorageFullError, UnavailableError
from sekisho.kernel.tx import Dialect, Row, Statement, Tx

ResultT = TypeVar("ResultT")

TRIES = 5
READERS = 12
WRITERS = 8
"""Threads that write. Each keeps its connection and cursor: taking one for every command costs a fifth of it."""
_BEGIN = {
    True: b"begin isolation level repeatable read read only",
    False: b"begin isolation level serializable",
}
"""By whether the transaction only reads."""
ROWS_TOGETHER = 64
_VALUES = re.compile(r" values (\((?:%\(\w+\)s(?:, )?)+\))")
_RETRY = (pg.SerializationFailure, pg.DeadlockDetected)
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout)


class _CommitLostError(Exception):
    """COMMIT was sent and no answer came."""


class _Executor:
    dialect: ClassVar[Dialect] = "postgres"

    def __init__(self, cursor: psycopg.Cursor[tuple[Any, ...]]) -> None:
        self._cursor = cursor

    def execute(self, statement: Statement, params: Mapping[str, Any]) -> tuple[list[Row], int]:
        # The text is written in our own tables.py and only rewritten to this driver's parameter style.
        self._cursor.execute(statement.postgres.encode(), params)
        result = self._cursor.pgresult
        if result is None or not result.nfields:
            return [], self._cursor.rowcount
        # Names alone: the driver's own description looks up the type of every column each time.
        names = [(result.fname(number) or b"").decode() for number in range(result.nfields)]
        rows = [dict(zip(names, row, strict=True)) for row in self._cursor.fetchall()]
        return rows, len(rows)

    def execute_many(self, statement: Statement, params: list[dict[str, Any]]) -> None:
        """Whole rows in one statement: the driver's own way for many waits three times, however few they are.

        In powers of two, so that few texts are prepared.
        """
        at = 0
        while at < len(params):
            count = 1 << min(len(params) - at, ROWS_TOGETHER).bit_length() - 1
            text = _together(statement.postgres, count)
            if text is None:
                self._cursor.executemany(statement.postgres.encode(), params[at:])
                return
            rows = enumerate(params[at : at + count])
            values = {f"{name}_{number}": value for number, row in rows for name, value in row.items()}
            self._cursor.execute(text, values)
            at += count


@functools.lru_cache(maxsize=256)
def _together(text: str, count: int) -> bytes | None:
    """An insert of one row as one of `count`; None for what is none, or says more of each row than its values."""
    found = _VALUES.search(text)
    if found is None or "%(" in text[found.end() :]:
        return None
    rows = ", ".join(found[1].replace(")s", f"_{number})s") for number in range(count))
    return f"{text[: found.start(1)]}{rows}{text[found.end() :]}".encode()


class PostgresDatabase:
    """A PostgreSQL server, shared by several control planes."""

    dialect: ClassVar[Dialect] = "postgres"

    def __init__(self, dsn: str) -> None:
        """Connect; UnavailableError when the server is not there."""
        self._dsn = dsn
        self._keys: dict[str, tuple[str, ...]] = {}
        self._pool = psycopg_pool.ConnectionPool(
            dsn, min_size=1, max_size=READERS + WRITERS, kwargs={"autocommit": True}, open=False, timeout=20
        )
        try:
            self._pool.open(wait=True, timeout=20)
            self.reload_keys()
        except _AWAY as error:
            self._pool.close()
            raise UnavailableError(part="database", seconds=5) from error
        self._mine = threading.local()
        self._desk = Desk("postgres-writer", self._serve, threads=WRITERS, leave=self._give_back)

    def read(self, work: Callable[[Tx], ResultT]) -> ResultT:
        """Run `work` on a repeatable-read snapshot."""
        with self._connection() as connection, connection.cursor() as cursor:
            try:
                return work(self._begin(cursor, read_only=True))
            finally:
                with contextlib.suppress(psycopg.Error):
                    cursor.execute("rollback")

    def write(
        self,
        work: Callable[[Tx], ResultT],
        *,
        contention: str = "",
        committed: Callable[[Tx], bool] | None = None,
    ) -> ResultT:
        """Run `work` SERIALIZABLE, again after a serialization failure, at most five times in all."""
        return self._desk.hand_in(Job(work, turn=contention, committed=committed))

    def _serve(self, jobs: list[Job[Any]]) -> None:
        """Each by itself: a group would fail as a whole when one of it met another control plane."""
        for job in jobs:
            job.result = self._write(job)

    def _write(self, job: Job[ResultT]) -> ResultT:
        outcome: list[ResultT] = []
        for attempt in range(TRIES):
            try:
                with self._own_cursor() as cursor:
                    return self._once(cursor, job, outcome)
            except _RETRY:
                time.sleep((1 << attempt) * (5 + secrets.randbelow(10)) / 1000)
            except _CommitLostError as error:
                if job.committed is None:
                    raise UnavailableError(part="database", seconds=5) from error
                if self.read(job.committed):
                    return outcome[-1]
            except pg.DiskFull as error:
                raise StorageFullError from error
        raise BusyError(seconds=1)

    def script(self, sql: str, then: Callable[[Tx], None]) -> None:
        """Run a schema file and `then` in one transaction."""
        with self._connection() as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.execute(sql.encode())
            self._read_keys(cursor)
            then(Tx(_Executor(cursor), self._keys, read_only=False))

    def reload_keys(self) -> None:
        """Read every table's primary key, in column order."""
        with self._connection() as connection, connection.cursor() as cursor:
            self._read_keys(cursor)

    def backup(self, target: str) -> None:
        """Write a `pg_dump` archive; UnavailableError where the tool is not installed.

        The password travels in the tool's environment: a command line can be read by everybody on the machine.
        """
        program = shutil.which("pg_dump")
        if program is None:
            raise UnavailableError(part="pg_dump", seconds=0)
        parts = conninfo_to_dict(self._dsn)
        password = str(parts.pop("password", "") or "")
        subprocess.run(  # noqa: S603 - fixed program, no shell
            [
                program,
                "--format=custom",
                "--no-owner",
                f"--file={target}",
                f"--dbname={make_conninfo('', **parts)}",
            ],
            env=os.environ | ({"PGPASSWORD": password} if password else {}),
            check=True,
        )

    def close(self) -> None:
        """Let writes that were handed in finish, then close the pool."""
        self._desk.close()
        self._pool.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        try:
            with self._pool.connection() as connection:
                yield connection
        except _AWAY as error:
            raise UnavailableError(part="database", seconds=5) from error

    @contextlib.contextmanager
    def _own_cursor(self) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
        """The cursor of this writer; its connection goes back to the pool once something is wrong with it."""
        try:
            cursor = self._held()
            try:
                yield cursor
            finally:
                if cursor.connection.info.transaction_status is not TransactionStatus.IDLE:
                    self._give_back()
        except (_CommitLostError, *_RETRY, pg.DiskFull):
            raise
        except _AWAY as error:
            raise UnavailableError(part="database", seconds=5) from error

    def _held(self) -> psycopg.Cursor[tuple[Any, ...]]:
        if not hasattr(self._mine, "cursor"):
            self._mine.cursor = self._pool.getconn().cursor()
        cursor: psycopg.Cursor[tuple[Any, ...]] = self._mine.cursor
        return cursor

    def _give_back(self) -> None:
        if hasattr(self._mine, "cursor"):
            self._pool.putconn(self._mine.cursor.connection)
            del self._mine.cursor

    def _once(
        self, cursor: psycopg.Cursor[tuple[Any, ...]], job: Job[ResultT], outcome: list[ResultT]
    ) -> ResultT:
        with _turn(cursor, job.turn):
            try:
                outcome[:] = [job.work(self._begin(cursor, read_only=False))]
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    cursor.execute("rollback")
                raise
            try:
                cursor.execute("commit")
            except _RETRY:
                raise
            except _AWAY as error:
                if cursor.connection.broken or cursor.connection.closed:
                    raise _CommitLostError from error
                raise
            if cursor.statusmessage != "COMMIT":
                message = "a handler went on after a failed statement"
                raise RuntimeError(message)
            return outcome[0]

    def _begin(self, cursor: psycopg.Cursor[tuple[Any, ...]], *, read_only: bool) -> Tx:
        """Begin, and bring the facts version along: nearly every transaction asks for it."""
        migrated = "kernel_facts" in self._keys
        cursor.execute(_BEGIN[read_only] + (b"; select version from kernel_facts" if migrated else b""))
        cursor.nextset()
        row = cursor.fetchone() if migrated else None
        facts = int(row[0]) if row else None
        return Tx(_Executor(cursor), self._keys, read_only=read_only, facts_version=facts)

    def _read_keys(self, cursor: psycopg.Cursor[tuple[Any, ...]]) -> None:
        cursor.execute(
            "select c.relname, a.attname from pg_index i join pg_class c on c.oid = i.indrelid"
            " join pg_namespace n on n.oid = c.relnamespace"
            " cross join unnest(i.indkey) with ordinality as k(number, position)"
            " join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number"
            " where i.indisprimary and n.nspname = current_schema() order by c.relname, k.position"
        )
        keys: dict[str, list[str]] = {}
        for table, column in cursor.fetchall():
            keys.setdefault(table, []).append(column)
        self._keys.clear()
        self._keys.update({table: tuple(columns) for table, columns in keys.items()})


@contextlib.contextmanager
def _turn(cursor: psycopg.Cursor[tuple[Any, ...]], contention: str) -> Iterator[None]:
    """Hold the contended thing's session lock around the whole transaction."""
    if not contention:
        yield
        return
    cursor.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (contention,))
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):
            cursor.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", (contention,))
