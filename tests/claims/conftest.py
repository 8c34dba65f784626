"""Worlds of the claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.claims.placing import Placing
from tests.compute.sealed_world import SealedWorld


@pytest.fixture
def placing(tmp_path: Path, db_url: str) -> Iterator[Placing]:
    """A site that can be measured."""
    made = Placing(tmp_path, db_url)
    yield made
    made.close()


@pytest.fixture
def sealed(tmp_path: Path, db_url: str) -> Iterator[SealedWorld]:
    """Proven places, and data of level 2 under its owner's key."""
    world = SealedWorld(tmp_path, db_url)
    yield world.begin()
    world.close()
