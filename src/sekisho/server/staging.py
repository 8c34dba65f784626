"""Where a backup is unpacked and looked at before it takes the database's place, and the exchange itself.

The present database is not touched until the restored one was checked; then the two change places in one step, and the
replaced one stays beside it under a name with the time. One class for each kind of database, of equal shape.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess  # noqa: TID251 - PostgreSQL's own tools are what restores everywhere
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from sekisho.kernel.errors import SekishoError, UnavailableError
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

IN_USE = problems.define(
    "restore.in_use",
    503,
    Exit.UNAVAILABLE,
    Text(
        "The database is in use. Stop every server before restoring.",
        "データベースが使用中です。復元の前に、すべてのサーバーを停止してください。",
    ),
)
TOOL_FAILED = problems.define(
    "restore.tool_failed",
    500,
    Exit.FAILED,
    Text("{tool} refused: {what}", "{tool}が失敗しました：{what}"),
)
_COMPANIONS = ("", "-wal", "-shm")
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}").fullmatch
_ANSWER_CHARACTERS_MAX = 300


class Staging(Protocol):
    """One restored database that is not in its place yet."""

    url: str
    """Where it can be opened meanwhile."""

    def unpack(self, copy: Path) -> None:
        """Make it from a backup's copy."""
        ...

    def exchange(self) -> str:
        """Put it in place; answers under which name the replaced one is kept (empty: there was none)."""
        ...

    def discard(self) -> None:
        """Leave nothing of it behind; the present database was not touched."""
        ...


@contextlib.contextmanager
def staged(database_url: str, stamp: str) -> Iterator[Staging]:
    """A place beside the database; discarded at the end unless it was exchanged. `stamp` is part of its name.

    Raises `restore.in_use` while a server has the database.
    """
    with contextlib.ExitStack() as stack:
        staging: Staging
        if database_url.startswith("sqlite:"):
            path = Path(database_url.removeprefix("sqlite:"))
            stack.enter_context(_alone(path))
            staging = SqliteStaging(path, stamp)
        else:
            staging = PostgresStaging(database_url, stamp)
        try:
            yield staging
        finally:
            staging.discard()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the file's lock, as the server that opens it would."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SekishoError(IN_USE) from error
    finally:
        os.close(descriptor)


class SqliteStaging:
    """A file beside the file."""

    def __init__(self, path: Path, stamp: str) -> None:
        """The caller holds the lock of `path`."""
        self._path = path
        self._file = path.with_name(f"{path.name}.restoring-{stamp}")
        self._kept = path.with_name(f"{path.name}.before-{stamp}")
        self.url = f"sqlite:{self._file}"

    def unpack(self, copy: Path) -> None:
        """As `Staging`."""
        shutil.copyfile(copy, self._file)
        self._file.chmod(0o600)

    def exchange(self) -> str:
        """As `Staging`: a journal left behind goes with the file it belongs to."""
        had_one = self._path.exists()
        for end in _COMPANIONS:
            _move(self._path, self._kept, end)
        # A crash between the two moves leaves both under their long names: nothing is lost, nothing is mixed.
        for end in _COMPANIONS:
            _move(self._file, self._path, end)
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return self._kept.name if had_one else ""

    def discard(self) -> None:
        """As `Staging`."""
        for end in (*_COMPANIONS, ".lock"):
            self._file.with_name(self._file.name + end).unlink(missing_ok=True)


def _move(source: Path, target: Path, end: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        source.with_name(source.name + end).replace(target.with_name(target.name + end))


class PostgresStaging:
    """A database beside the database, on the same server; its role must be allowed to create one."""

    MAINTENANCE = "postgres"
    """The database from which others are created and renamed."""

    def __init__(self, url: str, stamp: str) -> None:
        """`url` names the database in its path."""
        self._name = unquote(urlsplit(url).path.lstrip("/"))
        if _PLAIN_NAME(self._name) is None:
            raise SekishoError(
                TOOL_FAILED, tool="sekishod", what="the database's name must be in the URL's path"
            )
        self._base = url
        self._staged = f"{self._name}_restoring_{stamp}"
        self._kept = f"{self._name}_before_{stamp}"
        self._made = False
        self.url = _with_name(url, self._staged)

    def unpack(self, copy: Path) -> None:
        """As `Staging`."""
        held = f"select 1 from pg_stat_activity where datname = '{self._name}' limit 1"  # noqa: S608 - a plain name
        if self._sql(held):
            raise SekishoError(IN_USE)
        self._sql(f'create database "{self._staged}"')
        self._made = True
        _tool("pg_restore", self.url, "--exit-on-error", "--single-transaction", "--no-owner", str(copy))

    def exchange(self) -> str:
        """As `Staging`: both names change in one transaction of the server."""
        try:
            self._sql(
                f'begin; alter database "{self._name}" rename to "{self._kept}";'
                f' alter database "{self._staged}" rename to "{self._name}"; commit'
            )
        except SekishoError as error:
            if "being accessed" in str(error):
                raise SekishoError(IN_USE) from error
            raise
        self._made = False
        return self._kept

    def discard(self) -> None:
        """As `Staging`."""
        if self._made:
            self._sql(f'drop database if exists "{self._staged}" with (force)')

    def _sql(self, text: str) -> str:
        url = _with_name(self._base, self.MAINTENANCE)
        return _tool(
            "psql", url, "--no-psqlrc", "--quiet", "--tuples-only", "--set=ON_ERROR_STOP=1", "--command", text
        )


def _with_name(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _tool(name: str, url: str, *arguments: str) -> str:
    """Run one of PostgreSQL's programs on a database; answers its output. No password is in its command line."""
    program = shutil.which(name)
    if program is None:
        raise UnavailableError(part=name, seconds=0)
    address, secrets = without_password(url)
    done = subprocess.run(  # noqa: S603 - one of PostgreSQL's own programs, no shell
        [program, f"--dbname={address}", *arguments],
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line] or [f"status {done.returncode}"]
        raise SekishoError(TOOL_FAILED, tool=name, what=" ".join(lines)[:_ANSWER_CHARACTERS_MAX])
    return done.stdout.strip()


def without_password(url: str) -> tuple[str, Mapping[str, str]]:
    """A connection URL as other users of this machine may see it, and the environment that holds its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, {}
    user, _, host = parts.netloc.rpartition("@")
    address = urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}"))
    return address, {"PGPASSWORD": unquote(parts.password)}
