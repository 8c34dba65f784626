"""Takes training checkpoints while the payload runs.

The payload renames complete files into its folder. A picture of the folder is taken when nothing in it has changed for
a second, and thrown away when something changed meanwhile; names that begin with a dot or end like a file in the making
are no part of it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from sekisho_agent import clock
from sekisho_agent.folders import Collected, collect
from sekisho_agent.keys import Keys
from sekisho_agent.sealed_trees import seal_tree
from sekisho_wire.objects import ObjectsByDigest

SETTLED_SECONDS: Final = 1.0
UNFINISHED_SUFFIXES: Final = (".tmp", ".part", ".partial", "~")

Signature = tuple[tuple[str, int, int, int], ...]


def is_unfinished(name: str) -> bool:
    """Whether a name says that its file is still being written."""
    return name.startswith(".") or name.endswith(UNFINISHED_SUFFIXES)


class CheckpointWatcher:
    """Watches one attempt's checkpoint folder; used by one thread."""

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        store: ObjectsByDigest,
        *,
        every_seconds: float,
        keys: Keys | None = None,
    ) -> None:
        """With `keys`, what is stored is sealed."""
        self._folder = folder
        self._scratch = scratch
        self._store = store
        self._keys = keys
        self._every_seconds = every_seconds
        self._taken: Signature = _signature(folder)
        self._seen: Signature = self._taken
        self._seen_at = clock.monotonic()
        self._taken_at = self._seen_at

    def look(self, *, size_bytes_max: int, final: bool = False) -> Collected | None:
        """A new checkpoint, stored, or None. `final`, when the payload is gone, waits for nothing.

        EngineError as `folders.collect`.
        """
        now, signature = clock.monotonic(), _signature(self._folder)
        if signature != self._seen:
            self._seen, self._seen_at = signature, now
        if not signature or signature == self._taken:
            return None
        settled = now - self._seen_at >= SETTLED_SECONDS and now - self._taken_at >= self._every_seconds
        if not (final or settled):
            return None
        limit = {"size_bytes_max": size_bytes_max, "skip": is_unfinished}
        if self._keys is None:
            found = collect(self._store, self._folder, self._scratch, **limit)
        else:
            found = seal_tree(self._store, self._folder, self._scratch, keys=self._keys, **limit)
        if _signature(self._folder) != signature:
            return None
        self._taken, self._taken_at = signature, now
        return found


def _signature(folder: Path) -> Signature:
    """What tells one state of the folder from another; empty when no finished file is in it."""
    found = []
    for base, folders, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        folders[:] = [name for name in folders if not is_unfinished(name)]
        for name in names:
            try:
                entry = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(entry.st_mode) and not is_unfinished(name):
                found.append((f"{base}/{name}", entry.st_ino, entry.st_size, entry.st_mtime_ns))
    return tuple(sorted(found))
