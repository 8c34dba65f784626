"""Folders under short paths: a unix socket's path may be at most 107 bytes, a state folder's may be longer."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

PREFIX: Final = "sekisho-agent"


def make_short_folder() -> Path:
    """A new folder of this process in the temporary folder, to be entered by anybody, written by this user only."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-"))
    folder.chmod(0o755)
    return folder


def remove_stale_folders() -> None:
    """Remove this user's folders whose process is gone (it was killed before it could clean up)."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*-*"):
        process = folder.name.split("-")[2]
        try:
            if (
                folder.lstat().st_uid != os.geteuid()
                or not process.isdecimal()
                or Path("/proc", process).exists()
            ):
                continue
        except OSError:
            continue
        shutil.rmtree(folder, ignore_errors=True)
