"""Keys of the control plane in files only it can read, and the box that seals secrets for the database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sekisho.kernel.errors import SekishoError
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

KEY_BYTES = 32
_NONCE_BYTES = 12
_OTHERS = 0o077

EXPOSED = problems.define(
    "vault.exposed",
    500,
    Exit.INTERNAL,
    Text(
        "Key file {name} can be read by others; set its mode to 0600.",
        "鍵ファイル{name}を他の利用者が読めます。モードを0600にしてください。",
    ),
)
BROKEN = problems.define(
    "vault.broken",
    500,
    Exit.INTERNAL,
    Text("Key file {name} is missing or damaged.", "鍵ファイル{name}がないか、壊れています。"),
    hint=Text(
        "A new installation begins with sekishod init; of an old one, put the folder of keys back.",
        "新しい環境はsekishod initから始めます。既存の環境では鍵フォルダーを元に戻してください。",
    ),
)


class Vault:
    """Named keys of 32 bytes, one file each, mode 0600. Losing one loses what it protects: back them up apart."""

    def __init__(self, folder: Path) -> None:
        """Owns `folder`, which only this user may enter."""
        self._folder = folder

    def create(self, name: str) -> bytes:
        """A new random key; an existing one is kept and answered instead, so that `init` can be repeated."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(
                self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
        except FileExistsError:
            return self.read(name)
        with os.fdopen(descriptor, "wb") as file:
            key = secrets.token_bytes(KEY_BYTES)
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        return key

    def read(self, name: str) -> bytes:
        """The key; `vault.broken` when it is not there or not whole, `vault.exposed` when others may read it."""
        file = self._folder / name
        try:
            if file.stat().st_mode & _OTHERS:
                raise SekishoError(EXPOSED, name=name)
            key = file.read_bytes()
        except OSError as error:
            raise SekishoError(BROKEN, name=name) from error
        if len(key) != KEY_BYTES:
            raise SekishoError(BROKEN, name=name)
        return key

    def signing_key(self, name: str) -> Ed25519PrivateKey:
        """The key as an Ed25519 private key."""
        return Ed25519PrivateKey.from_private_bytes(self.read(name))


class SecretBox:
    """AES-256-GCM under one key; the name is bound in, so that a value cannot be moved to another name."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 bytes of the vault."""
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, name: str) -> bytes:
        """Nonce and ciphertext; a fresh nonce each time."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, name.encode())

    def open(self, sealed: bytes, name: str) -> bytes:
        """The value; `vault.broken` for other bytes, another key or another name."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:
            raise SekishoError(BROKEN, name="secrets") from error
