"""A fresh witness per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarantor.world import House, witnessing
from tests.support import softhsm
from tests.support.tls import self_signed


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A witness that has seen nothing."""
    with witnessing(tmp_path / "witness") as opened:
        yield opened


@pytest.fixture
def tls_files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signed itself, and its key."""
    return self_signed(tmp_path)


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> softhsm.Token:
    """A SoftHSM token for the whole run: its library is loaded once in a process."""
    return softhsm.token(tmp_path_factory.mktemp("softhsm"))
