"""What every test may ask for: a database of each kind, components of the machine, and no network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

from tests.support import components, databases, measuring, offline, postgres
from tests.support.moulds import Moulds, Shelf

KINDS = ("sqlite", "postgres")
MEASURING = pytest.StashKey[measuring.Measuring]()

# Two shared cores make single examples slow without being wrong: pytest's timeout bounds a test instead.
hypothesis.settings.register_profile(
    "house",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--db",
        default="sqlite",
        choices=[*KINDS, "all"],
        help="which databases the tests that take one run on",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "db_kind" in metafunc.fixturenames:
        asked = metafunc.config.getoption("db")
        only = metafunc.definition.get_closest_marker("database")
        kinds = [kind for kind in KINDS if asked in {kind, "all"} and (only is None or only.args[0] == kind)]
        metafunc.parametrize("db_kind", kinds, indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, the slowest before all, where several workers share them.

    Each worker is handed an equal, contiguous part of the list and others take from the end of a part. So the first
    worker does the slow ones, one at a time, since most of them watch a clock, and the others its fast ones.
    """
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Tests that need longer than the usual limit say so."""
    if not item.get_closest_marker("slow"):
        return 2
    return 0 if item.get_closest_marker("timeout") else 1


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Before a test's fixtures, which cost more than most tests."""
    config = item.config
    if MEASURING not in config.stash:
        config.stash[MEASURING] = measuring.Measuring()
    config.stash[MEASURING].switch(item.path, Path(__file__).parent)


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """A program run in this process writes to the stream that its test captures, which no later test has."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Closed, but for a run that a person points at a live service (docs/how-to/sakura-dok-site.md)."""
    if os.environ.get("SEKISHO_LIVE"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        offline.close_the_network(patch)
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file; copy it, never open it."""
    return databases.sqlite_template(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """This process's own server, so that parallel workers share nothing; fsync is off."""
    if postgres.find_program("initdb") is None:
        components.missing("PostgreSQL", "apt-get install postgresql")
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: postgres.Server) -> str:
    """The name of a migrated database; clone it, never connect to it."""
    return databases.postgres_template(postgres_server)


@pytest.fixture
def db_kind(request: pytest.FixtureRequest) -> str:
    """The kind of database this run of the test is about."""
    return str(request.param)


@pytest.fixture
def db_url(request: pytest.FixtureRequest, db_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database of the kind `--db` asks for; the test owns it alone."""
    if db_kind == "sqlite":
        yield databases.sqlite_copy(request.getfixturevalue("sqlite_template"), tmp_path)
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    with databases.postgres_copy(server, request.getfixturevalue("postgres_template")) as url:
        yield url


@pytest.fixture(scope="session")
def _shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory)


@pytest.fixture
def moulds(request: pytest.FixtureRequest, db_kind: str, _shelf: Shelf) -> Moulds:
    """Whole installations by copy, on the kind of database that `--db` asks for; see `tests.support.moulds`."""
    return Moulds(request, db_kind, _shelf)


@pytest.fixture(scope="session")
def needs_bwrap() -> str:
    """Path of bubblewrap."""
    return components.program("bwrap", package="bubblewrap")


@pytest.fixture(scope="session")
def needs_chromium() -> str:
    """Path of Chromium, for Playwright's `executable_path`."""
    return components.program("chromium", "chromium-browser", "google-chrome", package="chromium")


@pytest.fixture(scope="session")
def needs_node() -> str:
    """Path of Node, for the identity provider that sign-in is tested against."""
    return components.program("node", package="nodejs npm")
