"""A server per test module: starting one is a third of a second, and tests do not share rows by id."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from tests.http.toyserver import Served, kernel_database, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The toy server over SQLite."""
    folder = tmp_path_factory.mktemp("http")
    with kernel_database(folder) as database, served(database, log_directory=folder / "log") as found:
        yield found


@pytest.fixture
def ann(server: Served) -> Iterator[httpx2.Client]:
    """A signed-in person."""
    with server.client() as client:
        yield client
