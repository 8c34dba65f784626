"""An installation with two sites and no jobs yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compute.world import World


@pytest.fixture
def world(tmp_path: Path, db_url: str) -> Iterator[World]:
    made = World(tmp_path, db_url)
    yield made
    made.close()
