"""Finds, without running anything of an image, the Python interpreter that an image stands on.

Asking the image's own `bin/python` would run its start-up hooks outside the wall; links and `pyvenv.cfg` say the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent.errors import ImageError

SYSTEM_PYTHON: Final = Path("/usr/bin/python3")
LINKS_MAX: Final = 16


class Interpreter(msgspec.Struct, frozen=True):
    """A base interpreter of the host.

    `executable` is the real file; `prefix` its installation, or None when that is /usr, which every wall shows anyway;
    `links` are the links on the way to it that must exist inside under the same path.
    """

    executable: Path
    prefix: Path | None
    links: tuple[Path, ...] = ()


def base_interpreter() -> Interpreter:
    """The host's own interpreter for PID 1 when the job brings no Python: Debian's, else the agent's base."""
    if SYSTEM_PYTHON.exists():
        return _interpreter(SYSTEM_PYTHON)
    return _interpreter(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")


def image_interpreter(image: Path) -> Interpreter:
    """The interpreter below an image (a virtual environment); ImageError when it has none."""
    start = image / "bin" / "python"
    if not start.is_symlink():
        raise ImageError(
            "image.no_interpreter", "the image's bin/python is not a link to an interpreter of this host"
        )
    return _interpreter(start, inside=image)


def image_python_version(image: Path) -> str:
    """The version that `pyvenv.cfg` states, such as 3.11.7."""
    try:
        lines = (image / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ImageError("image.no_interpreter", "the image has no pyvenv.cfg") from error
    values = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    version = values.get("version_info") or values.get("version")
    if not version:
        raise ImageError("image.no_interpreter", "pyvenv.cfg names no version")
    return version


def _interpreter(start: Path, *, inside: Path | None = None) -> Interpreter:
    links, current = list[Path](), start
    for _ in range(LINKS_MAX):
        if not current.is_symlink():
            break
        current = current.parent / current.readlink()
        links.append(Path(_normal(current)))
    executable = start.resolve()
    if not executable.is_file():
        raise ImageError("image.no_interpreter", "the interpreter's link leads nowhere")
    prefix = executable.parent.parent
    if prefix == Path("/usr"):
        return Interpreter(executable=executable, prefix=None)
    shown = tuple(link for link in links if _needs_link(link, prefix, inside))
    return Interpreter(executable=executable, prefix=prefix, links=shown)


def _needs_link(link: Path, prefix: Path, inside: Path | None) -> bool:
    covered = [prefix, Path("/usr"), *([inside] if inside else [])]
    return not any(link.is_relative_to(folder) for folder in covered)


def _normal(path: Path) -> str:
    """Resolve `..` by name only: links must be shown under the name they are reached by."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1] if len(parts) > 1 else parts
        else:
            parts.append(part)
    return str(Path(*parts))
