"""Whole installations for tests, made once per process and kind of database, then copied for each test.

Founding one (keys, genesis, charter, first checkpoint, people) takes a third of a second; a copy of its files and its
database takes a tenth of that. A copy shares nothing with its mould or with another copy but what it was given to know:
the same keys, ids and records. A test that is about founding founds for itself.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeVar

import pytest

from tests.support import databases, postgres


class Installation(Protocol):
    """What can be cast: a class whose instances own one database and the files below one folder."""

    def __init__(self, folder: Path, db_url: str, like: Self | None = None, /) -> None:
        """Made anew, or opened where the files and database of `like` were copied to."""

    def close(self) -> None:
        """Let go of the database, so that it can be copied."""


MadeT = TypeVar("MadeT", bound=Installation)


class Mould(NamedTuple):
    """A closed installation, its folder, and its database where that is not in the folder."""

    first: Installation
    folder: Path
    database: str


class Shelf:
    """The moulds of this process."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self.moulds: dict[tuple[type[Installation], str], Mould] = {}

    def folder(self) -> Path:
        return self._folders.mktemp("mould")


class Moulds:
    """Casts installations for one test."""

    def __init__(self, request: pytest.FixtureRequest, kind: str, shelf: Shelf) -> None:
        self._request = request
        self._kind = kind
        self._shelf = shelf

    @contextlib.contextmanager
    def cast(self, made: type[MadeT], folder: Path) -> Iterator[MadeT]:
        """A copy of the first `made` in the test's own folder and on its own database; closed at the end."""
        mould = self._shelf.moulds.get((made, self._kind))
        if mould is None:
            mould = self._shelf.moulds[made, self._kind] = self._first(made)
        shutil.copytree(
            mould.folder, folder, ignore=shutil.ignore_patterns(f"*{databases.LOCK}"), dirs_exist_ok=True
        )
        assert isinstance(mould.first, made)
        with self._database(mould, folder) as url, contextlib.closing(made(folder, url, mould.first)) as one:
            yield one

    def _first(self, made: type[Installation]) -> Mould:
        folder, database = self._shelf.folder(), ""
        if self._kind == "sqlite":
            url = databases.sqlite_copy(self._request.getfixturevalue("sqlite_template"), folder)
        else:
            database = f"mould_{len(self._shelf.moulds)}"
            url = self._server.create(database, template=self._request.getfixturevalue("postgres_template"))
        first = made(folder, url)
        first.close()
        return Mould(first, folder, database)

    @contextlib.contextmanager
    def _database(self, mould: Mould, folder: Path) -> Iterator[str]:
        if not mould.database:
            yield f"sqlite:{folder / databases.FILE}"
            return
        with databases.postgres_copy(self._server, mould.database) as url:
            yield url

    @property
    def _server(self) -> postgres.Server:
        server: postgres.Server = self._request.getfixturevalue("postgres_server")
        return server
