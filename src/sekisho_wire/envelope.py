"""Envelope encryption of one object: a random data key of its own, AES-256-GCM in segments, a header naming the key.

    envelope     = magic, header length (4 bytes, big-endian), header, commitment (32 bytes), segments
    header       = canonical JSON {v, kind, key, key_version, wrap, wrapped, nonce, segment_bytes}
    envelope key = HKDF-SHA256(data key, no salt, info = "sekisho envelope key" LF, SHA-256(magic .. header)), 32 bytes
    key, commitment = HKDF-SHA256(envelope key, no salt, info = magic, the same SHA-256), 32 bytes each (RFC 5869)
    segment i    = AES-256-GCM(key, nonce, i (4 bytes), 1 if it is the last else 0; associated data = that SHA-256)

Whoever is let open an object is handed its ENVELOPE KEY, never the data key: a header made up over somebody's wrapped
data key gets a key that opens nothing but what was sealed under that very header.

The segments are STREAM of Hoang, Reyhanitabar, Rogaway and Vizar, "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance" (CRYPTO 2015): counter and last flag in the nonce make whatever is cut off, added, swapped or taken
from another object fail. Every segment but the last has `segment_bytes` of plaintext; the last has 1 to that many, or
none in an empty object. The header is bound three times over (key, commitment, associated data), so an envelope opens
under the one header it was made with: who rotates a key and wants the old version gone encrypts again.

AES-GCM alone lets one ciphertext be made that opens under two keys; the commitment, checked first, does not.
Nothing reaches the target that is not authenticated, yet a stream's earlier segments do before its last one is seen:
`decrypt_file` shows a file only when the whole of it has held.
"""

from __future__ import annotations

import hmac
import re
import secrets
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, NewType, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError

MAGIC: Final = b"sekienv2"
VERSION: Final = 2
DATA_KEY_BYTES: Final = 32
"""Of a data key, and of an envelope key."""
SEGMENT_BYTES: Final = 1 << 20
SEGMENT_BYTES_MIN: Final = 1 << 10
SEGMENT_BYTES_MAX: Final = 4 << 20
HEADER_BYTES_MAX: Final = 4096
PLAINTEXT_BYTES_MAX: Final = 1 << 40
"""1 TiB: 2**36 blocks under one key, far below where GCM's bound begins to matter, and segments enough at any size."""

AES_KW: Final = "A256KW"
"""The data key wrapped by RFC 3394 (PKCS#11: CKM_AES_KEY_WRAP): 40 bytes."""
AES_KWP: Final = "A256KWP"
"""The same by RFC 5649 (PKCS#11: CKM_AES_KEY_WRAP_KWP): 40 bytes, another initial value."""
WRAPS: Final = frozenset({AES_KW, AES_KWP})
WRAPPED_BYTES: Final = 40
TREE: Final = "tree"
"""The kind of a packed folder (`packing`), and of the envelopes that a custodian makes keys for."""

_TAG_BYTES: Final = 16
_NONCE_BYTES: Final = 7
_COMMITMENT_BYTES: Final = 32
_LENGTH: Final = struct.Struct(">I")
_KEY_INFO: Final = b"sekisho envelope key\n"
_COUNTER_AND_LAST: Final = struct.Struct(">IB")
_FIELDS: Final = frozenset({"v", "kind", "key", "key_version", "wrap", "wrapped", "nonce", "segment_bytes"})

is_kind = re.compile(r"[a-z][a-z_]{0,31}").fullmatch
"""What an object is said to be: `file`, `tree` and so on; whoever decrypts says which one it expects."""
is_key = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch
"""A key's id, unique at its custodian."""


EnvelopeKey = NewType("EnvelopeKey", bytes)
"""What opens one envelope and no other: see `envelope_key`."""


class EnvelopeError(Exception):
    """Bytes that are not the envelope expected.

    `code` is stable: `envelope.shape` (no header that can be read), `envelope.unexpected` (another kind, key or wrap
    than asked for), `envelope.key` (the key is not this header's), `envelope.forged` (a segment changed, cut off,
    added, moved or foreign) or `envelope.too_large`.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Readable(Protocol):
    """A binary file to read from; it need not seek."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """How many bytes were put into the buffer; 0 at the end."""
        ...


class Writable(Protocol):
    """A binary file to write to."""

    def write(self, data: memoryview | bytes, /) -> int | None:
        """Take all of it."""
        ...


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A data key as its custodian wrapped it: under which version of which key, by which algorithm, 40 bytes."""

    key: str
    key_version: int
    algorithm: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What an envelope says in the clear. `kind` is what the object is; make one with `new_header`.

    EnvelopeError `envelope.shape` where a field is off its range.
    """

    kind: str
    wrapped: Wrapped
    nonce: bytes
    segment_bytes: int = SEGMENT_BYTES
    data: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        wrapped = self.wrapped
        if (
            not (is_kind(self.kind) and is_key(wrapped.key) and wrapped.algorithm in WRAPS)
            or not 1 <= wrapped.key_version < canonical.INTEGER_LIMIT
            or len(wrapped.data) != WRAPPED_BYTES
            or len(self.nonce) != _NONCE_BYTES
            or not SEGMENT_BYTES_MIN <= self.segment_bytes <= SEGMENT_BYTES_MAX
        ):
            raise EnvelopeError("envelope.shape", "a header with a field off its range")
        body = {
            "v": VERSION,
            "kind": self.kind,
            "key": wrapped.key,
            "key_version": wrapped.key_version,
            "wrap": wrapped.algorithm,
            "wrapped": canonical.to_base64url(wrapped.data),
            "nonce": canonical.to_base64url(self.nonce),
            "segment_bytes": self.segment_bytes,
        }
        written = canonical.encode(body)
        object.__setattr__(self, "data", MAGIC + _LENGTH.pack(len(written)) + written)

    def digest(self) -> str:
        """Digest text of the header's bytes, magic and length included: what a release order names."""
        return canonical.digest(self.data)

    def ciphertext_bytes(self, plaintext_bytes: int) -> int:
        """Size of the whole envelope, header included; `envelope.too_large` over PLAINTEXT_BYTES_MAX."""
        if not 0 <= plaintext_bytes <= PLAINTEXT_BYTES_MAX:
            raise EnvelopeError("envelope.too_large", f"over {PLAINTEXT_BYTES_MAX} bytes of plaintext")
        segments = max(1, -(-plaintext_bytes // self.segment_bytes))
        return len(self.data) + _COMMITMENT_BYTES + plaintext_bytes + segments * _TAG_BYTES

    def plaintext_bytes(self, ciphertext_bytes: int) -> int:
        """Inverse of `ciphertext_bytes`; `envelope.forged` for a size that no envelope of this header has."""
        body = ciphertext_bytes - len(self.data) - _COMMITMENT_BYTES
        segments = max(1, -(-body // (self.segment_bytes + _TAG_BYTES)))
        size = body - segments * _TAG_BYTES
        if size < 0 or self.ciphertext_bytes(size) != ciphertext_bytes:
            raise EnvelopeError("envelope.forged", "a size that no envelope of this header has")
        return size


def new_data_key() -> bytes:
    """256 random bits: one for each object, never used again."""
    return secrets.token_bytes(DATA_KEY_BYTES)


def envelope_key(header: Header, data_key: bytes) -> EnvelopeKey:
    """What seals and opens the envelope with this very header; `envelope.key` for a data key of another length."""
    if len(data_key) != DATA_KEY_BYTES:
        raise EnvelopeError("envelope.key", f"a data key has {DATA_KEY_BYTES} bytes")
    info = _KEY_INFO + sha256(header.data).digest()
    return EnvelopeKey(HKDF(SHA256(), DATA_KEY_BYTES, salt=None, info=info).derive(data_key))


def new_header(kind: str, wrapped: Wrapped, *, segment_bytes: int = SEGMENT_BYTES) -> Header:
    """The header of a new envelope, with a fresh nonce."""
    return Header(kind, wrapped, secrets.token_bytes(_NONCE_BYTES), segment_bytes)


def read_header(source: Readable, *, kind: str = "") -> Header:
    """Read the header and leave `source` right after it. Nothing of it is authenticated before decryption.

    `envelope.unexpected` where `kind` is given and the header names another one.
    """
    front = _read_exactly(source, len(MAGIC) + _LENGTH.size)
    (length,) = _LENGTH.unpack_from(front, len(MAGIC))
    if not front.startswith(MAGIC) or length > HEADER_BYTES_MAX:
        raise EnvelopeError("envelope.shape", "not an envelope")
    header = decode_header(front + _read_exactly(source, length))
    if kind and header.kind != kind:
        raise EnvelopeError("envelope.unexpected", "an object of another kind")
    return header


def decode_header(data: bytes) -> Header:
    """The header whose `data` these are, whole; `envelope.shape` for any other bytes."""
    try:
        body = canonical.decode_object(data[len(MAGIC) + _LENGTH.size :])
        if body.keys() != _FIELDS or body["v"] != VERSION:
            raise EnvelopeError("envelope.shape", "a header of another version")
        version, segment_bytes = body["key_version"], body["segment_bytes"]
        if type(version) is not int or type(segment_bytes) is not int:
            raise EnvelopeError("envelope.shape", "a header with a field of the wrong type")
        wrapped = Wrapped(_text(body, "key"), version, _text(body, "wrap"), _bytes(body, "wrapped"))
        header = Header(_text(body, "kind"), wrapped, _bytes(body, "nonce"), segment_bytes)
    except CanonicalError as error:
        raise EnvelopeError("envelope.shape", error.detail) from error
    if header.data != data:
        raise EnvelopeError("envelope.shape", "not the one spelling of this header")
    return header


def encrypt_stream(source: Readable, target: Writable, header: Header, key: EnvelopeKey) -> int:
    """Write the envelope of all that `source` holds; answers the bytes of plaintext. Needs three segments of memory."""
    cipher, commitment, context = _opened(header, key)
    target.write(header.data)
    target.write(commitment)
    sealed = memoryview(bytearray(header.segment_bytes + _TAG_BYTES))

    def seal(nonce: bytes, segment: memoryview) -> None:
        out = sealed[: len(segment) + _TAG_BYTES]
        cipher.encrypt_into(nonce, segment, context, out)
        target.write(out)

    return _each_segment(source, header, header.segment_bytes, seal)


def decrypt_stream(source: Readable, target: Writable, header: Header, key: EnvelopeKey) -> int:
    """Write what the envelope holds; answers the bytes of plaintext. `source` stands right after `read_header`.

    On an error, what was written is genuine as far as it goes and still to be thrown away.
    """
    cipher, commitment, context = _opened(header, key)
    if not hmac.compare_digest(_read_exactly(source, _COMMITMENT_BYTES), commitment):
        raise EnvelopeError("envelope.key", "the key is not the one of this header")
    plain = memoryview(bytearray(header.segment_bytes))

    def open_(nonce: bytes, segment: memoryview) -> None:
        if len(segment) < _TAG_BYTES:
            raise EnvelopeError("envelope.forged", "a segment that ends early")
        out = plain[: len(segment) - _TAG_BYTES]
        try:
            cipher.decrypt_into(nonce, segment, context, out)
        except InvalidTag as error:
            raise EnvelopeError("envelope.forged", "a segment that does not belong here") from error
        target.write(out)

    ciphertext = _each_segment(source, header, header.segment_bytes + _TAG_BYTES, open_)
    return header.plaintext_bytes(len(header.data) + _COMMITMENT_BYTES + ciphertext)


def decrypt_file(source: Path, target: Path, key: Callable[[Header], EnvelopeKey], *, kind: str = "") -> int:
    """Decrypt a file into `target`, which appears (mode 0600) only when all of it has held; answers its size.

    `key` is asked with the header, so that who finds it sees what it is for.
    """
    with source.open("rb", buffering=0) as file:
        header = read_header(file, kind=kind)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=".opening-", buffering=0, delete=False
        ) as draft:
            path = Path(draft.name)
            try:
                size_bytes = decrypt_stream(file, _Whole(draft), header, key(header))
                path.replace(target)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
    return size_bytes


class _Whole:
    """An unbuffered file that takes every write whole, as a raw one need not."""

    def __init__(self, file: Writable) -> None:
        self._file = file

    def write(self, data: memoryview | bytes, /) -> int:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        return len(data)


def _opened(header: Header, key: EnvelopeKey) -> tuple[AESGCM, bytes, bytes]:
    """Cipher, commitment and the associated data of every segment."""
    if len(key) != DATA_KEY_BYTES:
        raise EnvelopeError("envelope.key", f"an envelope key has {DATA_KEY_BYTES} bytes")
    context = sha256(header.data).digest()
    derived = HKDF(SHA256(), DATA_KEY_BYTES + _COMMITMENT_BYTES, salt=None, info=MAGIC + context).derive(key)
    return AESGCM(derived[:DATA_KEY_BYTES]), derived[DATA_KEY_BYTES:], context


def _each_segment(
    source: Readable, header: Header, size: int, work: Callable[[bytes, memoryview], None]
) -> int:
    """Call `work` with nonce and bytes of each segment, one read ahead to know the last; answers the bytes read."""
    segment, ahead = memoryview(bytearray(size)), memoryview(bytearray(size))
    total, counter = 0, 0
    filled = _read_into(source, segment)
    while True:
        following = _read_into(source, ahead) if filled == size else 0
        total += filled
        if total > PLAINTEXT_BYTES_MAX + (counter + 1) * _TAG_BYTES:
            raise EnvelopeError("envelope.too_large", f"over {PLAINTEXT_BYTES_MAX} bytes of plaintext")
        work(header.nonce + _COUNTER_AND_LAST.pack(counter, not following), segment[:filled])
        if not following:
            return total
        segment, ahead, filled, counter = ahead, segment, following, counter + 1


def _read_into(source: Readable, buffer: memoryview) -> int:
    """Fill the buffer as far as the source goes."""
    filled = 0
    while filled < len(buffer):
        count = source.readinto(buffer[filled:])
        if not count:
            break
        filled += count
    return filled


def _read_exactly(source: Readable, size: int) -> bytes:
    buffer = bytearray(size)
    if _read_into(source, memoryview(buffer)) != size:
        raise EnvelopeError("envelope.shape", "an envelope that ends early")
    return bytes(buffer)


def _text(body: dict[str, object], name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise EnvelopeError("envelope.shape", "a header with a field of the wrong type")
    return value


def _bytes(body: dict[str, object], name: str) -> bytes:
    return canonical.from_base64url(_text(body, name))
