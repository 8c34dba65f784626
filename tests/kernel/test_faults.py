"""Broken on purpose: a full disk, a second process, a database that goes away, an answer that is lost."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typing_extensions import override

from sekisho.kernel.db import Database, open_database
from sekisho.kernel.errors import SekishoError, StorageFullError, UnavailableError
from sekisho.kernel.sqlite import SqliteDatabase
from sekisho.kernel.tx import Tx
from tests.support import toy
from tests.support.toy import ANN, PutThing


@pytest.mark.database("sqlite")
def test_a_second_process_on_the_sqlite_file_is_refused(database: Database, db_url: str) -> None:
    program = (
        "import sys; from sekisho.kernel.db import open_database\n"
        "from sekisho.kernel.errors import SekishoError\n"
        "try: open_database(sys.argv[1])\n"
        "except SekishoError as error: sys.exit(error.code)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, db_url], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr.strip()) == (1, "database.in_use")


@pytest.mark.database("sqlite")
def test_a_full_disk_fails_the_whole_group_and_nothing_is_half_done(toy_world: toy.World) -> None:
    assert isinstance(toy_world.database, SqliteDatabase)
    writer = toy_world.database._writer
    pages = writer.execute("pragma page_count").fetchone()[0]
    writer.execute(f"pragma max_page_count = {pages + 2}")
    errors: list[str] = []
    done: list[str] = []

    def work(number: int) -> None:
        try:
            toy_world.gate.perform(ANN, PutThing(id=f"t{number}", name="x" * 3000))
            done.append(f"t{number}")
        except SekishoError as error:
            errors.append(error.code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(errors) == {StorageFullError.problem.code}
    stored = [row["id"] for row in toy_world.rows("select id from toy_things")]
    assert sorted(stored) == sorted(done)
    writer.execute(f"pragma max_page_count = {pages + 10_000}")
    toy_world.gate.perform(ANN, PutThing(id="after"))


@pytest.mark.database("sqlite")
def test_a_closed_database_says_so(toy_world: toy.World) -> None:
    toy_world.database.close()
    with pytest.raises(UnavailableError):
        toy_world.gate.perform(ANN, PutThing(id="a"))


@pytest.mark.database("postgres")
def test_a_connection_cut_in_the_middle_leaves_nothing_behind(toy_world: toy.World, db_url: str) -> None:

    def work(tx: Tx) -> None:
        with tx.claimed_by("rec_1"):
            tx.run("insert into toy_things (id, name, amount, record_id) values ('a', 'n', 0, :record_id)")
        with psycopg.connect(db_url, autocommit=True) as other:
            other.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and state = 'idle in transaction'"
            )
        tx.one("select 1 as one")

    with pytest.raises(UnavailableError):
        toy_world.database.write(work)
    assert toy_world.rows("select id from toy_things") == []
    toy_world.gate.perform(ANN, PutThing(id="b"))


@pytest.mark.database("postgres")
def test_a_lost_answer_to_commit_is_resolved_by_looking_up_the_record(
    database: Database, db_url: str, tmp_path: Path
) -> None:
    toy.World(database)
    with Cutter(db_url, tmp_path) as cutter:
        through = open_database(cutter.dsn)
        ledger = RowsAsLedger()
        world = toy.World(through, recorder=ledger)
        world.gate.perform(ANN, PutThing(id="a"))
        cutter.cut_after_next_commit()
        assert world.gate.perform(ANN, PutThing(id="b", amount=7)).amount == 7
        assert cutter.cuts == 1
        through.close()
    assert toy.World(database).rows("select id, amount from toy_things order by id") == [
        {"id": "a", "amount": 0},
        {"id": "b", "amount": 7},
    ]


class RowsAsLedger(toy.Memory):
    """Knows a record by the row that claims it, so that only what was committed is known."""

    @override
    def known(self, tx: Tx, record_id: str) -> bool:
        return tx.one("select id from toy_things where record_id = :id", id=record_id) is not None


class Cutter:
    """A relay before PostgreSQL that can pass a COMMIT on and cut the line before its answer."""

    def __init__(self, dsn: str, folder: Path) -> None:
        parts = conninfo_to_dict(dsn)
        self._target = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
        self._path = folder / ".s.PGSQL.5432"
        self.dsn = make_conninfo(dsn, host=str(folder), port=5432)
        self._armed = threading.Event()
        self.cuts = 0
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        self._listener.bind(str(self._path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def cut_after_next_commit(self) -> None:
        self._armed.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            cut = threading.Event()
            threading.Thread(target=self._relay, args=(client, server, cut, True), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, cut, False), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, cut: threading.Event, asks: bool) -> None:
        try:
            while data := source.recv(65_536):
                if asks and b"commit" in data and self._armed.is_set():
                    self._armed.clear()
                    cut.set()
                if not asks and cut.is_set():
                    # The server has answered, so it has committed: now nobody hears of it.
                    self.cuts += 1
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
