"""The job's modules in the job's environment; each check of checks.py is a test here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.examples import programs
from tests.support import tree

CHECKS = programs.FOLDER / "checks.py"
NAMES = [f.name for f in tree.functions(tree.parse(CHECKS), "checks.py") if f.name.startswith("check_")]
SECONDS_MAX = 120
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def results(image_python: Path) -> dict[str, str | None]:
    """The error of each check, or None."""
    done = subprocess.run(
        [str(image_python), "-B", "-W", "error::DeprecationWarning:__main__", str(CHECKS)],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.stdout, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["check"]: one["error"] for one in found}


def test_every_check_ran(results: dict[str, str | None]) -> None:
    assert list(results) == NAMES
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_in_the_environment_of_the_job(results: dict[str, str | None], name: str) -> None:
    assert results[name] is None, results[name]
