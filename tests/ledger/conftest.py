"""The ledger's world. It stands on the kernel alone, so its databases hold the tables of the two and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho.kernel.db import open_database
from sekisho.kernel.migrate import migrate
from sekisho.ledger import read_witnesses
from sekisho_verify.checkpoint import parse_key
from tests.guarantor.world import House
from tests.ledger.watching import NAMES, Yard, settings_of
from tests.ledger.world import ORIGIN, World, opened
from tests.support import postgres


def _migrated(url: str) -> None:
    database = open_database(url)
    migrate(database, ("kernel", "ledger"), 0)
    database.close()


@pytest.fixture
def world(db_url: str, tmp_path: Path) -> Iterator[World]:
    """A fresh world on a fresh database."""
    with opened(db_url, tmp_path) as fresh:
        yield fresh


@pytest.fixture
def yard(db_url: str, tmp_path: Path) -> Iterator[Yard]:
    """A fresh log and two witnesses that have seen nothing."""
    with opened(db_url, tmp_path) as first:
        key = parse_key(first.keys.first)
    houses = {
        name: House(tmp_path / name.replace("/", "-"), name=name, logs={ORIGIN: (key,)}) for name in NAMES
    }
    cosigners = read_witnesses(settings_of(houses))
    with opened(db_url, tmp_path, witnesses=cosigners) as world:
        yield Yard(world, houses, cosigners)
    for house in houses.values():
        house.state.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ledger") / "template.db"
    _migrated(f"sqlite:{file}")
    return file


@pytest.fixture(scope="session")
def postgres_template(postgres_server: postgres.Server) -> str:
    _migrated(postgres_server.create("ledger_template"))
    return "ledger_template"
