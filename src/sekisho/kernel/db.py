"""Connections, the single writer and transactions. Only `gate.py`, `migrate.py` and `app.py` may import this.

Two databases, one promise: `read` runs a function on one snapshot, `write` runs it in one serializable
transaction and returns only after the commit is durable. How each keeps the promise is in `sqlite.py` and
`postgres.py`; nothing above this file knows which one it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, TypeVar

from sekisho.kernel.tx import Dialect, Tx

ResultT = TypeVar("ResultT")


class Database(Protocol):
    """One database, shared by all threads of the process."""

    dialect: ClassVar[Dialect]

    def read(self, work: Callable[[Tx], ResultT]) -> ResultT:
        """Run `work` on a read-only snapshot."""
        ...

    def write(
        self,
        work: Callable[[Tx], ResultT],
        *,
        contention: str = "",
        committed: Callable[[Tx], bool] | None = None,
    ) -> ResultT:
        """Run `work` in a serializable transaction; `work` may run again, so it has no outside effect.

        `contention` names a thing many callers write at once: they take turns instead of retrying.
        `committed` tells, on a new connection, whether a transaction whose COMMIT got no answer took place.
        Raises BusyError when retries end, UnavailableError when the database is away, StorageFullError when
        the disk is full; in each case nothing was changed.
        """
        ...

    def script(self, sql: str, then: Callable[[Tx], None]) -> None:
        """Run a schema file and `then` in one transaction; for migrations before anybody else writes."""
        ...

    def reload_keys(self) -> None:
        """Read the primary keys of all tables again, after migrations."""
        ...

    def backup(self, target: str) -> None:
        """Write a consistent copy to a file that does not exist yet."""
        ...

    def close(self) -> None:
        """End the writer and every connection; further calls raise UnavailableError."""
        ...


Keys = Mapping[str, tuple[str, ...]]


def open_database(url: str) -> Database:
    """`sqlite:/path/to/file` or a PostgreSQL connection string (`postgresql://...`, `host=... dbname=...`)."""
    if url.startswith("sqlite:"):
        from sekisho.kernel.sqlite import SqliteDatabase  # noqa: PLC0415 - only the driver in use is loaded

        return SqliteDatabase(url.removeprefix("sqlite:"))
    from sekisho.kernel.postgres import PostgresDatabase  # noqa: PLC0415 - only the driver in use is loaded

    return PostgresDatabase(url)
