"""Keys in a PKCS#11 token: an HSM, a network HSM's client, or SoftHSM in tests.

A key is AES-256, made inside, sensitive and never extractable, good for wrapping and unwrapping only. A data key passes
through as a session object: the token never stores it. What this process holds while it runs is the login (the PIN),
so whoever takes over the process can have data keys unwrapped, and can never take the key away.

The token's library is one per process and its session one at a time, under a lock; a session that broke is opened again
by the next call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

import pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass, Session
from pkcs11.exceptions import (
    AttributeSensitive,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    GeneralError,
    PKCS11Error,
    WrappedKeyInvalid,
    WrappedKeyLenRange,
)
from pkcs11.mechanisms import Mechanism

from sekisho_guarantor.custodian_errors import STORE_UNUSABLE
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.state import read_private
from sekisho_wire.custody import Custody
from sekisho_wire.custody_problems import KEY_EXISTS, NOT_OPENED, STORE_FAILED

AnswerT = TypeVar("AnswerT")

_BITS: Final = 256
_WRAPS: Final = MechanismFlag.WRAP | MechanismFlag.UNWRAP
_KEY: Final = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.ENCRYPT: False,
    Attribute.DECRYPT: False,
    Attribute.SIGN: False,
    Attribute.VERIFY: False,
}
_PASSING: Final = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
# SoftHSM says "general error" where a wrapped key fails its own check.
_NOT_OURS: Final = (
    WrappedKeyInvalid,
    WrappedKeyLenRange,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    GeneralError,
)


class _Key(Protocol):
    """A secret key that wraps, as the library puts it together from its capabilities at run time."""

    def __getitem__(self, key: Attribute) -> Any:  # noqa: ANN401 - an attribute's type is the attribute's own
        ...

    def wrap_key(self, key: object, *, mechanism: Mechanism) -> bytes: ...

    def unwrap_key(
        self,
        object_class: ObjectClass,
        key_type: KeyType,
        key_data: bytes,
        *,
        mechanism: Mechanism,
        template: dict[Attribute, bool],
    ) -> _Key: ...

    def destroy(self) -> None: ...


class Pkcs11Store:
    """One token. `KeyStore`'s contract; see there."""

    custody: Final[Custody] = "customer-hsm"
    exportable: Final = False

    def __init__(self, module: str, token: str, pin_file: Path) -> None:
        """`module` is the library's path, `token` the token's label; the PIN file has mode 0600.

        `custodian.store_unusable` where one is missing, the PIN is wrong, or the token cannot wrap by AES.
        """
        self._lock = threading.Lock()
        self._session: Session | None = None
        try:
            self._pin = read_private(pin_file).decode("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise GuarantorError(STORE_UNUSABLE, what="the PIN file cannot be read") from error
        try:
            library = pkcs11.lib(module)
            self._token = library.get_token(token_label=token)
            if Mechanism.AES_KEY_WRAP not in self._token.slot.get_mechanisms():
                raise GuarantorError(STORE_UNUSABLE, what="the token has no AES key wrap (RFC 3394)")
            self._open()
        except (PKCS11Error, RuntimeError) as error:
            raise GuarantorError(STORE_UNUSABLE, what=type(error).__name__) from error
        parts = (
            self._token.manufacturer_id,
            self._token.model,
            self._token.serial.decode("ascii", "replace"),
        )
        self.description = " ".join(part.strip() for part in ("PKCS#11", *parts))

    def holds(self, name: str) -> bool:
        """As `KeyStore`."""
        return self._with_session(name, lambda session: _find(session, name) is not None)

    def make(self, name: str) -> None:
        """As `KeyStore`; the token makes the key, and is asked afterwards whether it is what it was told to be."""

        def work(session: Session) -> None:
            if _find(session, name) is not None:
                raise GuarantorError(KEY_EXISTS, key=name)
            made = session.generate_key(
                KeyType.AES,
                _BITS,
                id=name.encode("ascii"),
                label=name,
                store=True,
                capabilities=_WRAPS,
                template=_KEY,
            )
            key = cast("_Key", made)
            if not _cannot_leave(key):
                key.destroy()
                raise GuarantorError(STORE_FAILED, what="the token made a key that could leave it")

        self._with_session(name, work)

    def wrap(self, name: str, data_key: bytes) -> bytes:
        """As `KeyStore`."""

        def work(session: Session) -> bytes:
            key = _needed(session, name)
            kind = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES}
            passing = session.create_object({**kind, **_PASSING, Attribute.VALUE: data_key})
            try:
                return bytes(key.wrap_key(passing, mechanism=Mechanism.AES_KEY_WRAP))
            finally:
                passing.destroy()

        return self._with_session(name, work)

    def unwrap(self, name: str, wrapped: bytes) -> bytes:
        """As `KeyStore`."""

        def work(session: Session) -> bytes:
            key = _needed(session, name)
            try:
                passing = key.unwrap_key(
                    ObjectClass.SECRET_KEY,
                    KeyType.AES,
                    wrapped,
                    mechanism=Mechanism.AES_KEY_WRAP,
                    template=_PASSING,
                )
            except _NOT_OURS as error:
                raise GuarantorError(NOT_OPENED, key=name) from error
            try:
                return bytes(passing[Attribute.VALUE])
            finally:
                passing.destroy()

        return self._with_session(name, work)

    def destroy(self, name: str) -> None:
        """As `KeyStore`; the token is asked afterwards whether the key is gone."""

        def work(session: Session) -> None:
            key = _find(session, name)
            if key is not None:
                key.destroy()
            if _find(session, name) is not None:
                raise GuarantorError(STORE_FAILED, what="the token still has the key")

        self._with_session(name, work)

    def close(self) -> None:
        """Log out of the token."""
        with self._lock:
            self._drop()

    def _with_session(self, name: str, work: Callable[[Session], AnswerT]) -> AnswerT:
        with self._lock:
            try:
                return work(self._session or self._open())
            except PKCS11Error as error:
                self._drop()
                raise GuarantorError(STORE_FAILED, what=type(error).__name__, key=name) from error

    def _open(self) -> Session:
        self._session = self._token.open(rw=True, user_pin=self._pin)
        return self._session

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except PKCS11Error:
                return


def _find(session: Session, name: str) -> _Key | None:
    asked = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.ID: name.encode("ascii"),
        Attribute.TOKEN: True,
    }
    found = list(session.get_objects(asked))
    if len(found) > 1:
        raise GuarantorError(STORE_FAILED, what="the token has two keys of one name")
    return cast("_Key", found[0]) if found else None


def _needed(session: Session, name: str) -> _Key:
    key = _find(session, name)
    if key is None:
        raise GuarantorError(NOT_OPENED, key=name)
    return key


def _cannot_leave(key: _Key) -> bool:
    """Whether the token itself says so, and refuses to show the value."""
    if not (key[Attribute.SENSITIVE] and key[Attribute.NEVER_EXTRACTABLE] and key[Attribute.LOCAL]):
        return False
    try:
        key[Attribute.VALUE]
    except AttributeSensitive:
        return True
    return False
