"""The example's programs as modules: they live outside the package and are found by their folder."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from tests.support import tree

FOLDER = tree.ROOT / "examples" / "japanese-lm"


def load(name: str) -> ModuleType:
    """Import one module of `examples/japanese-lm`, and what it imports from beside itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        module = importlib.import_module(name)
    sys.modules.setdefault(name, module)
    return module
