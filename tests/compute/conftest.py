"""An installation with two sites and no jobs yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compute.world import World
from tests.support.moulds import Moulds


@pytest.fixture
def world(tmp_path: Path, moulds: Moulds) -> Iterator[World]:
    with moulds.cast(World, tmp_path) as made:
        yield made
