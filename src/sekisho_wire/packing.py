r"""A folder as one stream, for encrypting it as one object: names, modes and sizes are hidden with the contents.

`sekisho-pack1\n`, then for each file a header (4 bytes length, canonical JSON `[path, mode]`) and its content in
pieces (4 bytes length, that many bytes) up to an empty piece; after the last file an empty header, then the tree's
manifest (`sekisho_wire.trees`) with its length in 4 bytes, and nothing more. Numbers are big-endian. Both ways hold one
piece in memory and, at the end, the manifest.

A sealed tree is a stored tree of the one file `SEALED_NAME`, whose bytes are the encrypted stream.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError
from sekisho_wire.trees import (
    FILES_MAX,
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

SEALED_NAME: Final = "sealed"
MAGIC: Final = b"sekisho-pack1\n"
PIECE_BYTES_MAX: Final = 1 << 20
HEADER_BYTES_MAX: Final = 8192
_length = struct.Struct(">I")


class Source(NamedTuple):
    """One file to pack: its path inside the tree, its mode, its bytes in chunks of any size."""

    path: str
    mode: int
    chunks: Iterable[bytes]


class Packer:
    """Packs files one after the other; used once. Afterwards `files` says what went in."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = sources
        self.files: list[TreeFile] = []

    def stream(self) -> Iterator[bytes]:
        """The packed bytes. TreeError, in the middle of it, for a path or a pair of names that no tree may hold."""
        yield MAGIC
        for source in self._sources:
            check_path(source.path)
            yield _framed(canonical.encode([source.path, source.mode]))
            hasher, size_bytes = hashlib.sha256(), 0
            for chunk in source.chunks:
                for start in range(0, len(chunk), PIECE_BYTES_MAX):
                    piece = chunk[start : start + PIECE_BYTES_MAX]
                    hasher.update(piece)
                    size_bytes += len(piece)
                    yield _framed(piece)
            yield _framed(b"")
            digest = canonical.DIGEST_PREFIX + hasher.hexdigest()
            self.files.append(TreeFile(source.path, size_bytes, digest, source.mode))
        yield _framed(b"")
        yield _framed(encode_tree(self.files))


class Reading:
    """Chunks of any size as a binary file, for whoever reads into a buffer."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        """How many bytes were put into the buffer; 0 at the end."""
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._held = memoryview(chunk)
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


class Unpacker:
    """Takes a packed stream in pieces of any size and writes its files below an empty folder; `finish` ends it.

    Either raises TreeError for a stream that is none, is cut short or goes on, holds more than allowed, or whose
    manifest says something else than what came. `check` is called between pieces and may raise to stop. What was
    written before an error stays: the folder is the caller's to remove.
    """

    def __init__(
        self, folder: Path, *, size_bytes_max: int, check: Callable[[], None] = lambda: None
    ) -> None:
        self._folder = folder
        self._left = self._size_bytes_max = size_bytes_max
        self._check = check
        self._held = bytearray()
        self._files: list[TreeFile] = []
        self._done = False
        self._parser = self._parse()
        self._wanted = next(self._parser)

    def write(self, data: memoryview | bytes, /) -> int:
        """Take all of it."""
        if self._done:
            raise _malformed("more after the end")
        self._held += data
        while not self._done and len(self._held) >= self._wanted:
            piece = bytes(self._held[: self._wanted])
            del self._held[: self._wanted]
            self._wanted = self._parser.send(piece)
        if self._done and self._held:
            raise _malformed("more after the end")
        return len(data)

    def finish(self) -> int:
        """Bytes of all files, once the whole stream has come and held."""
        if not self._done:
            raise _malformed("cut short")
        return size_of(self._files)

    def _parse(self) -> Generator[int, bytes, None]:
        """Asks for exact numbers of bytes, one after the other."""
        if (yield len(MAGIC)) != MAGIC:
            raise _malformed("not a packed tree")
        while header := (yield from _frame(HEADER_BYTES_MAX)):
            path, mode = _header(header)
            if len(self._files) == FILES_MAX:
                raise TreeError("tree.too_large", f"more than {FILES_MAX} files")
            size_bytes, digest = yield from self._file(path)
            (self._folder / path).chmod(mode)
            self._files.append(TreeFile(path, size_bytes, digest, mode))
        told = decode_tree((yield from _frame(MANIFEST_BYTES_MAX)))
        if encode_tree(self._files) != encode_tree(told):
            raise _malformed("the manifest is not that of the files")
        self._done = True
        yield 0

    def _file(self, path: str) -> Generator[int, bytes, tuple[int, str]]:
        """Size and digest of one file, written where nothing was."""
        hasher, size_bytes = hashlib.sha256(), 0
        with _created(self._folder, path) as file:
            while piece := (yield from _frame(PIECE_BYTES_MAX)):
                self._check()
                size_bytes += len(piece)
                self._left -= len(piece)
                if self._left < 0:
                    raise TreeError("tree.too_large", f"more than {self._size_bytes_max} bytes")
                hasher.update(piece)
                file.write(piece)
        return size_bytes, canonical.DIGEST_PREFIX + hasher.hexdigest()


def _frame(size_bytes_max: int) -> Generator[int, bytes, bytes]:
    """One piece after its length."""
    (size_bytes,) = _length.unpack((yield _length.size))
    if size_bytes > size_bytes_max:
        raise _malformed("a piece that is too long")
    return (yield size_bytes) if size_bytes else b""


def _created(folder: Path, path: str) -> BinaryIO:
    try:
        _make_folders(folder, (folder / path).parent)
        return (folder / path).open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise TreeError("tree.collision", f"twice, or both file and folder: {path[:120]!r}") from error


def _framed(content: bytes) -> bytes:
    return _length.pack(len(content)) + content


def _header(content: bytes) -> tuple[str, int]:
    try:
        value = canonical.decode(content)
    except CanonicalError as error:
        raise _malformed("a header that is no JSON") from error
    match value:
        case [str(path), int(mode)] if mode in {MODE_PLAIN, MODE_EXECUTABLE}:
            check_path(path)
            return path, mode
        case _:
            raise _malformed("a header of the wrong shape")


def _make_folders(top: Path, folder: Path) -> None:
    """Folders below `top` with mode 0755 whatever the umask: the payload's user must be able to enter them."""
    if folder == top or folder.exists():
        return
    _make_folders(top, folder.parent)
    folder.mkdir()
    folder.chmod(0o755)


def _malformed(detail: str) -> TreeError:
    return TreeError("tree.malformed", detail)
