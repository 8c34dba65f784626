"""Signed notes, checkpoints and witness cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

Stricter than C2SP where evidence needs it: a signature line whose key is not known is refused instead of
ignored, no line may come twice, extension lines are refused, and a log signs under the name of its origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sekisho_verify.canonical import from_base64, to_base64
from sekisho_verify.errors import CanonicalError, NoteError, SignatureError
from sekisho_verify.merkle import HASH_BYTES

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
SIZE_LIMIT = 2**53
TIME_S_LIMIT = 253_402_300_800  # the year 10000, past which no date can be written

_KEY_BYTES = 32
_KEY_ID_BYTES = 4
_SIGNATURE_BYTES = 64
_TIME_BYTES = 8
_SIGNATURES_MAX = 64
_NAME_CHARS_MAX = 255
_MARK = "\u2014 "
_VKEY_PARTS = 3

Sign = Callable[[bytes], bytes]
"""Signs a message with an Ed25519 key its owner holds, in memory or in hardware; returns 64 bytes."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under a name: `kind` is ED25519 for logs, COSIGNATURE_V1 for witnesses."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that, with the name, say which key a signature line is for."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """Text form: `name+key id in hexadecimal+base64(kind and key)`."""
        return f"{self.name}+{self.key_id.hex()}+{to_base64(bytes([self.kind]) + self.public)}"


class Signature(NamedTuple):
    """One signature line: `data` is 64 bytes, after 8 bytes of time for a cosignature."""

    name: str
    key_id: bytes
    data: bytes


class SignedNote(NamedTuple):
    """A note's text, final newline included, and its signature lines, none of them checked yet."""

    text: str
    signatures: tuple[Signature, ...]


class Checkpoint(NamedTuple):
    """Head of a log: origin, number of leaves, root hash."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Note text that log and witnesses sign."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"


class Cosignature(NamedTuple):
    """A witness's word that, at this second since the epoch, the log was consistent with all it had seen."""

    name: str
    time_s: int


def make_key(name: str, public: bytes, *, kind: int = ED25519) -> VerifierKey:
    """A checked verifier key from 32 raw public key bytes."""
    check_name(name)
    if kind not in {ED25519, COSIGNATURE_V1}:
        raise NoteError("note.key_kind", f"key kind {kind} is not supported")
    if len(public) != _KEY_BYTES:
        raise NoteError("note.key", "an Ed25519 public key has 32 bytes")
    return VerifierKey(name, kind, public)


def parse_key(text: str) -> VerifierKey:
    """A verifier key from its text form; NoteError where the key id does not fit name and key."""
    parts = text.split("+", _VKEY_PARTS - 1)
    if len(parts) != _VKEY_PARTS:
        raise NoteError("note.key", "a key is written name+id+base64")
    name, key_id, encoded = parts
    data = _base64(encoded)
    key = make_key(name, data[1:], kind=data[0] if data else 0)
    if key.vkey != text:
        raise NoteError("note.key_id", f"the key id {key_id[:8]!r} does not fit its key")
    return key


def check_name(name: str) -> None:
    """Refuse a key name or origin that could not stand in a signature line."""
    if (
        not name
        or len(name) > _NAME_CHARS_MAX
        or "+" in name
        or not name.isprintable()
        or name.split() != [name]
    ):
        raise NoteError("note.name", "a name is 1 to 255 printable characters without spaces and plus signs")


def parse_note(data: bytes) -> SignedNote:
    """Text and signature lines of a signed note; NoteError unless writing them again gives the same bytes."""
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise NoteError("note.utf8", "not UTF-8") from error
    text, found, lines = whole.rpartition("\n\n")
    if not found or not lines.endswith("\n"):
        raise NoteError("note.shape", "no blank line before the signatures, or no newline at the end")
    signatures = [_parse_line(line) for line in lines[:-1].split("\n")]
    if len(signatures) > _SIGNATURES_MAX:
        raise NoteError("note.signatures", f"more than {_SIGNATURES_MAX} signature lines")
    note = SignedNote(text + "\n", tuple(signatures))
    if format_note(note) != data:
        raise NoteError("note.shape", "not the one spelling of this note")
    return note


def format_note(note: SignedNote) -> bytes:
    """Bytes of a signed note."""
    if not note.text.endswith("\n") or any(char < " " and char != "\n" for char in note.text):
        raise NoteError("note.text", "note text ends with a newline and has no other control character")
    if not note.signatures:
        raise NoteError("note.signatures", "a note without a signature")
    lines = [f"{_MARK}{line.name} {to_base64(line.key_id + line.data)}\n" for line in note.signatures]
    return f"{note.text}\n{''.join(lines)}".encode()


def parse_checkpoint(text: str) -> Checkpoint:
    """Origin, size and root of a note text; extension lines are refused."""
    try:
        origin, size, root, end = text.split("\n")
    except ValueError as error:
        raise NoteError("checkpoint.lines", "a checkpoint has exactly three lines") from error
    check_name(origin)
    if not size.isdecimal() or not size.isascii() or not int(size[:17]) < SIZE_LIMIT:
        raise NoteError("checkpoint.size", "the size is not a whole number below 2**53")
    checkpoint = Checkpoint(origin, int(size), _base64(root))
    if len(checkpoint.root) != HASH_BYTES or end or checkpoint.text() != text:
        raise NoteError("checkpoint.shape", "not the one spelling of a checkpoint")
    return checkpoint


def sign_note(text: str, key: VerifierKey, sign: Sign) -> Signature:
    """A log's signature line over a note text."""
    return Signature(key.name, key.key_id, sign(text.encode()))


def cosign_note(text: str, key: VerifierKey, sign: Sign, *, time_s: int) -> Signature:
    """A witness's timestamped signature line over a checkpoint's text."""
    data = time_s.to_bytes(_TIME_BYTES, "big") + sign(_cosigned_message(text, time_s))
    return Signature(key.name, key.key_id, data)


def verify_note(
    note: SignedNote, *, log_keys: Sequence[VerifierKey], witness_keys: Iterable[VerifierKey] = ()
) -> list[Cosignature]:
    """The witnesses' cosignatures, once every line has been verified and at least one is the log's.

    SignatureError for an unknown key, a second line by the same key, a line that fails, or no line by a log
    key.
    """
    known = {(key.name, key.key_id): key for key in (*log_keys, *witness_keys)}
    cosignatures: list[Cosignature] = []
    for line in note.signatures:
        key = known.pop((line.name, line.key_id), None)
        if key is None:
            raise SignatureError(
                "signature.unknown_key", f"a line by {line.name!r} whose key is not trusted, or twice"
            )
        if key.kind == COSIGNATURE_V1:
            cosignatures.append(Cosignature(key.name, verify_cosignature(note.text, key, line.data)))
        else:
            verify_signature(key.public, line.data, note.text.encode())
    if len(cosignatures) == len(note.signatures):
        raise SignatureError("signature.no_log_key", "no signature by a trusted key of the log")
    return cosignatures


def verify_log_lines(note: SignedNote, log_keys: Iterable[VerifierKey]) -> None:
    """What C2SP asks before a checkpoint is taken over: other keys' lines are ignored, the log's own must hold.

    For a witness, and for a log that reads its own notes back. Evidence goes through `verify_note`. SignatureError
    where a line by a log key fails, or there is none.
    """
    known = {(key.name, key.key_id): key for key in log_keys}
    lines = [line for line in note.signatures if (line.name, line.key_id) in known]
    for line in lines:
        verify_signature(known[line.name, line.key_id].public, line.data, note.text.encode())
    if not lines:
        raise SignatureError("signature.no_log_key", "no signature by a trusted key of the log")


def verify_signature(public: bytes, signature: bytes, message: bytes) -> None:
    """SignatureError unless this is the Ed25519 signature of the message under 32 raw key bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureError("signature.invalid", "an Ed25519 signature does not hold") from error


def verify_cosignature(text: str, key: VerifierKey, data: bytes) -> int:
    """The time, in seconds since the epoch, of a witness's line over a checkpoint's text; SignatureError."""
    time_s = int.from_bytes(data[:_TIME_BYTES], "big")
    if len(data) != _TIME_BYTES + _SIGNATURE_BYTES or time_s >= TIME_S_LIMIT:
        raise SignatureError("signature.cosignature", "a cosignature of the wrong length or time")
    verify_signature(key.public, data[_TIME_BYTES:], _cosigned_message(text, time_s))
    return time_s


def _cosigned_message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _parse_line(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK):
        raise NoteError("note.line", "a signature line starts with an em dash and a space")
    check_name(name)
    data = _base64(encoded)
    if len(data) <= _KEY_ID_BYTES:
        raise NoteError("note.line", "a signature line without a signature")
    return Signature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def _base64(text: str) -> bytes:
    try:
        return from_base64(text)
    except CanonicalError as error:
        raise NoteError("note.base64", error.detail) from error
