"""The files of an environment: how they are made plain once a build has ended, and what an image's digest covers.

Whoever built it is not trusted: a build may have run a job's own commands. So nothing is followed or executed here;
links are read, never opened; anything but files, folders and links that stay inside is refused. Call these only when
no process of the build is left.

The digest covers every file and link except the install records of packages, which differ between two builds of the
same thing, and the skeleton: the interpreter's links, activation scripts, `pyvenv.cfg`. What is not covered by content
is held another way: `skeleton` before and after a job's commands must be equal. Compiled bytecode is removed.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from sekisho_agent.errors import ImageError
from sekisho_agent.folders import hash_file, remove_tree
from sekisho_agent.interpreter import image_python_version
from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError

MODE_PLAIN: Final = 0o644
MODE_EXECUTABLE: Final = 0o755
DEPTH_MAX: Final = 100
BYTECODE_FOLDER: Final = "__pycache__"
INSTALL_RECORDS: Final = re.compile(
    r"(?:.*/)?[^/]+\.dist-info/(?:INSTALLER|RECORD|REQUESTED|direct_url\.json|uv_cache\.json)",
)
SKELETON: Final = re.compile(
    r"\.gitignore|\.lock|CACHEDIR\.TAG|pyvenv\.cfg"
    r"|bin/(?:activate(?:\.[a-z0-9]+|_this\.py)?|deactivate\.bat|pydoc\.bat|python(?:3(?:\.\d+)?)?)",
)


def settle(environment: Path) -> None:
    """Make an environment ours: owner, plain modes, no bytecode. Later payloads may read all of it and write nothing.

    ImageError `image.file` for pipes, sockets and devices, `image.too_deep` for folders that others could not walk
    through, `image.unreadable` where the system refuses.
    """
    pending, depth_max = [environment], len(environment.parts) + DEPTH_MAX
    try:
        while pending:
            folder = pending.pop()
            if len(folder.parts) > depth_max:
                raise ImageError("image.too_deep", f"more than {DEPTH_MAX} folders in each other")
            _take(folder, MODE_EXECUTABLE)
            for path in list(folder.iterdir()):
                mode = path.lstat().st_mode
                if stat.S_ISDIR(mode) and path.name == BYTECODE_FOLDER:
                    remove_tree(path)
                elif stat.S_ISDIR(mode):
                    pending.append(path)
                elif stat.S_ISREG(mode):
                    _take(path, MODE_EXECUTABLE if mode & stat.S_IXUSR else MODE_PLAIN)
                elif not stat.S_ISLNK(mode):
                    raise ImageError(
                        "image.file", "neither a file nor a folder nor a link in the environment"
                    )
    except OSError as error:
        raise ImageError("image.unreadable", f"the environment cannot be read: {error.strerror}") from error


def image_digest(environment: Path, source: Mapping[str, str]) -> str:
    """The digest that names a settled environment; `source` holds the digests of what it was made from.

    Equal for two builds of one lock on equal interpreters. ImageError `image.link` for a link that leads out.
    """
    try:
        rows = [_row(environment, path, mode) for path, mode in sorted(_covered(environment))]
        value = {
            "v": 1,
            **source,
            "python": image_python_version(environment),
            "implementation": sys.implementation.name,
            "platform": sysconfig.get_platform(),
            "files": rows,
        }
        return canonical.digest(canonical.encode(value))
    except OSError as error:
        raise ImageError("image.unreadable", f"the environment cannot be read: {error.strerror}") from error
    except CanonicalError as error:
        raise ImageError("image.file_name", "a file name in the environment is not UTF-8") from error


def skeleton(environment: Path) -> dict[str, str]:
    """Digest or link target, by path, of the files of a settled environment that its image's digest leaves out."""
    return {
        path: str((environment / path).readlink()) if stat.S_ISLNK(mode) else hash_file(environment / path)[1]
        for path, mode in _entries(environment)
        if SKELETON.fullmatch(path)
    }


def size_bytes(environment: Path) -> int:
    """Roughly how much lies there now, while a build may still be writing or hiding it."""
    total, pending = 0, [environment]
    while pending:
        try:
            for path in pending.pop().iterdir():
                status = path.lstat()
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)
                else:
                    total += status.st_size
        except OSError:
            continue
    return total


def _take(path: Path, mode: int) -> None:
    """Also from the user that built it, so that no later payload of that user owns the file."""
    if os.geteuid() == 0:
        os.chown(path, 0, 0, follow_symlinks=False)
    path.chmod(mode)


def _covered(environment: Path) -> Iterator[tuple[str, int]]:
    for path, mode in _entries(environment):
        if SKELETON.fullmatch(path) is None and INSTALL_RECORDS.fullmatch(path) is None:
            yield path, mode


def _entries(environment: Path) -> Iterator[tuple[str, int]]:
    """Relative path and mode of everything but folders."""
    pending = [""]
    while pending:
        prefix = pending.pop()
        for path in (environment / prefix).iterdir():
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                pending.append(f"{prefix}{path.name}/")
            else:
                yield prefix + path.name, mode


def _row(environment: Path, path: str, mode: int) -> list[str | int | bool]:
    if not stat.S_ISLNK(mode):
        size, digest = hash_file(environment / path)
        return [path, size, digest, bool(mode & stat.S_IXUSR)]
    target = (environment / path).readlink()
    inside = Path(os.path.realpath(environment / path)).is_relative_to(os.path.realpath(environment))
    if target.is_absolute() or not inside:
        shown = path.encode("ascii", "backslashreplace").decode("ascii")[:200]
        raise ImageError("image.link", f"a link that leads out of the environment: {shown}")
    return [path, "link", str(target)]
