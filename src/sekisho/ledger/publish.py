"""The published log: a folder of static files that anybody may read and nobody needs to trust.

Owner of the folder: whoever holds the lock on `.publishing` in it, for the length of one `advance`. The order is
what readers may rely on: a tile is on disk before a checkpoint that needs it, a file that was published never
changes, and the checkpoint never goes back to a smaller size. The database is the truth; everything here can be
written again from it. What cannot be mended is a database that is older than, or differs from, what was published:
then `start` refuses, because going on would sign a second history under the same name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sekisho.kernel.errors import SekishoError
from sekisho.ledger.errors import PUBLISHED_AHEAD, PUBLISHED_DIFFERS, PUBLISHED_UNREADABLE
from sekisho.ledger.model import RootView, TileBatch
from sekisho_verify.canonical import to_base64url
from sekisho_verify.checkpoint import Checkpoint, parse_checkpoint, parse_key, parse_note, verify_log_lines
from sekisho_verify.errors import VerifyError

CHECKPOINT = "checkpoint"
_LOCK = ".publishing"
_PATH = re.compile(r"tile/(?:\d{1,2}|entries)/(?:x\d{3}/)*\d{3}(?:\.p/\d{1,3})?").fullmatch


class Publisher:
    """Writes one folder. Knows no database: what to write comes from the two functions it is given."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is not there."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def published(self) -> Checkpoint | None:
        """The head on disk, its signature not checked; `ledger.published_unreadable` for anything else."""
        note = self._read(CHECKPOINT)
        if note is None:
            return None
        try:
            return parse_checkpoint(parse_note(note).text)
        except VerifyError as error:
            raise SekishoError(PUBLISHED_UNREADABLE) from error

    def start(self, root_at: Callable[[int], RootView], keys: Sequence[str]) -> None:
        """Refuse to continue a log that the database does not hold.

        `root_at` answers the database's size and its root at the published size; `keys` are the log's verifier keys.
        Raises `ledger.published_ahead`, `ledger.published_differs` or `ledger.published_unreadable`.
        """
        head = self.published()
        if head is None:
            return
        try:
            verify_log_lines(parse_note(self._read(CHECKPOINT) or b""), map(parse_key, keys))
        except VerifyError as error:
            raise SekishoError(PUBLISHED_UNREADABLE) from error
        tree = root_at(head.size)
        if head.size > tree.size:
            raise SekishoError(PUBLISHED_AHEAD, published=head.size, size=tree.size)
        if to_base64url(head.root) != tree.root:
            raise SekishoError(PUBLISHED_DIFFERS, size=head.size)

    def advance(self, read: Callable[[int], TileBatch]) -> int:
        """Publish up to the newest checkpoint; answers the published size. `read` gives the files after a size."""
        with self._locked():
            head = self.published()
            before = size = head.size if head else 0
            while True:
                batch = read(size)
                self._write_files(batch)
                size = batch.size
                if batch.checkpoint:
                    break
            if size < before:
                raise SekishoError(PUBLISHED_AHEAD, published=before, size=size)
            if self._read(CHECKPOINT) != batch.checkpoint:
                self._write(CHECKPOINT, batch.checkpoint)
            self._drop_partial(before, size)
            return size

    def _write_files(self, batch: TileBatch) -> None:
        for file in batch.files:
            if not _PATH(file.path):
                raise ValueError(file.path)
            there = self._read(file.path)
            if there is None:
                self._write(file.path, file.content)
            elif there != file.content:
                raise SekishoError(PUBLISHED_DIFFERS, size=batch.size)

    def _read(self, path: str) -> bytes | None:
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, path: str, content: bytes) -> None:
        """Whole or not at all, and on disk before this returns."""
        target = self._folder / path
        missing = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            _sync(folder.parent)
        draft = target.with_name(f".{target.name}.draft")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
        _sync(target.parent)

    def _drop_partial(self, before: int, size: int) -> None:
        """Remove the partial tiles that whole ones replaced; readers fall back to the whole tile."""
        level = 0
        while (nodes := size >> 8 * level) >= 256:  # noqa: PLR2004 - the width of a tile
            for index in range((before >> 8 * level) // 256, nodes // 256):
                for kind in (str(level), "entries") if level == 0 else (str(level),):
                    shutil.rmtree(self._folder / _partial_folder(kind, index), ignore_errors=True)
            level += 1

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _partial_folder(kind: str, index: int) -> str:
    name = f"{index % 1000:03}"
    while index := index // 1000:
        name = f"x{index % 1000:03}/{name}"
    return f"tile/{kind}/{name}.p"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
