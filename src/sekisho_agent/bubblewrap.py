"""Finds bubblewrap, or unpacks it from the distribution's package into the agent's own folder, which needs no root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import structlog

COMMAND_SECONDS_MAX: Final = 120
VERSION: Final = re.compile(r"bubblewrap (\d+\.\d+\.\d+)")

log = structlog.get_logger(__name__)


class Bubblewrap(msgspec.Struct, frozen=True):
    """A bubblewrap that has been seen to make the namespaces a wall needs."""

    path: Path
    version: str

    @property
    def name(self) -> str:
        """What reports call the wall, such as `bubblewrap 0.8.0`."""
        return f"bubblewrap {self.version}"


def find_bubblewrap(folder: Path) -> Bubblewrap | None:
    """A working bubblewrap: installed, unpacked earlier into `folder`, or unpacked now; None where all three fail."""
    unpacked = folder / "usr" / "bin" / "bwrap"
    installed = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    for candidate in (installed, unpacked if unpacked.exists() else None):
        found = _try(Path(candidate)) if candidate else None
        if found is not None:
            return found
    if installed is None and not unpacked.exists() and _unpack(folder):
        return _try(unpacked)
    return None


def _try(path: Path) -> Bubblewrap | None:
    """The candidate must really make the namespaces: some hosts forbid them to plain users."""
    version = VERSION.search(_output([str(path), "--version"]) or "")
    probe = [str(path), "--unshare-all", "--ro-bind", "/usr", "/usr"]
    for name in ("lib", "lib64"):
        probe += ["--ro-bind-try", f"/{name}", f"/{name}"]
    if version is None or _output([*probe, "/usr/bin/true"]) is None:
        log.warning("bubblewrap.unusable", path=str(path))
        return None
    return Bubblewrap(path=path, version=version[1])


def _unpack(folder: Path) -> bool:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        apt = ["apt-get", *_private_apt(Path(work))]
        if _output([*apt, "download", "bubblewrap"], cwd=work) is None:
            _output([*apt, "update"], cwd=work)
            _output([*apt, "download", "bubblewrap"], cwd=work)
        for package in Path(work).glob("bubblewrap_*.deb"):
            return _output(["dpkg-deb", "-x", str(package), str(folder)]) is not None
    log.warning("bubblewrap.not_found")
    return False


def _private_apt(work: Path) -> list[str]:
    """Options under which apt touches no folder but ours. With the host's lists where they can be read."""
    for name in ("lists/partial", "archives/partial"):
        (work / name).mkdir(parents=True)
    host_lists = Path("/var/lib/apt/lists")
    if any(host_lists.glob("*_Packages*")):
        shutil.copytree(
            host_lists,
            work / "lists",
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("partial", "lock", "auxfiles"),
        )
    options = {
        "Dir::State::lists": str(work / "lists"),
        "Dir::Cache": str(work),
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
    }
    return ["-qq", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]


def _output(command: list[str], *, cwd: str | None = None) -> str | None:
    """Standard output of a command that succeeded, else None."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    environment |= {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    try:
        done = subprocess.run(  # noqa: S603 (a fixed program, arguments without a shell)
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
