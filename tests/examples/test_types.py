"""The job's code is typed against the libraries of its own environment, as strictly as the product."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.examples import programs
from tests.support import tree

SECONDS_MAX = 120


def test_the_example_passes_the_type_checker(image_python: Path) -> None:
    files = sorted(str(path) for path in programs.FOLDER.rglob("*.py"))
    assert len(files) > len(list((programs.FOLDER / "work").glob("*.py"))) > 0
    folders = [
        argument
        for path in (programs.FOLDER, programs.FOLDER / "work")
        for argument in ("--search-path", str(path))
    ]
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("pyrefly")), "check"),
            *("--python-interpreter-path", str(image_python)),
            *folders,
            *files,
        ],
        cwd=tree.ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout
