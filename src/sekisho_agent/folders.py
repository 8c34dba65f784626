"""Folders to trees and back. The folder being read was written by a payload: nothing in it is followed or trusted.

Files are opened relative to their folder's descriptor, never through a link, without blocking on pipes; only regular
files enter a tree. Everything else is named in `refused` and left where it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent.errors import AgentError, EngineError, StoreError, store_errors
from sekisho_verify import canonical
from sekisho_wire.messages import REASON_OUTPUT_TOO_LARGE, REASON_OUTPUT_UNREADABLE
from sekisho_wire.objects import CHUNK_BYTES, ObjectsByDigest
from sekisho_wire.trees import (
    MANIFEST_BYTES_MAX,
    MODE_EXECUTABLE,
    MODE_PLAIN,
    TreeError,
    TreeFile,
    check_path,
    decode_tree,
    encode_tree,
    size_of,
)

REFUSED_NAMES_MAX: Final = 50
REFUSED_NAME_LETTERS_MAX: Final = 200


class Collected(msgspec.Struct, frozen=True):
    """A stored tree and what was not taken into it; `envelope` is the digest of its header where it is sealed."""

    digest: str
    size_bytes: int
    files: list[TreeFile]
    refused: list[str]
    envelope: str = ""


class Walk:
    """One pass over a payload's folder; collects refused names while yielding regular files."""

    def __init__(self, folder: Path, skip: Callable[[str], bool]) -> None:
        self._folder = folder
        self._skip = skip
        self.refused: list[str] = []

    def files(self) -> Iterator[tuple[str, int]]:
        """Relative path and an open descriptor (ours to close) of each acceptable file."""
        for base, folders, names, descriptor in os.fwalk(
            self._folder, onerror=_unreadable, follow_symlinks=False
        ):
            prefix = (
                "" if Path(base) == self._folder else Path(base).relative_to(self._folder).as_posix() + "/"
            )
            folders[:] = [name for name in folders if self._keep_folder(prefix, name, descriptor)]
            for name in sorted(names):
                opened = self._open(prefix, name, descriptor)
                if opened is not None:
                    yield prefix + name, opened

    def _keep_folder(self, prefix: str, name: str, parent: int) -> bool:
        if self._skip(name):
            return False
        if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return True
        self._refuse(prefix + name, "link")
        return False

    def _open(self, prefix: str, name: str, parent: int) -> int | None:
        path = prefix + name
        if self._skip(name):
            return None
        try:
            check_path(path)
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            if not stat.S_ISREG(mode):
                return self._refuse(path, _kind(mode))
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=parent)
        except TreeError as error:
            return self._refuse(path, error.code)
        except OSError as error:
            return self._refuse(path, error.strerror or "unreadable")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return self._refuse(path, "changed while it was read")
        return descriptor

    def _refuse(self, path: str, why: str) -> None:
        if len(self.refused) < REFUSED_NAMES_MAX:
            shown = path.encode("ascii", "backslashreplace").decode("ascii")
            self.refused.append(f"{shown[:REFUSED_NAME_LETTERS_MAX]} ({why})")


@store_errors()
def collect(
    store: ObjectsByDigest,
    folder: Path,
    scratch: Path,
    *,
    size_bytes_max: int,
    skip: Callable[[str], bool] = lambda _name: False,
) -> Collected:
    """Store a folder as a tree. Each file is copied once, hashed while copied, and stored from the copy.

    So what is stored always has its digest, even when something still writes. EngineError `output.too_large` past the
    limit, `output.unreadable` where a folder cannot be listed, `tree.collision` for names that differ only in case.
    """
    walk, files, total = Walk(folder, skip), list[TreeFile](), 0
    for path, descriptor in bounded(walk.files()):
        copy = scratch / "file"
        executable = bool(os.fstat(descriptor).st_mode & stat.S_IXUSR)
        size_bytes, digest = _copy(descriptor, copy, size_bytes_max=size_bytes_max - total)
        total += size_bytes
        store.put_file(copy, digest)
        mode = MODE_EXECUTABLE if executable else MODE_PLAIN
        files.append(TreeFile(path=path, size_bytes=size_bytes, digest=digest, mode=mode))
        copy.unlink()
    try:
        manifest = encode_tree(files)
    except TreeError as error:
        raise EngineError(error.code, error.detail) from error
    return Collected(digest=store.put_bytes(manifest), size_bytes=total, files=files, refused=walk.refused)


@store_errors()
def restore(
    store: ObjectsByDigest,
    digest: str,
    folder: Path,
    *,
    size_bytes_max: int,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Write a stored tree below an empty folder; returns its size. Every byte is checked against its digest."""
    files = read_tree(store, digest)
    if size_of(files) > size_bytes_max:
        raise StoreError("object.too_large", f"{digest} holds more than {size_bytes_max} bytes")
    for file in files:
        check()
        target = folder / file.path
        _make_folders(folder, target.parent)
        size_bytes = store.get_file(file.digest, target, size_bytes_max=file.size_bytes)
        if size_bytes != file.size_bytes:
            raise StoreError("object.size_mismatch", f"{file.digest} is not as long as its manifest says")
        target.chmod(file.mode)
    return size_of(files)


@store_errors()
def read_tree(store: ObjectsByDigest, digest: str) -> list[TreeFile]:
    """The files that a stored manifest names; StoreError when it is none."""
    try:
        return decode_tree(store.get_bytes(digest, size_bytes_max=MANIFEST_BYTES_MAX))
    except TreeError as error:
        raise StoreError(error.code, f"{digest}: {error.detail}") from error


def remove_tree(top: Path) -> None:
    """Remove a folder that a dead payload filled, however deep and whatever its modes; links are not followed.

    Works from the top: the folders of a folder are moved up beside it, so neither path nor recursion grows.
    What the system refuses to remove is left.
    """
    with contextlib.suppress(OSError):
        while folders := [entry for entry in top.iterdir() if not _unlink(entry)]:
            for folder in folders:
                folder.chmod(0o700)
                for entry in list(folder.iterdir()):
                    if not _unlink(entry):
                        entry.rename(top / secrets.token_hex(8))
                folder.rmdir()
        top.rmdir()


def _unlink(path: Path) -> bool:
    """Whether the entry is gone: everything is removed but a real folder."""
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        return False
    path.unlink(missing_ok=True)
    return True


def hash_file(path: Path) -> tuple[int, str]:
    """Size and digest of a file that nobody changes any more."""
    hasher, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            size_bytes += len(chunk)
    return size_bytes, canonical.DIGEST_PREFIX + hasher.hexdigest()


def _make_folders(top: Path, folder: Path) -> None:
    """Folders below `top` with mode 0755 whatever the umask: the payload's user must be able to enter them."""
    if folder == top or folder.exists():
        return
    _make_folders(top, folder.parent)
    folder.mkdir()
    folder.chmod(0o755)


def bounded(files: Iterator[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """The same files; EngineError where folders are nested so deep that walking them ends."""
    try:
        yield from files
    except RecursionError as error:
        raise EngineError(REASON_OUTPUT_UNREADABLE, "folders nested too deep") from error


def _copy(descriptor: int, target: Path, *, size_bytes_max: int) -> tuple[int, str]:
    hasher, size_bytes = hashlib.sha256(), 0
    with os.fdopen(descriptor, "rb") as source, target.open("wb") as copy:
        while chunk := source.read(CHUNK_BYTES):
            size_bytes += len(chunk)
            if size_bytes > size_bytes_max:
                raise EngineError(REASON_OUTPUT_TOO_LARGE, "more bytes than the job's limit")
            hasher.update(chunk)
            copy.write(chunk)
    return size_bytes, canonical.DIGEST_PREFIX + hasher.hexdigest()


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _unreadable(error: OSError) -> AgentError:
    raise EngineError(REASON_OUTPUT_UNREADABLE, f"a folder cannot be listed: {error.strerror}") from error
