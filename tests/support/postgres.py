"""A private PostgreSQL server for tests and benchmarks: started from nothing, reached by a Unix socket only.

Why not a server that is there already: tests clone, drop and kill databases, and a benchmark must know what
fsync does. The server belongs to whoever called `running` and ends with that block. initdb refuses to run as
root, so as root the server runs as `nobody`, in a folder of its own that only `nobody` may enter.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

START_SECONDS = 60
STOP_SECONDS = 20
_STRATEGIES = 150_000
"""The first version whose `create database` takes one."""
_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made in it has a random name and belongs to the server's user
_MEMORY_BYTES_MIN = 2 << 30
_SOCKET_PATH_MAX = 100  # the kernel takes 107 bytes, PostgreSQL appends the socket's name

_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
_FAST: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_size": "128MB",
}
_DURABLE: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


class PostgresUnavailableError(RuntimeError):
    """No PostgreSQL server program here, or it did not start; the text says which and shows its log."""


def find_program(name: str) -> Path | None:
    """`name` of the newest installed PostgreSQL: Debian keeps them off PATH, under the version's number."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    on_path = shutil.which(name)
    return installed[0] if installed else Path(on_path) if on_path else None


class Server:
    """One running server. Databases are made and dropped here; statements are the caller's business."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder = folder
        self._settings = {
            **_SETTINGS,
            **(_DURABLE if durable else _FAST),
            "unix_socket_directories": str(folder),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._administrator: psycopg.Connection[Any] | None = None

    def url(self, database: str) -> str:
        """A connection string for one database of this server; it names the socket's folder, no password."""
        return f"postgresql://sekisho@/{quote(database)}?host={quote(str(self.folder), safe='')}"

    def create(self, database: str, *, template: str = "template1") -> str:
        """Clone `template`, which nobody may be connected to, and answer the new database's URL."""
        # Copying files takes a third of writing each page to the log; before 15 there was no other way.
        how = " strategy file_copy" if self._connection().info.server_version >= _STRATEGIES else ""
        self._administer("create database {} template {}" + how, database, template)
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, throwing out whoever is still connected."""
        self._administer("drop database if exists {} with (force)", database)

    def start(self) -> None:
        """Start on the existing data folder and return once the server takes connections."""
        program = _program("postgres")
        arguments = [str(program), "-D", str(self.folder / "data")]
        for name, value in self._settings.items():
            arguments += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                arguments, stdout=log, stderr=log, **_as_server_user(self.folder)
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                message = f"PostgreSQL did not start:\n{self._log_tail()}"
                raise PostgresUnavailableError(message)
            time.sleep(0.02)

    def kill(self) -> None:
        """End at once, as a power cut would: nothing is flushed. `start` then recovers from the log."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """Throw everybody out, write everything down, end."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._administrator is not None:
            self._administrator.close()
        process, self._process, self._administrator = self._process, None, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _administer(self, statement: str, *names: str) -> None:
        composed = sql.SQL(statement).format(*map(sql.Identifier, names))  # pyrefly: ignore[bad-argument-type] - the text is a literal of this file
        self._connection().execute(composed)

    def _connection(self) -> psycopg.Connection[Any]:
        """Kept open: every test makes and drops a database."""
        if self._administrator is None or self._administrator.closed:
            self._administrator = psycopg.connect(self.url("postgres"), autocommit=True)
        return self._administrator

    def _log_tail(self) -> str:
        return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-15:])


@contextlib.contextmanager
def running(*, durable: bool = False) -> Generator[Server]:
    """A fresh, empty server. `durable` turns fsync on, for benchmarks and for tests that cut the power."""
    folder = Path(tempfile.mkdtemp(prefix="sekisho-pg-", dir=None if durable else _memory()))
    server = Server(folder, durable=durable)
    try:
        _initialise(folder)
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """A folder in memory with room for a server, where there is one: a test's database there costs a third."""
    if not _MEMORY.is_mount() or not os.access(_MEMORY, os.W_OK):
        return None
    return _MEMORY if shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES_MIN else None


def _initialise(folder: Path) -> None:
    if len(os.fsencode(folder)) > _SOCKET_PATH_MAX:
        message = f"path too long for a Unix socket: {folder}"
        raise PostgresUnavailableError(message)
    as_user = _as_server_user(folder)
    if "user" in as_user:
        os.chown(folder, as_user["user"], as_user["group"])
    command = [str(_program("initdb")), "-D", str(folder / "data"), "-U", "sekisho"]
    command += ["--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8", "--no-instructions"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, **as_user)
    if result.returncode != 0:
        message = f"initdb failed:\n{result.stderr}"
        raise PostgresUnavailableError(message)


def _program(name: str) -> Path:
    path = find_program(name)
    if path is None:
        message = f"no PostgreSQL here: {name} not found (Debian package: postgresql)"
        raise PostgresUnavailableError(message)
    return path


def _as_server_user(folder: Path) -> dict[str, Any]:
    """Keyword arguments of `subprocess` that make a child run as the server's user."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "LC_ALL": "C"}
    common: dict[str, Any] = {"cwd": folder, "env": environment, "stdin": subprocess.DEVNULL}
    if os.geteuid() != 0:
        return common
    nobody = pwd.getpwnam("nobody")
    return {**common, "user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
