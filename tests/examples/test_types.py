"""The jobs' code is typed against the libraries of their own environments, as strictly as the product."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.examples import programs
from tests.support import tree

SECONDS_MAX = 120


def test_the_main_job_passes_the_type_checker(image_python: Path) -> None:
    files = sorted(programs.FOLDER.rglob("*.py"))
    assert len(files) > len(list((programs.FOLDER / "work").glob("*.py"))) > 0
    check(image_python, files, programs.FOLDER, programs.FOLDER / "work")


def test_the_arm_passes_the_type_checker(arm_python: Path) -> None:
    inside = [*sorted((programs.ARM / "work").glob("*.py")), programs.ARM / "checks.py"]
    check(arm_python, inside, programs.ARM / "work")
    # What collects the results runs at the engineer's, with the client.
    outside = [programs.ARM / "collect.py", programs.ARM / "curves.py"]
    assert {*inside, *outside} == set(programs.ARM.rglob("*.py"))
    check(Path(sys.executable), outside, programs.ARM, tree.SOURCE)


def check(python: Path, files: list[Path], *folders: Path) -> None:
    """Run the type checker as `make check` does, with the libraries of one environment."""
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("pyrefly")), "check"),
            *("--python-interpreter-path", str(python)),
            *(argument for folder in folders for argument in ("--search-path", str(folder))),
            *map(str, files),
        ],
        cwd=tree.ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout
