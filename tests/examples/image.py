"""The environments of the examples' jobs, for tests: `python -m tests.examples.image` builds them.

Each lies in `.image/` of the checkout under the digest of its lock, so a changed lock is another environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.support import components, tree

EXAMPLES = ("japanese-lm", "robot-arm")
BUILD_SECONDS_MAX = 600


def lock(example: str) -> Path:
    """The lock of an example's environment."""
    return tree.ROOT / "examples" / example / "image.txt"


def folder(example: str) -> Path:
    """Where the environment for the lock as it stands belongs."""
    digest = hashlib.sha256(lock(example).read_bytes()).hexdigest()
    return tree.ROOT / ".image" / f"tests-{example}-{digest[:16]}"


def build(example: str) -> Path:
    """Make the environment unless it is whole already; returns its interpreter. Safe to call from many processes."""
    target = folder(example)
    target.mkdir(parents=True, exist_ok=True)
    done = target / "whole"
    with (target / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        python = target / "bin" / "python"
        if not done.exists():
            uv = [sys.executable, "-m", "uv"]
            _run(*uv, "venv", "--allow-existing", "--python", sys.executable, str(target))
            _run(*uv, "pip", "install", "--python", str(python), "--require-hashes", "-r", str(lock(example)))
            done.touch()
    return python


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[3]}: {done.stderr[-2000:]}")


def interpreter(example: str) -> Path:
    """The environment's interpreter: built in CI, taken where it is, else the test ends and says how to get it."""
    if components.in_ci() or (folder(example) / "whole").exists():
        return build(example)
    components.missing(f"the environment of {example}", f"{sys.executable} -m tests.examples.image")
    raise AssertionError("unreachable: missing() always raises")


if __name__ == "__main__":
    sys.stdout.write("".join(f"{build(example)}\n" for example in EXAMPLES))
