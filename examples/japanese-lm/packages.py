"""Debian packages as a source of text: fetched with apt and its signatures, read without unpacking to disk.

Nothing here needs root or changes the system's package state: apt works in private folders, and a package
is streamed through `dpkg-deb`, so that no name inside it can become a path and no link is ever followed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from problems import UNREACHABLE, CorpusError, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

MEMBER_BYTES_MAX = 32 * 1024 * 1024
APT_SECONDS_MAX = 300


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a package says about itself; `licence` is an SPDX-like expression, the digest names the full text."""

    package: str
    version: str
    homepage: str
    licence: str
    copyright_sha256: str


def download(names: Sequence[str], folder: Path, progress: Progress) -> list[Path]:
    """Fetch packages into `folder`; the system's package lists are used where they are good, else private ones.

    Raises `CorpusError` (`corpus.apt.missing`, `corpus.apt.failed`).
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        message = "apt-get and dpkg-deb are not on this machine; give a folder of your own text with --text"
        raise CorpusError("corpus.apt.missing", message)
    for part in ("state/lists/partial", "cache/archives/partial", "packages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    target = folder / "packages"
    private = (f"Dir::State={folder / 'state'}", "Dir::State::status=/var/lib/dpkg/status")
    lists: tuple[str, ...] = ()
    for number, name in enumerate(names, 1):
        if not _apt("download", name, folder=folder, options=lists) and not lists:
            lists = private
            progress.say("update", reason="the system's package lists are missing or old")
            _apt("update", folder=folder, options=lists, must=True)
        if lists and not list(target.glob(f"{name}_*.deb")):
            _apt("download", name, folder=folder, options=lists, must=True)
        size_bytes = sum(path.stat().st_size for path in target.glob("*.deb"))
        progress.say("download", package=name, done=number, of=len(names), size_bytes=size_bytes)
    return sorted(target.glob("*.deb"))


def _apt(verb: str, *names: str, folder: Path, options: tuple[str, ...], must: bool = False) -> bool:
    settings = (
        f"Dir::Cache={folder / 'cache'}",
        "Debug::NoLocking=1",
        "APT::Sandbox::User=",
        "APT::Get::AllowUnauthenticated=false",
        "Acquire::Languages=none",
        "Acquire::Retries=3",
        "Acquire::http::Timeout=30",
        *options,
    )
    command = ["apt-get", "-qq", *(part for setting in settings for part in ("-o", setting)), verb, *names]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=folder / "packages",
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=APT_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"apt-get {verb} did not end within {APT_SECONDS_MAX} seconds"
        raise CorpusError("corpus.apt.failed", message, status=UNREACHABLE) from error
    if done.returncode != 0 and must:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")] or ["it gave no reason"]
        # A package source may carry a password in its address.
        reason = re.sub(r"//[^/@\s]*@", "//", said[-1].removeprefix("E:").strip())
        raise CorpusError("corpus.apt.failed", f"apt-get {verb} failed: {reason}", status=UNREACHABLE)
    return done.returncode == 0


def members(package: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield (path inside the package, bytes) of the wanted regular files; `.gz` ones come inflated, without the ending.

    Links are passed over: what they point at is read under its own name.
    Raises `CorpusError` (`corpus.package.damaged`) for a truncated package or a member above `MEMBER_BYTES_MAX`.
    """
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as unpacker:
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
                yield from _wanted_members(archive, wanted, package.name)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CorpusError("corpus.package.damaged", f"{package.name} cannot be read") from error
        finally:
            # A reader that stops early leaves the unpacker blocked on its pipe.
            unpacker.kill()


def _wanted_members(
    archive: tarfile.TarFile, wanted: Callable[[str], bool], package: str
) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        path = member.name.removeprefix("./")
        if not member.isreg() or not wanted(path):
            continue
        handle = archive.extractfile(member)
        if handle is None or member.size > MEMBER_BYTES_MAX:
            raise CorpusError("corpus.package.damaged", f"{path!r} in {package} is larger than a text may be")
        data = handle.read()
        yield (path.removesuffix(".gz"), inflated(data, path)) if path.endswith(".gz") else (path, data)


def inflated(data: bytes, name: str) -> bytes:
    """Gzip bytes to plain ones, never more than `MEMBER_BYTES_MAX`; `name` goes into the error."""
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = inflater.decompress(data, MEMBER_BYTES_MAX)
    except zlib.error as error:
        raise CorpusError("corpus.package.damaged", f"{name!r} is not gzip") from error
    if not inflater.eof:
        raise CorpusError("corpus.package.damaged", f"{name!r} is truncated or larger than a text may be")
    return plain


def notice(package: Path) -> Notice:
    """Name, version and licence of a package from its control fields and its copyright file."""
    fields = {name: _control_field(package, name) for name in ("Package", "Version", "Homepage")}
    name = fields["Package"]
    paths = {f"usr/share/doc/{name}/copyright"}
    text = next((data for _, data in members(package, paths.__contains__)), None)
    if text is None:
        raise CorpusError("corpus.package.no_licence", f"{package.name} holds no copyright file")
    return Notice(
        package=name,
        version=fields["Version"],
        homepage=fields["Homepage"],
        licence=licence_expression(text.decode("utf-8", "replace"), name),
        copyright_sha256=hashlib.sha256(text).hexdigest(),
    )


def _control_field(package: Path, field: str) -> str:
    done = subprocess.run(
        ["dpkg-deb", "--field", str(package), field], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise CorpusError("corpus.package.damaged", f"{package.name} cannot be read")
    return done.stdout.strip()


def licence_expression(copyright_text: str, package: str) -> str:
    """The short names in a machine-readable copyright file, joined by AND; else a reference to the file itself.

    The form is Debian's copyright-format 1.0 (one `License:` field a paragraph). A file in free words states its
    terms only to a reader, so it is named (`LicenseRef-...`) and not interpreted.
    """
    if re.match(r"Format:.*copyright-format/1\.0", copyright_text) is None:
        return f"LicenseRef-{package}-copyright"
    names = re.findall(r"^License:[ \t]*(\S.*)$", copyright_text, re.MULTILINE)
    return " AND ".join(dict.fromkeys(name.strip() for name in names)) or f"LicenseRef-{package}-copyright"
