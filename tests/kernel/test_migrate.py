"""Schema files are applied once, in order, and never quietly replaced."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sekisho.app import MODULES
from sekisho.kernel import migrate as subject
from sekisho.kernel.db import Database, open_database
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import new_id
from sekisho.kernel.migrate import SchemaFile, migrate, schema_files
from sekisho.kernel.tx import Row, Tx

NOW_MS = 1_795_000_000_000
ONE = SchemaFile(
    "toy", "0001_one.sql", "create table toy_one (id text primary key, record_id text not null);"
)
TWO = SchemaFile("toy", "0002_two.sql", "create table toy_two (number {sequence}, record_id text not null);")


@dataclasses.dataclass
class Folder:
    """Schema files as they would lie in a package."""

    files: list[SchemaFile]

    def listed(self, modules: object) -> list[SchemaFile]:
        del modules
        return self.files


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, database: Database) -> Folder:
    """What is applied already, and nothing more; tests add to it."""
    real = Folder(list(schema_files(MODULES)))
    monkeypatch.setattr(subject, "schema_files", real.listed)
    assert migrate(database, MODULES, NOW_MS) == ()
    return real


def applied(database: Database) -> list[Row]:
    return database.read(
        lambda tx: tx.all("select * from kernel_migrations where module = :toy order by name", toy="toy")
    )


def test_files_come_by_module_and_number() -> None:
    found = [(file.module, file.name) for file in schema_files(MODULES)]
    assert [module for module, _ in found] == sorted((module for module, _ in found), key=MODULES.index)
    for module in MODULES:
        names = [name for one, name in found if one == module]
        assert names == sorted(names)
        assert names[0].startswith("0001_")


def test_what_is_missing_is_applied_once(database: Database, folder: Folder) -> None:
    folder.files.append(ONE)
    assert migrate(database, MODULES, NOW_MS) == ("toy/0001_one.sql",)
    assert migrate(database, MODULES, NOW_MS + 1) == ()
    folder.files.append(TWO)
    assert migrate(database, MODULES, NOW_MS + 2) == ("toy/0002_two.sql",)
    assert [(row["name"], row["digest"], row["applied_ms"]) for row in applied(database)] == [
        (ONE.name, ONE.digest, NOW_MS),
        (TWO.name, TWO.digest, NOW_MS + 2),
    ]


def test_a_new_table_is_there_with_its_key_at_once(database: Database, folder: Folder) -> None:
    folder.files.append(ONE)
    migrate(database, MODULES, NOW_MS)
    record = new_id("rec", 1)

    def work(tx: Tx) -> object:
        with tx.claimed_by(record):
            tx.run("insert into toy_one (id, record_id) values (:id, :record_id)", id="a")
        return tx.effects(record)

    effects = database.write(work)
    assert [effect[:2] for effect in effects] == [("toy_one", '["a"]')]  # type: ignore[attr-defined] - a list of effects


def test_a_sequence_is_spelled_for_each_database(database: Database, folder: Folder) -> None:
    folder.files.append(TWO)
    migrate(database, MODULES, NOW_MS)

    def work(tx: Tx) -> list[Row]:
        with tx.claimed_by(new_id("rec", 1)):
            return [
                row for _ in range(2) for row in tx.all("insert into toy_two (record_id) values (:record_id)")
            ]

    numbers = [row["number"] for row in database.write(work)]
    assert numbers == sorted(set(numbers))


def test_an_edited_file_stops_everything(database: Database, folder: Folder) -> None:
    folder.files.append(ONE)
    migrate(database, MODULES, NOW_MS)
    folder.files[-1] = SchemaFile(ONE.module, ONE.name, ONE.text + "\n-- a remark\n")
    folder.files.append(TWO)
    with pytest.raises(SekishoError) as caught:
        migrate(database, MODULES, NOW_MS)
    assert (caught.value.code, caught.value.params) == (
        "database.migration_edited",
        {"name": ONE.name, "module": "toy"},
    )
    assert [row["name"] for row in applied(database)] == [ONE.name]


def test_a_database_from_the_future_is_refused(database: Database, folder: Folder) -> None:
    folder.files.append(ONE)
    migrate(database, MODULES, NOW_MS)
    folder.files.pop()
    with pytest.raises(SekishoError) as caught:
        migrate(database, MODULES, NOW_MS)
    assert (caught.value.code, caught.value.params["module"]) == ("database.newer", "toy")


def test_a_file_that_fails_half_way_leaves_nothing(database: Database, folder: Folder) -> None:
    folder.files.append(
        SchemaFile("toy", "0001_one.sql", ONE.text + "\ncreate table toy_one (id text primary key);")
    )
    for _ in range(2):
        with pytest.raises(Exception, match=r"."):
            migrate(database, MODULES, NOW_MS)
    assert applied(database) == []
    folder.files[-1] = ONE
    assert migrate(database, MODULES, NOW_MS) == ("toy/0001_one.sql",)


@pytest.mark.database("sqlite")
def test_an_empty_database_becomes_a_whole_one(tmp_path: Path, db_url: str) -> None:
    del db_url
    database = open_database(f"sqlite:{tmp_path / 'new.db'}")
    try:
        names = migrate(database, MODULES, NOW_MS)
        assert names == tuple(f"{file.module}/{file.name}" for file in schema_files(MODULES))
        assert database.read(lambda tx: tx.one("select version from kernel_facts")) is not None
    finally:
        database.close()
