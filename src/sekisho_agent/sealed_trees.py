"""Trees under a data key: opened into an attempt's folder, and sealed before they rest anywhere else.

A sealed tree is a stored tree of one file, the envelope of the packed folder (`sekisho_wire.packing`). Neither way
holds more than a few segments in memory, and no plaintext is written outside the folders it is given.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from sekisho_agent.errors import EngineError, StoreError, store_errors
from sekisho_agent.folders import Collected, Walk, bounded, read_tree
from sekisho_agent.keys import Keys
from sekisho_verify import canonical
from sekisho_wire.envelope import TREE, EnvelopeError, decrypt_stream, encrypt_stream, read_header
from sekisho_wire.messages import REASON_OUTPUT_TOO_LARGE
from sekisho_wire.objects import CHUNK_BYTES, ObjectsByDigest
from sekisho_wire.packing import SEALED_NAME, Packer, Reading, Source, Unpacker
from sekisho_wire.trees import MODE_EXECUTABLE, MODE_PLAIN, TreeError, TreeFile, encode_tree


@store_errors()
def open_tree(
    store: ObjectsByDigest,
    digest: str,
    folder: Path,
    *,
    keys: Keys,
    size_bytes_max: int,
    check: Callable[[], None],
) -> None:
    """Write what a sealed tree holds below an empty folder.

    StoreError where it is no sealed tree or its bytes were changed, KeyRefusedError where its data key is not released.
    """
    files = read_tree(store, digest)
    if [file.path for file in files] != [SEALED_NAME]:
        raise StoreError("envelope.shape", f"{digest} is not a sealed tree")
    source = Reading(store.stream(files[0].digest))
    unpacker = Unpacker(folder, size_bytes_max=size_bytes_max, check=check)
    try:
        header = read_header(source, kind=TREE)
        decrypt_stream(source, unpacker, header, keys.open(header))
        unpacker.finish()
    except (EnvelopeError, TreeError) as error:
        raise StoreError(error.code, f"{digest}: {error.detail}") from error


@store_errors()
def seal_tree(
    store: ObjectsByDigest,
    folder: Path,
    scratch: Path,
    *,
    keys: Keys,
    size_bytes_max: int,
    skip: Callable[[str], bool] = lambda _name: False,
) -> Collected:
    """Store a folder as a sealed tree; links and odd names are refused by name, as in `folders.collect`.

    `size_bytes` of the answer are those of the ciphertext. EngineError as `collect`, KeyRefusedError without a key.
    """
    walk = Walk(folder, skip)
    header, key = keys.make()
    packer = Packer(_sources(walk, size_bytes_max))
    draft = scratch / SEALED_NAME
    try:
        with draft.open("wb") as file:
            target = _Hashing(file.write)
            encrypt_stream(Reading(packer.stream()), target, header, key)
        sealed = TreeFile(SEALED_NAME, target.size_bytes, target.digest(), MODE_PLAIN)
        store.put_file(draft, sealed.digest)
    except TreeError as error:
        raise EngineError(error.code, error.detail) from error
    finally:
        draft.unlink(missing_ok=True)
    return Collected(
        digest=store.put_bytes(encode_tree([sealed])),
        size_bytes=sealed.size_bytes,
        files=[sealed],
        refused=walk.refused,
        envelope=header.digest(),
    )


class _Hashing:
    """Counts and hashes what passes."""

    def __init__(self, write: Callable[[memoryview | bytes], int]) -> None:
        self._write = write
        self._hasher = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: memoryview | bytes, /) -> int:
        """Take all of it."""
        self._hasher.update(data)
        self.size_bytes += len(data)
        return self._write(data)

    def digest(self) -> str:
        """Of everything so far."""
        return canonical.DIGEST_PREFIX + self._hasher.hexdigest()


def _sources(walk: Walk, size_bytes_max: int) -> Iterator[Source]:
    left = [size_bytes_max]
    for path, descriptor in bounded(walk.files()):
        executable = bool(os.fstat(descriptor).st_mode & stat.S_IXUSR)
        mode = MODE_EXECUTABLE if executable else MODE_PLAIN
        yield Source(path, mode, _chunks(descriptor, left))


def _chunks(descriptor: int, left: list[int]) -> Iterator[bytes]:
    """A file's bytes, as long as there is room for them; closes it."""
    with os.fdopen(descriptor, "rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            left[0] -= len(chunk)
            if left[0] < 0:
                raise EngineError(REASON_OUTPUT_TOO_LARGE, "more bytes than the job's limit")
            yield chunk
