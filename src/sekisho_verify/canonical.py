"""The one byte form of everything that is hashed or signed.

Canonical form: UTF-8, ASCII keys sorted, no spaces; only text, integers with |n| < 2**53, booleans, arrays
and objects. On this subset it equals RFC 8785. Decoding re-encodes and compares, so that two different byte
strings never decode to the same value: duplicate keys, spaces, `-0`, needless escapes and other spellings all
fail there.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NoReturn

from sekisho_verify.errors import CanonicalError

INTEGER_LIMIT = 2**53
DEPTH_MAX = 32
DIGEST_PREFIX = "sha256:"

# Cycles cannot get as far as this encoder (the depth check ends them), nor can NaN (floats are refused).
_encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":"))
_type_words = {float: "floating point numbers", type(None): "null", bytes: "bytes"}


def check(value: object) -> None:
    """Refuse, with CanonicalError, a value that has no canonical form; exact types only, no subclasses.

    Lone surrogates are left to `encode`, which meets them while writing UTF-8.
    """
    _check_items((value,), depth=0)


def encode(value: object) -> bytes:
    """Canonical bytes of a value; CanonicalError where it has none."""
    check(value)
    try:
        return _encoder.encode(value).encode()
    except UnicodeEncodeError as error:
        raise CanonicalError("canonical.surrogate", "text holds half of a surrogate pair") from error


def decode(data: bytes) -> object:
    """The value whose canonical bytes these are; CanonicalError for any other bytes."""
    value = _load(data)
    if encode(value) != data:
        _refuse_spelling(data)
    return value


def decode_object(data: bytes) -> dict[str, object]:
    """As `decode`, for the common case of a top-level object."""
    value = decode(data)
    if not isinstance(value, dict):
        raise CanonicalError("canonical.not_object", "an object is needed here")
    return value


def decode_relaxed(data: bytes) -> object:
    """A value written by a person: spaces and any order of keys allowed, everything else as `decode`."""
    value = _load(data, unique_keys=True)
    encode(value)
    return value


def digest(data: bytes) -> str:
    """Digest text of bytes: `sha256:` and 64 lower-case hexadecimal digits."""
    return DIGEST_PREFIX + sha256(data).hexdigest()


def to_base64url(data: bytes) -> str:
    """Base64url without padding, the spelling of bytes inside JSON."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_to_url).decode("ascii")


def from_base64url(text: str) -> bytes:
    """Bytes of an unpadded base64url text; CanonicalError unless encoding them again gives the same text."""
    try:
        data = binascii.a2b_base64(text.encode("ascii").translate(_from_url) + b"=" * (-len(text) % 4))
    except ValueError as error:
        raise CanonicalError("canonical.base64", "not base64url without padding") from error
    if to_base64url(data) != text:
        raise CanonicalError("canonical.base64", "base64url that does not re-encode to itself")
    return data


def to_base64(data: bytes) -> str:
    """Standard base64 with padding, the spelling of bytes in signed notes."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def from_base64(text: str) -> bytes:
    """Bytes of a padded standard base64 text; CanonicalError unless it re-encodes to the same text."""
    try:
        data = binascii.a2b_base64(text.encode("ascii"))
    except ValueError as error:
        raise CanonicalError("canonical.base64", "not base64 with padding") from error
    if to_base64(data) != text:
        raise CanonicalError("canonical.base64", "base64 that does not re-encode to itself")
    return data


_to_url = bytes.maketrans(b"+/", b"-_")
_from_url = bytes.maketrans(b"-_+/", b"+/!!")


def _load(data: bytes, *, unique_keys: bool = False) -> object:
    """Parsed JSON, not yet checked. ValueError also covers bad UTF-8 and integers of thousands of digits."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique if unique_keys else None)
    except RecursionError as error:
        raise CanonicalError("canonical.depth", f"more than {DEPTH_MAX} levels deep") from error
    except ValueError as error:
        raise CanonicalError("canonical.json", "not JSON in UTF-8") from error


def _check_items(items: Iterable[Any], *, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise CanonicalError("canonical.depth", f"more than {DEPTH_MAX} levels deep")
    for item in items:
        kind = type(item)
        if kind is str or kind is bool:
            continue
        if kind is int:
            if not -INTEGER_LIMIT < item < INTEGER_LIMIT:
                raise CanonicalError("canonical.integer", "an integer of 2**53 or more")
        elif kind is list:
            _check_items(item, depth=depth + 1)
        elif kind is dict:
            _check_keys(item)
            _check_items(item.values(), depth=depth + 1)
        else:
            _refuse_type(kind)


def _check_keys(value: dict[str, object]) -> None:
    try:
        ascii_only = "".join(value).isascii()
    except TypeError as error:
        raise CanonicalError("canonical.key", "a key that is not text") from error
    if not ascii_only:
        raise CanonicalError("canonical.key", "a key outside ASCII")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise CanonicalError("canonical.duplicate_key", "the same key twice in one object")
    return value


def _refuse_type(kind: type) -> NoReturn:
    word = _type_words.get(kind, f"values of type {kind.__name__}")
    raise CanonicalError("canonical.type", f"{word} are not allowed")


def _refuse_spelling(data: bytes) -> NoReturn:
    """Name the commonest cause; both codes mean that other bytes are the canonical ones."""
    _load(data, unique_keys=True)
    raise CanonicalError("canonical.spelling", "not in canonical form (order, spaces or escapes)")
