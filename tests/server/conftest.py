"""One installation per test, on the database that the run asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.installation import Installation


@pytest.fixture
def installation(tmp_path: Path, db_url: str, capsys: pytest.CaptureFixture[str]) -> Installation:
    """Settings and keys to be; `init` has not run."""
    return Installation(tmp_path, db_url, capsys)
