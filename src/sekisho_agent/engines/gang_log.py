"""The logs of a gang's nodes in one, whole lines at a time: those of node k > 0 begin with `[k] `.

What was taken is written to an index before it is written to the log, as `<node> <from> <to>` in bytes of the node's
own log. So the log follows from the index, and a process that takes it up after another one goes on where that stopped,
without changing a byte of what was there: its readers count in offsets.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sekisho_agent.engines.gangs import FOLDER, rank_folder

INDEX: Final = "log.index"
PIECE_BYTES_MAX: Final = 65_536
LINE_BYTES_MAX: Final = 4096
"""What has no end of line after this much is broken off."""


class GangLog:
    """Used by one thread at a time."""

    def __init__(self, folder: Path, nodes: int, bytes_max: int) -> None:
        """`folder` is the task's, with a folder for each node; `bytes_max` holds for all of them together."""
        self._folder = folder
        self._bytes_max = bytes_max
        self._taken = [0] * nodes
        self.kept_bytes = 0
        self.dropped_bytes = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._log = os.open(folder / "log", flags, 0o600)
        self._index = os.open(folder / FOLDER / INDEX, flags, 0o600)
        self._take_up()

    def follow(self, *, to_end: bool = False) -> None:
        """Take what the nodes have written since; `to_end` also takes lines that are not whole."""
        for rank in range(len(self._taken)):
            while piece := self._piece(rank, to_end=to_end):
                start = self._taken[rank]
                self._note(b"%d %d %d\n" % (rank, start, start + len(piece)))
                self._taken[rank] += len(piece)
                self._keep(rendered(rank, piece), present_bytes=0)

    def close(self) -> None:
        """Make the log durable: its digest is about to be reported."""
        os.fsync(self._log)
        os.close(self._log)
        os.close(self._index)

    def _note(self, line: bytes) -> None:
        """A line of the index, whole or not at all: a disk that is full may take half of it."""
        before_bytes = os.fstat(self._index).st_size
        try:
            _write_all(self._index, line)
        except OSError:
            os.ftruncate(self._index, before_bytes)
            raise

    def _piece(self, rank: int, *, to_end: bool) -> bytes:
        content = self._read(rank, self._taken[rank], PIECE_BYTES_MAX)
        whole = content[: content.rfind(b"\n") + 1]
        return whole or (content if to_end or len(content) >= LINE_BYTES_MAX else b"")

    def _read(self, rank: int, offset: int, size: int) -> bytes:
        try:
            with (rank_folder(self._folder, rank) / "log").open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def _keep(self, content: bytes, *, present_bytes: int) -> None:
        """The first `present_bytes` of it are in the log already. A disk that is full counts as the cap."""
        fitting = content[: max(0, self._bytes_max - self.kept_bytes)]
        try:
            _write_all(self._log, fitting[present_bytes:])
            self.kept_bytes += len(fitting)
        except OSError:
            self.kept_bytes = self._bytes_max = os.fstat(self._log).st_size
        self.dropped_bytes += len(content) - len(fitting)

    def _take_up(self) -> None:
        """Go on from an earlier process; a line of the index that was not written whole never counted."""
        present_bytes = os.fstat(self._log).st_size
        with (self._folder / FOLDER / INDEX).open("rb") as file:
            lines, _, torn = file.read().rpartition(b"\n")
        if torn:
            os.ftruncate(self._index, len(lines) + 1 if lines else 0)
        for line in lines.split(b"\n") if lines else []:
            rank, start, end = (int(number) for number in line.split())
            content = rendered(rank, self._read(rank, start, end - start))
            self._keep(content, present_bytes=max(0, present_bytes - self.kept_bytes))
            self._taken[rank] = end


def rendered(rank: int, piece: bytes) -> bytes:
    """A piece of one node's log as it stands in the gang's."""
    lines = piece.removesuffix(b"\n").split(b"\n")
    prefix = b"[%d] " % rank if rank else b""
    return b"".join(prefix + line + b"\n" for line in lines)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
