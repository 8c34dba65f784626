"""A custodian's journal: signed entries, each naming the digest of the one before, on disk before anything is answered.

The journal is the custodian's only memory, so there is nothing that could disagree with it. Each entry is two lines:
base64 of the Ed25519 signature, and canonical JSON with `v` 1 and `kind` sekisho.custodian.entry. `previous` is the
digest of the entry before (of nothing, for the first). One process owns the file; it only grows.

A crash may leave the beginning of one more entry: nothing was answered on it, and it is cut off. Anything else that is
not a chain stops the custodian. Who holds the machine can put an older copy of the file back; the releases since then
are forgotten here, and stay in the control plane's log.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import msgspec

from sekisho_guarantor.custodian_errors import JOURNAL_BROKEN
from sekisho_guarantor.errors import GuarantorError
from sekisho_verify import canonical
from sekisho_verify.checkpoint import Sign
from sekisho_verify.errors import VerifyError
from sekisho_verify.sealed import open_sealed, seal
from sekisho_wire.custody_problems import NOT_KEPT

JOURNAL_FILE = "journal"
NOTHING = canonical.digest(b"")

Event = Literal[
    "began",
    "created",
    "rotated",
    "destroying",
    "destroyed",
    "stopped",
    "resumed",
    "wrapped",
    "opened",
    "released",
]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What happened. Which fields there are depends on `event`; absent ones are left out of the bytes.

    `by` is the name of the token that asked; of a release, `order` is its digest and `id` its id, `opened` and `made`
    count data keys, `size` and `root` (base64url) are the checkpoint's that it lay under. Of an object that its owner
    opened, `envelope` is the digest of the header that was handed in and `wrapped` that of the wrapped data key in it,
    which says which data key it was, whatever the rest of the header.
    """

    v: Literal[1]
    kind: Literal["sekisho.custodian.entry"]
    number: int
    time_ms: int
    previous: str
    event: Event
    key: str = ""
    version: int = 0
    by: str = ""
    order: str = ""
    id: str = ""
    job: str = ""
    attempt: str = ""
    site: str = ""
    agent: str = ""
    not_after_ms: int = 0
    opened: int = 0
    made: int = 0
    size: int = 0
    root: str = ""
    envelope: str = ""
    wrapped: str = ""


class Journal:
    """The open file. `append` is for one thread at a time: the custodian's lock sees to it."""

    def __init__(self, path: Path, sign: Sign, public: bytes) -> None:
        """`custodian.journal_broken` unless the file is a chain of entries that ends in one signed by `public`."""
        self._sign = sign
        self._public = public
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            raise GuarantorError(JOURNAL_BROKEN, number=0) from error
        self._next, self._previous, self._length = 0, NOTHING, 0
        self._broken = False
        self.time_ms = 0
        self._path = path

    def replay(self) -> Iterator[Entry]:
        """Every entry, oldest first, the beginning of a last one cut off; to be exhausted before the first append."""
        last = b""
        with self._path.open("rb") as file:
            for signature, payload in _pairs(file):
                entry = self._follows(payload)
                last = signature + payload[:-1]
                self._moved(entry, payload[:-1], len(signature) + len(payload))
                yield entry
        try:
            open_sealed(last, self._public)
            os.ftruncate(self._descriptor, self._length)
            os.fsync(self._descriptor)
        except (VerifyError, OSError) as error:
            raise GuarantorError(JOURNAL_BROKEN, number=max(0, self._next - 1)) from error

    def append(self, event: Event, time_ms: int, **fields: Any) -> Entry:
        """The entry, on disk; `custody.not_kept`, and nothing is there, where it cannot be written."""
        entry = Entry(
            v=1,
            kind="sekisho.custodian.entry",
            number=self._next,
            time_ms=time_ms,
            previous=self._previous,
            event=event,
            **fields,
        )
        content = seal(msgspec.to_builtins(entry), self._sign)
        self._write(content + b"\n")
        self._moved(entry, content.partition(b"\n")[2], len(content) + 1)
        return entry

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _write(self, content: bytes) -> None:
        if self._broken:
            raise GuarantorError(NOT_KEPT)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError as error:
            # After a failed sync nobody knows what the disk holds: only a restart reads it again.
            self._broken = True
            self._undo()
            raise GuarantorError(NOT_KEPT) from error

    def _undo(self) -> None:
        """Back to the last whole entry; while that fails too, nothing more is taken."""
        try:
            os.ftruncate(self._descriptor, self._length)
            os.fsync(self._descriptor)
            self._broken = False
        except OSError:
            return

    def _follows(self, payload: bytes) -> Entry:
        try:
            entry = msgspec.convert(canonical.decode_object(payload[:-1]), Entry, strict=True)
        except (VerifyError, msgspec.ValidationError) as error:
            raise GuarantorError(JOURNAL_BROKEN, number=self._next) from error
        if (entry.number, entry.previous) != (self._next, self._previous):
            raise GuarantorError(JOURNAL_BROKEN, number=self._next)
        return entry

    def _moved(self, entry: Entry, payload: bytes, size_bytes: int) -> None:
        self._next, self._length = entry.number + 1, self._length + size_bytes
        self._previous = canonical.DIGEST_PREFIX + sha256(payload).hexdigest()
        self.time_ms = max(self.time_ms, entry.time_ms)


def verify_journal(content: bytes, public: bytes) -> int:
    """How many entries a copy of a journal has, every signature and link of it checked; for whoever audits it.

    `custodian.journal_broken` names the first that does not hold. A copy that ends early cannot be told from one taken
    earlier.
    """
    previous, count = NOTHING, 0
    for signature, payload in _pairs(content.splitlines(keepends=True)):
        try:
            entry = msgspec.convert(open_sealed(signature + payload[:-1], public), Entry, strict=True)
        except (VerifyError, msgspec.ValidationError) as error:
            raise GuarantorError(JOURNAL_BROKEN, number=count) from error
        if (entry.number, entry.previous) != (count, previous):
            raise GuarantorError(JOURNAL_BROKEN, number=count)
        previous, count = canonical.digest(payload[:-1]), count + 1
    return count


def create_journal(path: Path, sign: Sign, public: bytes, *, time_ms: int, name: str) -> None:
    """A new journal whose first entry names the custodian; FileExistsError if there is one."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    journal = Journal(path, sign, public)
    try:
        journal.append("began", time_ms, by=name)
    finally:
        journal.close()


def _pairs(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Signature and payload lines, newlines included; the beginning of a last entry is left out."""
    source = iter(lines)
    for signature in source:
        payload = next(source, b"")
        if not payload.endswith(b"\n"):
            return
        yield signature, payload
