"""What claims about places and keys start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.claims.placing import Placing
from tests.compute.sealed_world import SealedWorld


@pytest.fixture
def placing(tmp_path: Path, db_url: str) -> Iterator[Placing]:
    made = Placing(tmp_path, db_url)
    yield made
    made.close()


@pytest.fixture
def sealed(tmp_path: Path, db_url: str) -> Iterator[SealedWorld]:
    made = SealedWorld(tmp_path, db_url)
    yield made.begin()
    made.close()
