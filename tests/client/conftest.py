"""The client against the toy server: the catalogue is the toy's, everything else is what people run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sekisho.http import catalogue as generated
from sekisho_client import cli, commands
from tests.client.terminal import Terminal
from tests.http import toyserver
from tests.http.toyserver import Served, kernel_database, served

_ENVIRONMENT = (
    "SEKISHO_URL",
    "SEKISHO_TOKEN",
    "SEKISHO_LANG",
    "LC_ALL",
    "LC_MESSAGES",
    "LANG",
    "SEKISHO_CERTIFICATES",
)


class Ran(NamedTuple):
    """What one command line left: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON value on one line and nothing else."""
        assert self.err == ""
        assert self.out.count("\n") == 1
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        """The problem on standard error; nothing may stand on standard output."""
        assert self.out == ""
        value = json.loads(self.err)
        assert value["exit"] == self.status
        return value


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The toy server over SQLite."""
    with kernel_database(tmp_path_factory.mktemp("client")) as database, served(database) as found:
        yield found


@pytest.fixture
def toy_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The generated catalogue of the toy's routes in the place of the packaged one."""
    file = tmp_path / "catalogue.json"
    file.write_text(generated.encode(generated.catalogue(toyserver.ROUTES)))
    monkeypatch.setattr(commands, "CATALOGUE", file)
    commands.catalogue.cache_clear()
    yield file
    commands.catalogue.cache_clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's configuration file, which does not exist yet, and an environment that says nothing."""
    for name in _ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config" / "config.json"
    monkeypatch.setenv("SEKISHO_CONFIG", str(file))
    return file


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], home: Path) -> Callable[..., Ran]:
    """Run a command line in this process, not on a terminal."""
    del home

    def ran(*words: str) -> Ran:
        capsys.readouterr()
        status = cli.main(words)
        captured = capsys.readouterr()
        # The server lives in this process too, and its log lines are no output of the client.
        out = "".join(
            line for line in captured.out.splitlines(keepends=True) if "request_id=req_" not in line
        )
        return Ran(status, out, captured.err)

    return ran


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch, home: Path) -> Callable[..., Ran]:
    """The same on a terminal without colour."""
    del home
    monkeypatch.setenv("NO_COLOR", "1")

    def ran(*words: str) -> Ran:
        out, err = Terminal(), Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            status = cli.main(words)
        text = "".join(
            line for line in out.getvalue().splitlines(keepends=True) if "request_id=req_" not in line
        )
        return Ran(status, text, err.getvalue())

    return ran


@pytest.fixture
def ann(server: Served, monkeypatch: pytest.MonkeyPatch, home: Path, toy_catalogue: Path) -> Served:
    """Signed in to the toy server by the environment."""
    del home, toy_catalogue
    monkeypatch.setenv("SEKISHO_URL", server.url)
    monkeypatch.setenv("SEKISHO_TOKEN", "ann-token")
    return server
