"""Sekisho from a person's machine: the Python client and the command line `sekisho`.

`Client` is loaded on first use, so that the command line's help does not wait for an HTTP library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sekisho_client.client import Client, ProblemError

__all__ = ["Client", "ProblemError"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("sekisho_client.client"), name)
    raise AttributeError(name)
