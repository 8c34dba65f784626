"""Sealing and opening of envelopes: base64(Ed25519 signature), a line feed, canonical JSON.

The signature covers exactly the canonical bytes. Opening accepts one spelling only, so that the bytes received are the
evidence, and checks the signature before the message's fields are looked at.
"""

from __future__ import annotations

import binascii
import time

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError
from sekisho_wire.messages import SEALED_BYTES_MAX, Body, Envelope

SIGNATURE_BYTES = 64
CLOCK_SKEW_SECONDS_MAX = 300


class SealError(Exception):
    """Bytes that are not a message sealed by the expected key.

    `code` is stable: `seal.malformed`, `seal.signature`, `seal.shape` or `seal.unexpected`.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def encode_public_key(key: Ed25519PublicKey) -> str:
    """The raw 32 bytes as base64url without padding, as every document of ours names a key."""
    return canonical.to_base64url(key.public_bytes_raw())


def decode_public_key(text: str) -> Ed25519PublicKey:
    """Inverse of `encode_public_key`; SealError for anything that is not 32 bytes in that spelling."""
    try:
        raw = canonical.from_base64url(text)
        return Ed25519PublicKey.from_public_bytes(raw)
    except (CanonicalError, ValueError) as error:
        raise SealError("seal.malformed", "not an Ed25519 public key") from error


def seal(key: Ed25519PrivateKey, envelope: Envelope) -> bytes:
    """The sealed bytes of an envelope. CanonicalError where a value has no canonical form."""
    payload = canonical.encode(_lists(msgspec.to_builtins(envelope, str_keys=True)))
    return canonical.to_base64(key.sign(payload)).encode() + b"\n" + payload


def open_sealed(key: Ed25519PublicKey, sealed: bytes) -> Envelope:
    """The envelope that `key` signed; SealError for everything else."""
    signature, payload = _split(sealed)
    try:
        key.verify(signature, payload)
    except InvalidSignature as error:
        raise SealError("seal.signature", "the signature does not hold") from error
    return _envelope(payload)


def claimed_agent(sealed: bytes) -> str:
    """The agent id written in a sealed message, unverified: good only for looking up the key to open it with."""
    _, payload = _split(sealed)
    try:
        value = canonical.decode_object(payload)
    except CanonicalError as error:
        raise SealError("seal.malformed", error.detail) from error
    agent = value.get("agent")
    if not isinstance(agent, str):
        raise SealError("seal.shape", "the message names no agent")
    return agent


def answer(key: Ed25519PrivateKey, question: Envelope, *, time_text: str, body: Body) -> bytes:
    """The control plane's sealed answer: names agent, lane, seq, attempt and token of the question."""
    reply = Envelope(
        agent=question.agent,
        lane=question.lane,
        seq=question.seq,
        time=time_text,
        attempt=question.attempt,
        token=question.token,
        body=body,
    )
    return seal(key, reply)


def answers(question: Envelope, reply: Envelope) -> bool:
    """Whether a reply names the message it is said to answer."""
    return (reply.agent, reply.lane, reply.seq, reply.attempt, reply.token) == (
        question.agent,
        question.lane,
        question.seq,
        question.attempt,
        question.token,
    )


def format_time(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 UTC with milliseconds, the only spelling an envelope takes."""
    milliseconds = int(seconds * 1000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{whole}.{milliseconds % 1000:03d}Z"


def _lists(value: object) -> object:
    """Builtins with lists for tuples: the canonical form knows one kind of sequence."""
    match value:
        case dict():
            return {key: _lists(item) for key, item in value.items()}
        case list() | tuple():
            return [_lists(item) for item in value]
        case _:
            return value


def _split(sealed: bytes) -> tuple[bytes, bytes]:
    if len(sealed) > SEALED_BYTES_MAX:
        raise SealError("seal.malformed", f"more than {SEALED_BYTES_MAX} bytes")
    head, separator, payload = sealed.partition(b"\n")
    try:
        signature = canonical.from_base64(head.decode("ascii"))
    except (CanonicalError, UnicodeDecodeError, binascii.Error) as error:
        raise SealError("seal.malformed", "the signature line is not base64") from error
    if not separator or len(signature) != SIGNATURE_BYTES:
        raise SealError("seal.malformed", "no signature line of the right length")
    return signature, payload


def _envelope(payload: bytes) -> Envelope:
    try:
        value = canonical.decode_object(payload)
    except CanonicalError as error:
        raise SealError("seal.malformed", error.detail) from error
    try:
        return msgspec.convert(value, Envelope, strict=True)
    except msgspec.ValidationError as error:
        raise SealError("seal.shape", str(error)) from error
