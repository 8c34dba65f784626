"""The folder of a log's private keys: `log-0001.pem`, `log-0002.pem` ... (Ed25519, PKCS#8) and `stream.key`.

Owner: the user the control plane runs as; every file has mode 0600 and one that others may read is refused. All
control planes of one log hold the same folder. Losing `stream.key` loses the way from a job to its stream; losing
the newest log key ends the log.
"""

from __future__ import annotations

import os
import secrets
import stat
import threading
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sekisho.kernel.errors import SekishoError
from sekisho.ledger.errors import KEY_EXISTS, KEY_EXPOSED, KEY_MISSING, KEY_UNREADABLE
from sekisho_verify.checkpoint import VerifierKey, make_key

STREAM_KEY_BYTES = 32
_STREAM_KEY = "stream.key"


class KeyFolder:
    """The keys of one log, read once; a key added later is found when it is first asked for."""

    def __init__(self, folder: Path, origin: str) -> None:
        """Read the folder; `ledger.key_exposed`, `ledger.key_unreadable` or `ledger.key_missing` end it."""
        self.origin = origin
        self._folder = folder
        self._lock = threading.Lock()
        self._signers: dict[str, Ed25519PrivateKey] = {}
        self._first = ""
        self._read()
        self.stream_key = _read_private(folder / _STREAM_KEY)
        if len(self.stream_key) != STREAM_KEY_BYTES:
            raise SekishoError(KEY_UNREADABLE, name=_STREAM_KEY)

    @classmethod
    def create(cls, folder: Path, origin: str) -> KeyFolder:
        """Make the folder with its first log key and stream key; `ledger.key_exists` if it holds anything."""
        make_key(origin, bytes(32))  # refuses an origin that could not stand in a checkpoint
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise SekishoError(KEY_EXISTS, name=folder.name)
        _write_private(folder / _STREAM_KEY, secrets.token_bytes(STREAM_KEY_BYTES))
        _write_private(folder / "log-0001.pem", _new_pem())
        return cls(folder, origin)

    @property
    def first(self) -> str:
        """The verifier key of the lowest-numbered log key: the one that the log began with."""
        return self._first

    def add(self) -> str:
        """Write one more log key and answer its verifier key; the log signs with it once a rotation names it."""
        with self._lock:
            numbers = [
                int(path.stem.removeprefix("log-"))
                for path in self._folder.glob("log-[0-9][0-9][0-9][0-9].pem")
            ]
            path = self._folder / f"log-{max(numbers) + 1:04}.pem"
            _write_private(path, _new_pem())
            return self._load(path)

    def holds(self, vkey: str) -> bool:
        """Whether this folder can sign as `vkey`."""
        with self._lock:
            if vkey not in self._signers:
                self._read()
            return vkey in self._signers

    def sign(self, vkey: str, message: bytes) -> bytes:
        """64 bytes of signature; `ledger.key_missing` when the folder does not hold this key."""
        if not self.holds(vkey):
            raise SekishoError(KEY_MISSING, name=vkey.rpartition("+")[0])
        return self._signers[vkey].sign(message)

    def _read(self) -> None:
        found = [self._load(path) for path in sorted(self._folder.glob("log-[0-9][0-9][0-9][0-9].pem"))]
        if not found:
            raise SekishoError(KEY_MISSING, name="log-0001.pem")
        self._first = found[0]

    def _load(self, path: Path) -> str:
        try:
            key = load_pem_private_key(_read_private(path), password=None)
        except (ValueError, TypeError) as error:
            raise SekishoError(KEY_UNREADABLE, name=path.name) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SekishoError(KEY_UNREADABLE, name=path.name)
        vkey = verifier_key(self.origin, key).vkey
        self._signers[vkey] = key
        return vkey


def verifier_key(origin: str, key: Ed25519PrivateKey) -> VerifierKey:
    """The public half under the log's origin."""
    return make_key(origin, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _new_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, data: bytes) -> None:
    """Create with mode 0600 from the first byte on; never over a file that is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SekishoError(KEY_EXPOSED, name=path.name)
            return file.read()
    except FileNotFoundError as error:
        raise SekishoError(KEY_MISSING, name=path.name) from error
    except OSError as error:
        raise SekishoError(KEY_UNREADABLE, name=path.name) from error
