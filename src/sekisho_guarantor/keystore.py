"""Where a custodian's keys are kept: the contract, and a file for trying things out.

A store holds AES-256 keys by name and never answers one; it wraps and unwraps data keys by RFC 3394. The file store is
software: its keys lie in a file of mode 0600, who runs the machine has them, and it says so wherever it is shown.
"""

from __future__ import annotations

import secrets
import threading
from pathlib import Path
from typing import Final, Protocol

import msgspec
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from sekisho_guarantor.custodian_errors import STORE_UNUSABLE
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.state import read_private
from sekisho_verify.canonical import from_base64url, to_base64url
from sekisho_verify.errors import CanonicalError
from sekisho_wire.custody import Custody
from sekisho_wire.custody_problems import KEY_EXISTS, NOT_OPENED, STORE_FAILED
from sekisho_wire.durable import replace_file

KEY_BYTES: Final = 32
KEYS_FILE: Final = "development-keys.json"
SHOUT: Final = "DEVELOPMENT ONLY: keys in a file, they protect nothing"


class KeyStore(Protocol):
    """Keys by name, for several threads at once. Errors are GuarantorErrors `custody.*`, and then nothing changed."""

    @property
    def custody(self) -> Custody:
        """How keys are held here, in the charter's words."""
        ...

    @property
    def exportable(self) -> bool:
        """Whether a key's bytes can be had from here."""
        ...

    @property
    def description(self) -> str:
        """The store for people: maker, model, serial number; a shout where it protects nothing."""
        ...

    def holds(self, name: str) -> bool:
        """Whether there is such a key."""
        ...

    def make(self, name: str) -> None:
        """A new random key; `custody.key_exists` if there is one of that name, which is never replaced."""
        ...

    def wrap(self, name: str, data_key: bytes) -> bytes:
        """40 bytes for 32."""
        ...

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """32 bytes for 40; `custody.not_opened` where this key did not wrap them."""
        ...

    def destroy(self, name: str) -> None:
        """Gone for good; what is not there any more is fine."""
        ...

    def close(self) -> None:
        """Let go of the device."""
        ...


class DevelopmentStore:
    """Keys in a file. Owned by one process, which holds the state folder's lock."""

    custody: Final[Custody] = "development"
    exportable: Final = True
    description: Final = SHOUT

    def __init__(self, folder: Path) -> None:
        self._path = folder / KEYS_FILE
        self._lock = threading.Lock()
        self._keys = _read(self._path)

    def holds(self, name: str) -> bool:
        """As `KeyStore`."""
        return name in self._keys

    def make(self, name: str) -> None:
        """As `KeyStore`."""
        with self._lock:
            if name in self._keys:
                raise GuarantorError(KEY_EXISTS, key=name)
            self._keep(self._keys | {name: secrets.token_bytes(KEY_BYTES)})

    def wrap(self, name: str, data_key: bytes) -> bytes:
        """As `KeyStore`."""
        return aes_key_wrap(self._key(name), data_key)

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """As `KeyStore`."""
        try:
            return aes_key_unwrap(self._key(name), wrapped)
        except (InvalidUnwrap, ValueError) as error:
            raise GuarantorError(NOT_OPENED, key=name) from error

    def destroy(self, name: str) -> None:
        """As `KeyStore`, as far as overwriting a file destroys anything: the disk may remember."""
        with self._lock:
            self._keep({kept: key for kept, key in self._keys.items() if kept != name})

    def close(self) -> None:
        """Nothing is held."""

    def _key(self, name: str) -> bytes:
        key = self._keys.get(name)
        if key is None:
            raise GuarantorError(NOT_OPENED, key=name)
        return key

    def _keep(self, keys: dict[str, bytes]) -> None:
        written = {name: to_base64url(key) for name, key in keys.items()}
        try:
            replace_file(self._path, msgspec.json.encode(written))
        except OSError as error:
            raise GuarantorError(STORE_FAILED, what=error.strerror or "unwritable") from error
        self._keys = keys


def _read(path: Path) -> dict[str, bytes]:
    try:
        written = msgspec.json.decode(read_private(path), type=dict[str, str])
        return {name: from_base64url(text) for name, text in written.items()}
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, CanonicalError) as error:
        raise GuarantorError(STORE_UNUSABLE, what=f"{path.name} cannot be read") from error
