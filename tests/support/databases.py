"""Fresh, migrated databases for tests: one template per kind and session, one copy per test."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tomllib
from collections.abc import Generator
from pathlib import Path

from tests.support import postgres

ROOT = Path(__file__).resolve().parents[2]
FILE, LOCK = "sekisho.db", ".lock"
"""A test's SQLite file, and the end of the name of the file by which a process owns it: never part of a copy."""
_MIGRATED_MS = 1_700_000_000_000  # any fixed moment: two templates of one source are equal
_numbers = itertools.count(1)


def modules_with_schema() -> tuple[str, ...]:
    """Modules of `sekisho` that own tables, lowest layer first: each is migrated after what it uses."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("id") == "layers")
    bottom_up = [
        name.strip().strip("()") for layer in reversed(layers) for name in layer.replace(":", "|").split("|")
    ]
    return tuple(
        name for name in bottom_up if any((ROOT / "src" / "sekisho" / name / "schema").glob("*.sql"))
    )


def migrate_to_latest(url: str) -> None:
    """Bring an empty database to the newest schema, as `sekishod migrate` does, and close it."""
    from sekisho.kernel.db import open_database
    from sekisho.kernel.migrate import migrate

    database = open_database(url)
    try:
        migrate(database, modules_with_schema(), _MIGRATED_MS)
    finally:
        database.close()


def sqlite_template(folder: Path) -> Path:
    """A migrated SQLite file in `folder`, closed, so that copying the one file copies the database."""
    file = folder / "template.db"
    migrate_to_latest(f"sqlite:{file}")
    return file


def sqlite_copy(template: Path, folder: Path) -> str:
    """The URL of a copy of `template` in `folder`; a journal left beside the template comes along."""
    file = folder / FILE
    for part in template.parent.glob(template.name + "*"):
        if part.suffix != LOCK:
            shutil.copyfile(part, folder / part.name.replace(template.name, file.name))
    return f"sqlite:{file}"


def postgres_template(server: postgres.Server) -> str:
    """The name of a migrated database on `server` that nobody is connected to."""
    migrate_to_latest(server.create("sekisho_template"))
    return "sekisho_template"


@contextlib.contextmanager
def postgres_copy(server: postgres.Server, template: str) -> Generator[str]:
    """The URL of a clone of `template`, dropped at the end whoever is still connected."""
    name = f"test_{next(_numbers)}"
    yield server.create(name, template=template)
    server.drop(name)
