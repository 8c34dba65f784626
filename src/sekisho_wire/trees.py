"""The one form of a stored folder: a manifest object that names files by path, size, digest and mode.

Canonical JSON `{"v":1,"files":[[path, size, digest, mode], ...]}`, sorted by the UTF-8 bytes of the path; mode is 420
(0o644) or 493 (0o755). Folders without files are not kept. Links, devices and pipes do not exist in a tree. Paths are
safe to create below any folder on any file system we meet: that is checked when a manifest is made and when it is read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import msgspec

from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError

MODE_PLAIN = 0o644
MODE_EXECUTABLE = 0o755
FILES_MAX = 200_000
PATH_BYTES_MAX = 1024
COMPONENT_BYTES_MAX = 255
MANIFEST_BYTES_MAX = 64 << 20
SIZE_BYTES_LIMIT = 2**53

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class TreeError(Exception):
    """A folder that cannot be a tree, or a manifest that is none. `code` is stable and dotted."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class TreeFile(msgspec.Struct, frozen=True):
    """One file of a tree; `path` is relative, with `/` between components."""

    path: str
    size_bytes: int
    digest: str
    mode: int


def encode_tree(files: Iterable[TreeFile]) -> bytes:
    """The manifest of these files, in canonical order. TreeError where a path, mode, size or pair of names is bad."""
    ordered = sorted(files, key=lambda file: file.path.encode("utf-8", "surrogateescape"))
    _check_files(ordered)
    rows = [[file.path, file.size_bytes, file.digest, file.mode] for file in ordered]
    return canonical.encode({"v": 1, "files": rows})


def decode_tree(manifest: bytes) -> list[TreeFile]:
    """The files of a manifest; TreeError unless the bytes are exactly the ones `encode_tree` gives for them."""
    if len(manifest) > MANIFEST_BYTES_MAX:
        raise TreeError("tree.too_large", f"a manifest of more than {MANIFEST_BYTES_MAX} bytes")
    try:
        value = canonical.decode_object(manifest)
    except CanonicalError as error:
        raise TreeError("tree.malformed", error.detail) from error
    rows = value.get("files")
    if set(value) != {"v", "files"} or value["v"] != 1 or not isinstance(rows, list):
        raise TreeError("tree.malformed", "not a manifest of version 1")
    files = [_file(row) for row in rows]
    if encode_tree(files) != manifest:
        raise TreeError("tree.malformed", "the files are not in order")
    return files


def check_path(path: str) -> None:
    """Refuse, with TreeError `tree.path`, every path that could leave its folder or differ between file systems."""
    fault = _path_fault(path)
    if fault:
        raise TreeError("tree.path", f"{fault}: {path[:120]!r}")


def size_of(files: Iterable[TreeFile]) -> int:
    """Bytes of all files together."""
    return sum(file.size_bytes for file in files)


def _path_fault(path: str) -> str:
    parts = path.split("/")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    if not path or path.startswith("/"):
        return "empty or absolute"
    if any(part in {"", ".", ".."} for part in parts):
        return "an empty component, . or .."
    if any(ord(letter) < ord(" ") or letter in "\\\x7f" for letter in path):
        return "a control character or backslash"
    if unicodedata.normalize("NFC", path) != path:
        return "not in Unicode form NFC"
    if len(encoded) > PATH_BYTES_MAX or any(len(part.encode()) > COMPONENT_BYTES_MAX for part in parts):
        return "too long"
    return ""


def _check_files(files: list[TreeFile]) -> None:
    if len(files) > FILES_MAX:
        raise TreeError("tree.too_large", f"more than {FILES_MAX} files")
    spelled: dict[str, str] = {}
    names: set[str] = set()
    for file in files:
        check_path(file.path)
        if file.mode not in {MODE_PLAIN, MODE_EXECUTABLE}:
            raise TreeError("tree.mode", f"mode {file.mode:o} of {file.path[:120]!r}")
        if not 0 <= file.size_bytes < SIZE_BYTES_LIMIT or DIGEST.fullmatch(file.digest) is None:
            raise TreeError("tree.malformed", f"size or digest of {file.path[:120]!r}")
        if file.path in names:
            raise TreeError("tree.collision", f"twice: {file.path[:120]!r}")
        names.add(file.path)
        _check_spelling(file.path, spelled)
    _check_folders(files, names)


def _check_spelling(path: str, spelled: dict[str, str]) -> None:
    """Every prefix of a path must be spelled one way, or two files meet where letter case does not count."""
    parts = path.split("/")
    for length in range(1, len(parts) + 1):
        prefix = "/".join(parts[:length])
        if spelled.setdefault(prefix.casefold(), prefix) != prefix:
            raise TreeError("tree.collision", f"differs only in case: {path[:120]!r}")


def _check_folders(files: list[TreeFile], names: set[str]) -> None:
    for file in files:
        parent = file.path.rpartition("/")[0]
        while parent:
            if parent in names:
                raise TreeError("tree.collision", f"both file and folder: {parent[:120]!r}")
            parent = parent.rpartition("/")[0]


def _file(row: object) -> TreeFile:
    match row:
        case [str(path), int(size_bytes), str(digest), int(mode)] if not isinstance(size_bytes, bool):
            return TreeFile(path=path, size_bytes=size_bytes, digest=digest, mode=mode)
        case _:
            raise TreeError("tree.malformed", "a file entry of the wrong shape")
