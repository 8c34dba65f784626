from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import pytest

from tests.agent.support import NOBODY, SOURCE, needs_bubblewrap, plain_python

pytestmark = pytest.mark.wall


@pytest.mark.slow
def test_the_whole_suite_holds_for_a_plain_user() -> None:
    """Runs the engine's and the wall's tests again as user nobody, when these tests run as root."""
    if os.geteuid() != 0:
        pytest.skip("these tests already run as a plain user")
    needs_bubblewrap()
    python, root = plain_python(), SOURCE.parent
    files = [str(Path(__file__).with_name(name)) for name in ("test_engine_local.py", "test_wall.py")]
    with tempfile.TemporaryDirectory(prefix="skt-") as folder:
        shutil.chown(folder, NOBODY, NOBODY)
        switch = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *files]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{SOURCE}:{root}:{sysconfig.get_path('purelib')}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": folder,
            "HOME": folder,
            "CI": os.environ.get("CI", ""),
            "HYPOTHESIS_STORAGE_DIRECTORY": folder,
        }
        done = subprocess.run(
            [*switch, *command],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
