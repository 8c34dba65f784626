"""An installation with two organisations and no data yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.world import World
from tests.support.moulds import Moulds


@pytest.fixture
def world(tmp_path: Path, moulds: Moulds) -> Iterator[World]:
    with moulds.cast(World, tmp_path) as made:
        yield made
