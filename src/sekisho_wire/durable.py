"""Writing a small file so that a crash at any moment leaves one of two states."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

MODE_PRIVATE: Final = 0o600


def replace_file(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that after any crash it holds either the old bytes or all the new ones."""
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE_PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
