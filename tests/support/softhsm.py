"""A SoftHSM2 token in a folder: PKCS#11 in software, for tests and for nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import components

PIN = "1234"
LABEL = "hospital"
PACKAGE = "softhsm2"
_MODULES = ("softhsm/libsofthsm2.so", "*/softhsm/libsofthsm2.so")


class Token(NamedTuple):
    """Where the library is, the token's label, the PIN's file, and the settings to give a child process."""

    module: str
    label: str
    pin_file: Path
    environment: dict[str, str]


def token(folder: Path) -> Token:
    """A new token; the test ends where SoftHSM is missing. Its settings go into this process's environment for good.

    The library reads them when it is first loaded, so a process has one folder of tokens.
    """
    tool = components.program("softhsm2-util", package=PACKAGE)
    modules = [str(found) for pattern in _MODULES for found in Path("/usr/lib").glob(pattern)]
    if not modules:
        components.missing("libsofthsm2.so", f"apt-get install {PACKAGE}")
    settings = folder / "softhsm2.conf"
    (folder / "tokens").mkdir()
    settings.write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    words = [tool, "--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "5678"]
    made = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if made.returncode:
        pytest.fail(made.stderr)
    pin_file = folder / "pin"
    pin_file.write_text(f"{PIN}\n")
    pin_file.chmod(0o600)
    return Token(modules[0], LABEL, pin_file, {"SOFTHSM2_CONF": str(settings)})
