"""What a witness must never forget: its key, and of each log the latest checkpoint that it cosigned.

One process owns the folder (an exclusive lock on `lock`). `heads.json` is written by `init` and replaced whole, synced
with its folder, before `advance` returns; without a readable one the witness does not start, because a witness that
begins again under the same key could cosign a second history.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sekisho_guarantor.errors import (
    KEY_EXISTS,
    KEY_EXPOSED,
    KEY_UNREADABLE,
    STATE_LOCKED,
    STATE_UNREADABLE,
    GuarantorError,
)
from sekisho_verify.canonical import from_base64url
from sekisho_verify.errors import CanonicalError
from sekisho_verify.merkle import EMPTY_ROOT, HASH_BYTES
from sekisho_wire.durable import MODE_PRIVATE, replace_file

KEY_FILE = "witness.pem"
HEADS_FILE = "heads.json"
CONFLICTS_MAX = 100


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The latest checkpoint cosigned for one log: its size, root (base64url) and the signed note itself."""

    origin: str
    size: int
    root: str
    note: str

    @property
    def root_bytes(self) -> bytes:
        """The 32 bytes of the root."""
        return from_base64url(self.root)


class Heads(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of `heads.json`."""

    v: int = 1
    heads: list[Head] = []


class WitnessState:
    """The open folder. Not safe for two threads at once: `Witness` holds its lock around every call."""

    def __init__(self, folder: Path, lock_descriptor: int) -> None:
        self._folder = folder
        self._lock_descriptor = lock_descriptor
        self._heads = {head.origin: head for head in _read_heads(folder / HEADS_FILE).heads}

    @classmethod
    def create(cls, folder: Path) -> Ed25519PrivateKey:
        """A new witness's folder; answers its key. `guarantor.key_exists` if there is one."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (folder / KEY_FILE).exists() or (folder / HEADS_FILE).exists():
            raise GuarantorError(KEY_EXISTS, folder=str(folder))
        replace_file(folder / HEADS_FILE, msgspec.json.encode(Heads()))
        return make_key_file(folder / KEY_FILE)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Take the folder for this process; `guarantor.state_locked` or `guarantor.state_unreadable`."""
        descriptor = lock_folder(folder)
        try:
            return cls(folder, descriptor)
        except GuarantorError:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock_descriptor)

    def seen(self, origin: str) -> tuple[int, bytes]:
        """Size and root of the latest checkpoint cosigned for a log; the empty tree before the first."""
        head = self._heads.get(origin)
        return (head.size, head.root_bytes) if head else (0, EMPTY_ROOT)

    def advance(self, head: Head) -> None:
        """Remember a newer checkpoint, on disk before this returns; OSError, and nothing remembered, if it cannot."""
        heads = self._heads | {head.origin: head}
        content = msgspec.json.encode(Heads(heads=[heads[origin] for origin in sorted(heads)]))
        replace_file(self._folder / HEADS_FILE, content)
        self._heads = heads

    def keep_conflict(self, origin: str, note: bytes, digest: str) -> str:
        """Keep both notes of one size with different roots: together they convict the log. Answers the file's name.

        Nothing more is kept beyond a hundred, so that a log cannot fill the disk.
        """
        name = f"two-histories-{digest[:16]}.txt"
        path, head = self._folder / name, self._heads.get(origin)
        if not path.exists() and len(list(self._folder.glob("two-histories-*"))) < CONFLICTS_MAX:
            replace_file(path, (head.note.encode() if head else b"") + b"\n" + note)
        return name


def lock_folder(folder: Path) -> int:
    """Take a state folder for this process until the descriptor is closed; `guarantor.state_locked` if one has it."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, MODE_PRIVATE)
    except OSError as error:
        raise GuarantorError(STATE_UNREADABLE, name=str(folder)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise GuarantorError(STATE_LOCKED, folder=str(folder)) from error
    return descriptor


def make_key_file(path: Path) -> Ed25519PrivateKey:
    """A new signing key, on disk with mode 0600."""
    key = Ed25519PrivateKey.generate()
    replace_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def read_key(folder: Path, name: str = KEY_FILE) -> Ed25519PrivateKey:
    """A guarantor's signing key; `guarantor.key_exposed` where others may read it."""
    try:
        key = load_pem_private_key(read_private(folder / name), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise GuarantorError(KEY_UNREADABLE, name=name) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise GuarantorError(KEY_UNREADABLE, name=name)
    return key


def read_private(path: Path) -> bytes:
    """The bytes of a file that only its owner may read; `guarantor.key_exposed` where others may, or OSError."""
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise GuarantorError(KEY_EXPOSED, name=path.name)
        return file.read()


def _read_heads(path: Path) -> Heads:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Heads)
        whole = found.v == 1 and all(
            head.size >= 0 and len(head.root_bytes) == HASH_BYTES for head in found.heads
        )
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, CanonicalError) as error:
        raise GuarantorError(STATE_UNREADABLE, name=HEADS_FILE) from error
    if not whole:
        raise GuarantorError(STATE_UNREADABLE, name=HEADS_FILE)
    return found
