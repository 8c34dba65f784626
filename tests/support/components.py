"""What a test needs from the machine: absent, it fails where CI=true and is skipped loudly elsewhere."""

from __future__ import annotations

import os
import shutil

import pytest


def in_ci() -> bool:
    """Whether a missing component is a failure: the environment says CI=true, in any case."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def missing(component: str, how: str) -> None:
    """End the test because `component` is absent; `how` is the command or package that brings it."""
    sentence = f"{component} is missing: {how}"
    if in_ci():
        pytest.fail(sentence, pytrace=False)
    pytest.skip(f"NOT TESTED, {sentence}")


def program(*names: str, package: str) -> str:
    """Path of the first of `names` on PATH, or the test ends with the name of the Debian package."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    missing(names[0], f"apt-get install {package}")
    raise AssertionError("unreachable: missing() always raises")
