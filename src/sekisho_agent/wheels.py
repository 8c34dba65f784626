"""Which wheels a hashed requirements file stands for, and on which hosts they lie.

uv asks the index; we keep only wheels whose SHA-256 stands in the lock. The list that goes into the walled build is
written here, so the build cannot fetch anything else, and the hosts in it are all that its egress proxy lets through.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from sekisho_agent.errors import ImageError

RESOLVE_SECONDS_MAX: Final = 300
LOCK_BYTES_MAX: Final = 4 << 20
HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})\b")
REQUIREMENT: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?==[A-Za-z0-9.+!-]+")
SYSTEM_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class ResolvedWheels(msgspec.Struct, frozen=True):
    """A `pylock.toml` that names locked wheels only, and the hosts (`host:port`) they lie on."""

    pylock: str
    hosts: list[str]


def find_uv(configured: str) -> Path:
    """Uv from the configuration, from beside our own interpreter, or from the path."""
    beside = Path(sys.executable).with_name("uv")
    for candidate in (configured, str(beside) if beside.exists() else "", shutil.which("uv") or ""):
        if candidate:
            return Path(candidate)
    raise ImageError("image.no_uv", "images are built by uv, which is not installed here")


def certificates_file() -> Path:
    """The certificates by which an index is believed: the environment's choice, else the system's."""
    return Path(os.environ.get("SSL_CERT_FILE") or SYSTEM_CERTIFICATES)


def locked_hashes(lock_file: Path) -> frozenset[str]:
    """All hashes of a lock; ImageError `image.lock` unless every requirement is pinned and hashed, and nothing else."""
    try:
        content = lock_file.read_bytes()
        text = content[:LOCK_BYTES_MAX].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError("image.lock", "the lock file cannot be read as UTF-8 text") from error
    if len(content) > LOCK_BYTES_MAX:
        raise ImageError("image.lock", f"a lock file of more than {LOCK_BYTES_MAX} bytes")
    logical = re.sub(r"\\\r?\n", " ", re.sub(r"(^|\s)#.*", "", text, flags=re.MULTILINE))
    lines = [line.strip() for line in logical.splitlines() if line.strip()]
    for line in lines:
        if REQUIREMENT.match(line) is None or HASH.search(line) is None:
            raise ImageError("image.lock", f"not a pinned requirement with a sha256 hash: {line[:80]!r}")
    return frozenset(HASH.findall(logical))


def resolve(lock_file: Path, uv: Path, *, python: Path, arguments: list[str]) -> ResolvedWheels:
    """Ask the index for the locked wheels; ImageError `image.resolve_failed` where one has no wheel for us."""
    hashes = locked_hashes(lock_file)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "pylock.toml"
        command = [
            str(uv),
            "pip",
            "compile",
            "-q",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--format",
            "pylock.toml",
        ]
        command += ["--python", str(python), *arguments, "-o", str(answer), str(lock_file.resolve())]
        _run(command, folder)
        try:
            pylock = tomllib.loads(answer.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ImageError("image.resolve_failed", "uv's answer cannot be read") from error
    return _locked_only(pylock, hashes)


def check_hosts(resolved: ResolvedWheels, permitted: list[str]) -> None:
    """Refuse wheels on hosts outside the operator's list, when there is one; ImageError `image.host_not_listed`."""
    foreign = sorted(set(resolved.hosts) - set(permitted)) if permitted else []
    if foreign:
        raise ImageError("image.host_not_listed", f"not among registry_hosts: {', '.join(foreign)}")


def _locked_only(pylock: dict[str, Any], hashes: frozenset[str]) -> ResolvedWheels:
    lines, hosts = ['lock-version = "1.0"', 'created-by = "sekisho"'], set[str]()
    if not pylock.get("packages"):
        lines.append("packages = []")
    for package in pylock.get("packages", []):
        wheels = [wheel for wheel in package.get("wheels", []) if wheel["hashes"].get("sha256") in hashes]
        if not wheels:
            raise ImageError(
                "image.resolve_failed", f"{package['name']}: the index has no wheel with a locked hash"
            )
        lines += [
            "",
            "[[packages]]",
            f"name = {_quoted(package['name'])}",
            f"version = {_quoted(package['version'])}",
        ]
        if "marker" in package:
            lines.append(f"marker = {_quoted(package['marker'])}")
        for wheel in wheels:
            address = urlsplit(wheel["url"])
            if address.scheme not in DEFAULT_PORTS or not address.hostname:
                raise ImageError("image.resolve_failed", f"{package['name']}: not an http address")
            hosts.add(f"{address.hostname}:{address.port or DEFAULT_PORTS[address.scheme]}")
        lines.append(f"wheels = [{', '.join(_wheel(wheel) for wheel in wheels)}]")
    return ResolvedWheels(pylock="\n".join(lines) + "\n", hosts=sorted(hosts))


def _wheel(wheel: dict[str, Any]) -> str:
    return (
        f"{{ url = {_quoted(wheel['url'])}, hashes = {{ sha256 = {_quoted(wheel['hashes']['sha256'])} }} }}"
    )


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(text)


def _run(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 (a fixed program, arguments without a shell)
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=RESOLVE_SECONDS_MAX,
            check=False,
            cwd=folder,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError("image.resolve_failed", f"uv did not answer: {type(error).__name__}") from error
    if done.returncode != 0:
        raise ImageError("image.resolve_failed", done.stderr.decode(errors="replace").strip()[-2000:])


def _environment() -> dict[str, str]:
    """Ours, with the system's certificates where there are any: uv by itself believes a list of its own only."""
    certificates = certificates_file()
    return {**os.environ, **({"SSL_CERT_FILE": str(certificates)} if certificates.is_file() else {})}
