"""A server per test module: starting one is a third of a second, and tests do not share rows by id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from sekisho.kernel.db import open_database
from tests.http.toyserver import Served, served
from tests.support import databases


@pytest.fixture(scope="module")
def server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The toy server over SQLite."""
    folder = tmp_path_factory.mktemp("http")
    database = open_database(databases.sqlite_copy(sqlite_template, folder))
    try:
        with served(database, log_directory=folder / "log") as found:
            yield found
    finally:
        database.close()


@pytest.fixture
def ann(server: Served) -> Iterator[httpx2.Client]:
    """A signed-in person."""
    with server.client() as client:
        yield client
