"""What claims about places start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.claims.placing import Placing


@pytest.fixture
def placing(tmp_path: Path, db_url: str) -> Iterator[Placing]:
    made = Placing(tmp_path, db_url)
    yield made
    made.close()
