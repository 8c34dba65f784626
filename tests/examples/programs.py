"""The examples' programs as modules: they live outside the package and are found by their folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import tree

FOLDER = tree.ROOT / "examples" / "japanese-lm"
ARM = tree.ROOT / "examples" / "robot-arm"


def load(name: str, folder: Path = FOLDER) -> ModuleType:
    """Import one module of a folder, and what it imports from beside itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        module = importlib.import_module(name)
    sys.modules.setdefault(name, module)
    return module
