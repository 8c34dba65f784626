"""Environments of jobs, for tests: `python -m tests.examples.image [NAME]` builds one.

It lies in `.image/` of the checkout under the digest of its lock, so a changed lock is another environment.
PyTorch's builds for machines without GPUs are not among the public index's files: whoever has one in a folder names
that folder in UV_FIND_LINKS.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.support import components, tree

JOB = "japanese-lm"
ARM = "robot-arm"
LOCKS = {
    JOB: tree.ROOT / "examples" / "japanese-lm" / "image.txt",
    ARM: tree.ROOT / "examples" / "robot-arm" / "image.txt",
    "torch-cpu": tree.ROOT / "tests" / "examples" / "torch-cpu.txt",
}
BUILD_SECONDS_MAX = 600


def folder(name: str = JOB) -> Path:
    """Where the environment for the lock as it stands belongs."""
    return tree.ROOT / ".image" / f"tests-{name}-{hashlib.sha256(LOCKS[name].read_bytes()).hexdigest()[:16]}"


def build(name: str = JOB) -> Path:
    """Make the environment unless it is whole already; returns its interpreter. Safe to call from many processes."""
    target = folder(name)
    target.mkdir(parents=True, exist_ok=True)
    done = target / "whole"
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = target / "bin" / "python"
        if not done.exists():
            uv = [sys.executable, "-m", "uv"]
            _run(*uv, "venv", "--allow-existing", "--python", sys.executable, str(target))
            _run(*uv, "pip", "install", "--python", str(python), "--require-hashes", "-r", str(LOCKS[name]))
            done.touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[3]}: {done.stderr[-2000:]}")


def interpreter(name: str = JOB) -> Path:
    """The environment's interpreter: built in CI, taken where it is, else the test ends and says how to get it."""
    if components.in_ci() or (folder(name) / "whole").exists():
        return build(name)
    components.missing(f"the environment of {name}", f"{sys.executable} -m tests.examples.image {name}")
    raise AssertionError("unreachable: missing() always raises")


if __name__ == "__main__":
    sys.stdout.write(f"{build(*sys.argv[1:2])}\n")
