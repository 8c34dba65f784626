"""What travels to a container and back: inputs as one archive, outputs out of one that a stranger may have written.

The parcel is made by us from folders that the agent filled itself. What comes back is hostile: it is decompressed to a
bounded size first, read by `tarfile` without ever extracting a member (which could be a link or a device), and only
plain files under plain names are written, into fresh folders that take the place of the old ones at the end.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final, Protocol, cast

import msgspec

from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.dok_bootstrap import LOG, OUTPUTS, TOLD, TOLD_BYTES_MAX, Told, read_told
from sekisho_agent.errors import EngineError
from sekisho_agent.folders import remove_tree
from sekisho_agent.wall import Mount
from sekisho_wire.messages import REASON_OUTPUT_TOO_LARGE, REASON_OUTPUT_UNREADABLE
from sekisho_wire.trees import FILES_MAX, TreeError, check_path

CHUNK_BYTES: Final = 1 << 20
HEADERS_BYTES_MAX: Final = 64 << 20
"""What an archive's own headers may add to the bytes of its files."""
MEMBERS_MAX: Final = 2 * FILES_MAX


class Returned(msgspec.Struct, frozen=True):
    """What came back. `refused` counts entries that were no plain file under a plain name.

    With a `problem` (code and sentence) the outputs did not, and the folders are as they were.
    """

    told: Told
    log: Path
    refused: int = 0
    problem: tuple[str, str] | None = None


class Sink(Protocol):
    """Takes bytes."""

    def write(self, content: bytes, /) -> object:
        """Take all of them."""
        ...

    def flush(self) -> object:
        """Hold nothing back."""
        ...


class TooLargeError(Exception):
    """The parcel does not fit; nobody outside this file and its caller sees this."""


def pack(mounts: tuple[Mount, ...], target: Sink) -> None:
    """Write every mount's folder at its path inside, the same bytes each time; links are left out."""
    with (
        gzip.GzipFile(filename="", fileobj=target, mode="wb", mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w|", format=tarfile.GNU_FORMAT) as archive,
    ):
        for mount in mounts:
            for path, inside in _files(mount):
                entry = tarfile.TarInfo(inside)
                found = path.lstat()
                if stat.S_ISDIR(found.st_mode):
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(entry)
                elif stat.S_ISREG(found.st_mode):
                    entry.size = found.st_size
                    entry.mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
                    with path.open("rb") as file:
                        archive.addfile(entry, file)


def pack_small(mounts: tuple[Mount, ...], bytes_max: int) -> bytes | None:
    """The parcel in memory; None when it is larger than that."""
    if sum(path.lstat().st_size for mount in mounts for path, _ in _files(mount)) > 64 * bytes_max:
        return None
    bounded = _Bounded(bytes_max)
    try:
        pack(mounts, bounded)
    except TooLargeError:
        return None
    return bytes(bounded.content)


def pack_large(mounts: tuple[Mount, ...], target: Path) -> str:
    """The parcel as a file, and its SHA-256 in hexadecimal letters."""
    with target.open("wb") as file:
        pack(mounts, file)
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Bounded:
    """Bytes in memory that refuse to grow past their limit."""

    def __init__(self, bytes_max: int) -> None:
        self.content = bytearray()
        self._bytes_max = bytes_max

    def write(self, content: bytes, /) -> None:
        """Take more, or TooLargeError."""
        self.content += content
        if len(self.content) > self._bytes_max:
            raise TooLargeError

    def flush(self) -> None:
        """Nothing is held back."""


def _files(mount: Mount) -> Iterator[tuple[Path, str]]:
    """Every file and folder with its name in the archive, in order."""
    inside = mount.inside.strip("/")
    yield mount.source, inside
    for base, folders, names in os.walk(mount.source, followlinks=False):
        folders.sort()
        below = Path(base).relative_to(mount.source)
        for name in sorted([*folders, *names]):
            yield Path(base, name), str(PurePosixPath(inside, below, name))


# --- and back


def unpack(archive: Path, task: Task, scratch: Path) -> Returned:
    """Put what a container left into the writable mounts' folders, which are replaced.

    EngineError `output.too_large` past the task's limits, `output.unreadable` for what the bootstrap never writes.
    """
    with _readable():
        told, log, outputs = _opened(archive, task, scratch)
    if told.broken or not any(mount.writable for mount in task.mounts):
        return Returned(told=told, log=log)
    try:
        with _readable():
            refused = _replace(outputs if told.packed else None, task, scratch)
        return Returned(told=told, log=log, refused=refused)
    except EngineError as error:
        return Returned(told=told, log=log, problem=(error.code, error.detail))


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Everything that reading a stranger's archive may raise, as one error."""
    try:
        yield
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RecursionError) as error:
        raise EngineError(
            REASON_OUTPUT_UNREADABLE, f"what came back cannot be read: {type(error).__name__}"
        ) from error


def bytes_max(task: Task) -> int:
    """How much may come back in all."""
    return task.limits.output_bytes + task.limits.log_bytes + HEADERS_BYTES_MAX


def _opened(archive: Path, task: Task, scratch: Path) -> tuple[Told, Path, Path | None]:
    """What the container says, its log, and its outputs still packed; whatever else it left is passed over."""
    outer = _inflated(archive, scratch / "artefact.tar", bytes_max(task))
    found: dict[str, tuple[int, Path]] = {}
    for member, content in _members(outer):
        depth, name = len(PurePosixPath(member.name).parts), PurePosixPath(member.name).name
        if content is None or name not in {TOLD, LOG, OUTPUTS} or found.get(name, (99, outer))[0] <= depth:
            continue
        target = scratch / name
        _write(content, target, size_bytes_max=bytes_max(task), mode=0o600)
        found[name] = depth, target
    outer.unlink()
    if TOLD not in found:
        raise EngineError(REASON_OUTPUT_UNREADABLE, "the container left no word of how it ended")
    with found[TOLD][1].open("rb") as file:
        told = read_told(file.read(TOLD_BYTES_MAX))
    return told, scratch / LOG, scratch / OUTPUTS if OUTPUTS in found else None


def _replace(archive: Path | None, task: Task, scratch: Path) -> int:
    """Fill fresh folders, then let them take the old ones' places; how many entries were refused."""
    if archive is None:
        raise EngineError(REASON_OUTPUT_UNREADABLE, "the container could not pack its output")
    plain = _inflated(archive, scratch / "outputs.tar", task.limits.output_bytes + HEADERS_BYTES_MAX)
    mounts = [mount for mount in task.mounts if mount.writable]
    fresh = {mount.inside.strip("/"): scratch / f"mount-{number}" for number, mount in enumerate(mounts)}
    for folder in fresh.values():
        remove_tree(folder)
        folder.mkdir(mode=0o755)
    room, refused = task.limits.output_bytes, 0
    for member, content in _members(plain):
        if member.isdir():
            continue
        target = _target(member.name, fresh) if content is not None else None
        if content is None or target is None or not _make_room(target):
            refused += 1
            continue
        mode = 0o755 if member.mode & stat.S_IXUSR else 0o644
        room -= _write(content, target, size_bytes_max=room, mode=mode)
    plain.unlink()
    for mount in mounts:
        remove_tree(mount.source)
        fresh[mount.inside.strip("/")].rename(mount.source)
    return refused


def _target(name: str, fresh: dict[str, Path]) -> Path | None:
    """Where a member belongs; None for a name that is not plain, or in no writable folder."""
    plain = name.removeprefix("./")
    for inside, folder in fresh.items():
        if plain.startswith(f"{inside}/"):
            below = plain.removeprefix(f"{inside}/")
            try:
                check_path(below)
            except (TreeError, UnicodeError):
                return None
            return folder / below
    return None


def _make_room(target: Path) -> bool:
    """Whether the file may be made: nothing is there, and every folder above it is one."""
    try:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        return False
    return not os.path.lexists(target)


def _members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each member, with its bytes when it is a plain file."""
    with (
        archive.open("rb") as file,
        tarfile.open(fileobj=cast("IO[bytes]", _Guarded(file)), mode="r:") as opened,
    ):
        for number, member in enumerate(opened):
            if number >= MEMBERS_MAX:
                raise EngineError(REASON_OUTPUT_TOO_LARGE, f"more than {MEMBERS_MAX} files")
            vars(opened)["members"].clear()  # or every member is remembered
            yield member, opened.extractfile(member) if member.isreg() and not member.issparse() else None


class _Guarded:
    """A file of which nobody takes more at once than a header may be long."""

    def __init__(self, file: IO[bytes]) -> None:
        self.seek = file.seek
        self.tell = file.tell
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        """As a file's, within bounds."""
        if not 0 <= size <= CHUNK_BYTES:
            raise tarfile.ReadError("a header without end")
        return self._file.read(size)


def _inflated(source: Path, target: Path, size_bytes_max: int) -> Path:
    """Decompress to a file, so that what is read afterwards has an end; the source is removed."""
    with gzip.open(source, "rb") as file:
        _write(cast("IO[bytes]", file), target, size_bytes_max=size_bytes_max, mode=0o600)
    source.unlink()
    return target


def _write(content: IO[bytes], target: Path, *, size_bytes_max: int, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    size_bytes = 0
    with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        while chunk := content.read(CHUNK_BYTES):
            size_bytes += len(chunk)
            if size_bytes > size_bytes_max:
                raise EngineError(REASON_OUTPUT_TOO_LARGE, "more bytes than the job's limit")
            file.write(chunk)
        os.fchmod(file.fileno(), mode)
    return size_bytes
