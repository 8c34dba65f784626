"""What crosses between a control plane, an agent and a custodian of keys, and what each can check of it by itself.

An ORDER is signed by the control plane and names one release: which version of which key, for which attempt under
which fencing token, to whose one-time X25519 key. It leaves for the custodian as an `Ask`, beside the record of the
gate that decided it, that record's place in the log, a signed checkpoint, and the headers of the objects to be opened.
A RELEASE is the custodian's signed answer; the keys in it are sealed to the one-time key by HPKE (RFC 9180, base mode:
DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM) with `info` = CONTEXT and the order's digest, so that they open
for that order and no other. They are envelope keys (`envelope.envelope_key`), each good for one header: those that the
order names, and those that the custodian makes for what is yet to be sealed. No data key leaves a custodian.

Sealed means: base64 of the Ed25519 signature, a newline, canonical JSON (`sekisho_verify.sealed`). Times are
milliseconds since the epoch. Over HTTP, POST with canonical JSON under the custodian's URL: RELEASE_PATH and FACTS_PATH
from anybody (the order is the authority, facts are public), the others with `Authorization: Bearer <token>`.
A refusal is JSON problem details with a stable `code`.

An owner needs no order to open what lies under its own key: it sends one envelope's header and a one-time X25519 key
to OPEN_PATH, with its token, and gets an OPENING: signed, the envelope key sealed as in a release, with `info` =
OPEN_CONTEXT and the header's digest. The control plane has no part in it; the custodian's journal has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from msgspec import Meta

from sekisho_verify import canonical
from sekisho_verify.canonical import from_base64url, to_base64url
from sekisho_verify.checkpoint import Sign
from sekisho_verify.errors import CanonicalError, SignatureError, VerifyError
from sekisho_verify.sealed import open_sealed, seal
from sekisho_wire.envelope import (
    DATA_KEY_BYTES,
    TREE,
    EnvelopeError,
    EnvelopeKey,
    Header,
    Wrapped,
    decode_header,
)
from sekisho_wire.messages import Count, Digest, MediumText, Positive, ShortText

RELEASE_ACTION: Final = "data.key.release"
"""The action of the record that an order rests on; its `detail.order` is the order's digest."""
RELEASE_PATH: Final = "/custody/v1/release"
FACTS_PATH: Final = "/custody/v1/facts"
WRAP_PATH: Final = "/custody/v1/wrap"
OPEN_PATH: Final = "/custody/v1/open"
MANAGE_PATH: Final = "/custody/v1/manage"
ASK_BYTES_MAX: Final = 1 << 20
ANSWER_BYTES_MAX: Final = 256 << 10
KEYS_MAX: Final = 256
"""Keys in one release, opened and made together."""
ORDER_MS_MAX: Final = 10 * 60 * 1000
"""The longest time between an order's `issued_ms` and `not_after_ms`."""
CONTEXT: Final = b"sekisho key release v1\n"
OPEN_CONTEXT: Final = b"sekisho key open v1\n"

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

KeyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
Visible = Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z")]
Bytes32 = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
OrganisationId = Annotated[str, Meta(pattern=r"^org_[0-7][0-9a-hjkmnp-tv-z]{25}\Z")]
"""An organisation, as the control plane knows it."""
Custody = Literal["customer-hsm", "development"]
"""How a key is held, in the charter's words: in hardware of its owner's choice, or in a file for trying things out."""


class CustodyError(Exception):
    """A message of this protocol that cannot be accepted; `code` is stable and starts with `custody.`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class _Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """What is sealed; `kind` says which, so that no signature of one can stand for another."""

    def payload(self) -> bytes:
        """The canonical bytes that are signed."""
        return canonical.encode(msgspec.to_builtins(self))

    def digest(self) -> str:
        """Digest text of the payload; the same before and after signing."""
        return canonical.digest(self.payload())

    def sealed(self, sign: Sign) -> bytes:
        """Signature line and payload."""
        return seal(msgspec.to_builtins(self), sign)


class Order(_Signed, frozen=True, tag="sekisho.key.order"):
    """One release, decided. `custodian` is its name; `recipient` the agent's one-time X25519 key.

    `owner` is the organisation whose grants decided, which must be the one that the custodian keeps the key for.
    `headers` are digests of envelope headers (`Header.digest`) whose keys are wanted, all of this key and version;
    `make` counts new envelopes, for objects that the attempt will write. `rules` are the ids that decided, `proof` the
    digest of the location proof it rested on, empty where the charter asked for none.
    """

    id: Visible
    custodian: Visible
    owner: OrganisationId
    key: KeyId
    key_version: Positive
    headers: Annotated[list[Digest], Meta(max_length=KEYS_MAX)]
    make: Annotated[int, Meta(ge=0, le=KEYS_MAX)]
    job: Visible
    attempt: Visible
    token: Count
    site: Visible
    agent: Visible
    recipient: Bytes32
    rules: Annotated[list[Visible], Meta(max_length=256)]
    proof: Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?\Z")]
    issued_ms: Count
    not_after_ms: Count
    v: Literal[1] = 1


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for a release, as JSON.

    `order` is sealed; `record` the record's canonical bytes as text; `index`, `stream_seq` and `path` (base64url
    hashes, bottom up) its place in the log of `checkpoint`, a signed note; `headers` the envelope headers in base64url,
    in the order's sequence. `request` is the agent's own sealed message that asked, empty where there is none.
    """

    order: Annotated[str, Meta(max_length=ASK_BYTES_MAX)]
    record: Annotated[str, Meta(max_length=ASK_BYTES_MAX)]
    index: Count
    stream_seq: Count
    path: Annotated[list[Bytes32], Meta(max_length=64)]
    checkpoint: Annotated[str, Meta(max_length=65_536)]
    headers: Annotated[list[MediumText], Meta(max_length=KEYS_MAX)] = []
    request: Annotated[str, Meta(max_length=65_536)] = ""


class Release(_Signed, frozen=True, tag="sekisho.key.release"):
    """The custodian's answer to one order. `box` is HPKE's encapsulated key and ciphertext in base64url.

    Inside are envelope keys, 32 bytes for each header in the order's sequence, then for each that was made; `made` are
    the latter's headers in base64url, of kind `envelope.TREE`. `number` counts the entries of its journal.
    """

    custodian: Visible
    order: Digest
    id: Visible
    key: KeyId
    key_version: Positive
    attempt: Visible
    token: Count
    agent: Visible
    recipient: Bytes32
    box: Annotated[str, Meta(max_length=16_384)]
    made: Annotated[list[MediumText], Meta(max_length=KEYS_MAX)]
    number: Count
    time_ms: Count
    v: Literal[1] = 1


class Opening(_Signed, frozen=True, tag="sekisho.key.opening"):
    """The custodian's answer to its own owner: the key of the one envelope whose header has the digest `envelope`.

    `box` is as a release's, with 32 bytes inside; `by` the name of the token that asked, `number` the journal's entry.
    """

    custodian: Visible
    key: KeyId
    key_version: Positive
    envelope: Digest
    recipient: Bytes32
    box: Annotated[str, Meta(max_length=1024)]
    by: ShortText
    number: Count
    time_ms: Count
    v: Literal[1] = 1


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a key; `destroyed_ms` is 0 while it is there."""

    version: Positive
    created_ms: Count
    destroyed_ms: Count = 0


class Facts(_Signed, frozen=True, tag="sekisho.key.facts"):
    """What the custodian says of a key. It is the custodian's word: `attestation` holds a device's own, if it has one.

    `owner` is the organisation that it keeps the key for; `country` is ISO 3166-1; `exportable` whether the key's bytes
    can be had from where it is kept; `store` names that place for people; `stopped` that its owner lets nothing be
    released; `quorum` how many witnesses must have cosigned the checkpoint that an order lies under.
    """

    custodian: Visible
    owner: OrganisationId
    key: KeyId
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
    custody: Custody
    exportable: bool
    store: ShortText
    attestation: Annotated[str, Meta(max_length=65_536)]
    quorum: Count
    stopped: bool
    versions: Annotated[list[Version], Meta(max_length=10_000)]
    time_ms: Count
    v: Literal[1] = 1

    @property
    def newest(self) -> int:
        """The version that wraps; 0 where every one was destroyed."""
        return max((each.version for each in self.versions if not each.destroyed_ms), default=0)


class Destruction(_Signed, frozen=True, tag="sekisho.key.destruction"):
    """Evidence that versions of a key were destroyed: what they wrapped can never be opened again.

    `number` is the place in the custodian's journal. It shows what the custodian did with the copy it had, and not
    that nobody ever had another one; for a key that was never exportable there is none.
    """

    custodian: Visible
    key: KeyId
    versions: Annotated[list[Positive], Meta(min_length=1, max_length=10_000)]
    custody: Custody
    exportable: bool
    number: Count
    time_ms: Count
    v: Literal[1] = 1


class Opened(NamedTuple):
    """Envelope keys of the order's headers in their sequence, and the new ones, each with the header to seal under."""

    keys: list[EnvelopeKey]
    made: list[tuple[Header, EnvelopeKey]]


class KeyCustodian(Protocol):
    """Holds keys that never leave it. A method that raises, with a stable code, has done nothing.

    Implementations: `sekisho_guarantor.custodian`, over PKCS#11 or, for development, a file.
    """

    def create(self, key: str) -> Facts:
        """A new key with its version 1."""
        ...

    def wrap(self, key: str, data_key: bytes) -> Wrapped:
        """A data key under the newest version."""
        ...

    def release(self, ask: Ask) -> bytes:
        """The sealed release of an order that was never answered before."""
        ...

    def open(self, header: Header, recipient: str, *, by: str) -> bytes:
        """The sealed `Opening` of one object, for the key's owner, whose token is called `by`."""
        ...

    def rotate(self, key: str) -> Facts:
        """A new version, which wraps from now on; earlier ones still unwrap until destroyed."""
        ...

    def destroy(self, key: str, version: int = 0) -> bytes:
        """Crypto-shredding of one version, or with 0 of all; the sealed `Destruction`."""
        ...

    def stop(self, key: str) -> Facts:
        """Release nothing of this key from the moment this returns."""
        ...

    def resume(self, key: str) -> Facts:
        """Undo `stop`."""
        ...

    def facts(self, key: str) -> Facts:
        """What is known of the key."""
        ...


SignedT = TypeVar("SignedT", Order, Release, Opening, Facts, Destruction)


def read_signed(sealed: bytes, public: bytes, kind: type[SignedT]) -> SignedT:
    """The message inside, once 32 raw key bytes have verified it.

    CustodyError `custody.signature` where it was signed by another key, `custody.shape` for anything else.
    """
    if len(sealed) > ANSWER_BYTES_MAX:
        raise CustodyError("custody.shape", f"more than {ANSWER_BYTES_MAX} bytes")
    try:
        return msgspec.convert(open_sealed(sealed, public), kind, strict=True)
    except SignatureError as error:
        raise CustodyError("custody.signature", "signed by another key") from error
    except (VerifyError, msgspec.ValidationError) as error:
        raise CustodyError("custody.shape", f"not a sealed {kind.__name__.lower()}") from error


def seal_keys(order: Order, keys: Sequence[EnvelopeKey]) -> str:
    """The box for an order's recipient; CustodyError `custody.recipient` where that is no usable X25519 key."""
    return _boxed(b"".join(keys), order.recipient, _context(order))


def seal_opening(header: Header, key: EnvelopeKey, recipient: str) -> str:
    """The box of an `Opening`; CustodyError as `seal_keys`."""
    return _boxed(key, recipient, _open_context(header))


def check_release(sealed: bytes, custodian_key: bytes, order: Order) -> Release:
    """The release, if it is this custodian's answer to this very order; for whoever passes it on or opens it.

    Beside `read_signed`'s codes: `custody.foreign` for an answer to something else.
    """
    release = read_signed(sealed, custodian_key, Release)
    theirs = (release.custodian, release.order, release.id, release.key, release.key_version)
    ours = (order.custodian, order.digest(), order.id, order.key, order.key_version)
    to_them = (release.attempt, release.token, release.agent, release.recipient)
    to_us = (order.attempt, order.token, order.agent, order.recipient)
    if theirs != ours or to_them != to_us or len(release.made) != order.make:
        raise CustodyError("custody.foreign", "an answer to another order")
    return release


def open_release(release: Release, order: Order, recipient: X25519PrivateKey) -> Opened:
    """The keys, opened by the one-time key; forget that key afterwards.

    `custody.box` where they do not open. A key that is not its object's is found by `decrypt_stream`, which
    refuses it (`envelope.key`) before it writes a byte.
    """
    try:
        plain = _SUITE.decrypt(from_base64url(release.box), recipient, info=_context(order))
        made = [decode_header(from_base64url(text)) for text in release.made]
    except (InvalidTag, ValueError, CanonicalError) as error:
        raise CustodyError("custody.box", "the keys do not open with this one-time key") from error
    except EnvelopeError as error:
        raise CustodyError("custody.box", "made for no envelope") from error
    if len(plain) != DATA_KEY_BYTES * (len(order.headers) + order.make) or len(made) != order.make:
        raise CustodyError("custody.box", "not as many keys as were ordered")
    asked_for = (TREE, order.key, order.key_version)
    if any((head.kind, head.wrapped.key, head.wrapped.key_version) != asked_for for head in made):
        raise CustodyError("custody.box", "made for an envelope under another key")
    keys = [EnvelopeKey(plain[at : at + DATA_KEY_BYTES]) for at in range(0, len(plain), DATA_KEY_BYTES)]
    return Opened(keys[: len(order.headers)], list(zip(made, keys[len(order.headers) :], strict=True)))


def open_opening(
    sealed: bytes, custodian_key: bytes, header: Header, recipient: X25519PrivateKey
) -> EnvelopeKey:
    """The key of this very envelope, out of the sealed answer of the custodian with this key.

    Beside `read_signed`'s codes: `custody.foreign` for an answer about another envelope or to another one-time key,
    `custody.box` for one that does not open.
    """
    opening = read_signed(sealed, custodian_key, Opening)
    ours = to_base64url(recipient.public_key().public_bytes_raw())
    said = (opening.key, opening.key_version, opening.envelope, opening.recipient)
    if said != (header.wrapped.key, header.wrapped.key_version, header.digest(), ours):
        raise CustodyError("custody.foreign", "an answer about another envelope")
    try:
        key = _SUITE.decrypt(from_base64url(opening.box), recipient, info=_open_context(header))
    except (InvalidTag, ValueError, CanonicalError) as error:
        raise CustodyError("custody.box", "the key does not open with this one-time key") from error
    if len(key) != DATA_KEY_BYTES:
        raise CustodyError("custody.box", "not one key")
    return EnvelopeKey(key)


def _boxed(plain: bytes, recipient: str, info: bytes) -> str:
    try:
        public = X25519PublicKey.from_public_bytes(from_base64url(recipient))
        return to_base64url(_SUITE.encrypt(plain, public, info=info))
    except (ValueError, CanonicalError) as error:
        raise CustodyError("custody.recipient", "not a usable X25519 key") from error


def _context(order: Order) -> bytes:
    return CONTEXT + order.digest().encode("ascii")


def _open_context(header: Header) -> bytes:
    return OPEN_CONTEXT + header.digest().encode("ascii")
