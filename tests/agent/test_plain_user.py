from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import pytest

from sekisho_agent.engines import keeping
from tests.agent.support import NOBODY, SOURCE, needs_bubblewrap, plain_python

pytestmark = pytest.mark.wall


@pytest.mark.slow
def test_the_whole_suite_holds_for_a_plain_user() -> None:
    """Runs the engine's and the wall's tests again as user nobody, when these tests run as root."""
    if os.geteuid() != 0:
        pytest.skip("these tests already run as a plain user")
    needs_bubblewrap()
    python, root = plain_python(), SOURCE.parent
    names = ("test_engine_local.py", "test_wall.py", "test_tunnel.py")
    files = [str(Path(__file__).with_name(name)) for name in names]
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
            [*_device_for_all(Path(folder)), *switch, *command],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def _device_for_all(folder: Path) -> list[str]:
    """A command's beginning: in a mount namespace of its own, where anybody may open the device of interfaces.

    So it is on most machines; on those where only root may, a plain user's agent starts no gangs.
    """
    if not keeping.DEVICE.exists():
        return []
    node = folder / "tun"
    os.mknod(node, stat.S_IFCHR | 0o666, keeping.DEVICE.stat().st_rdev)
    node.chmod(0o666)
    script = f'mount --bind "$0" {keeping.DEVICE} && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(node)]
