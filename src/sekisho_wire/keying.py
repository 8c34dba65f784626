"""Bodies about data keys between agent and control plane; they travel in the envelopes of `messages`.

They never carry a data key. What is granted is a release order, which the agent hands to the key's custodian.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

SEALED_LEVEL: Final = 2
"""From this level on nothing of a job rests anywhere as it is (rule C04 of the shipped charter)."""
REASON_KEY_STOPPED = "key.stopped"
REASON_KEY_DESTROYED = "key.destroyed"
REASON_KEY_PROOF_STALE = "key.proof_stale"
REASON_KEY_REFUSED = "key.refused"
REASON_KEY_UNCONFIRMED = "key.unconfirmed"
REASON_KEY_CUSTODIAN = "key.custodian"
REASON_KEY_UNSEALED = "key.unsealed"
REASON_PLACE_UNPROVEN = "place.unproven"
KEY_REASONS = frozenset(
    {
        REASON_KEY_STOPPED,
        REASON_KEY_DESTROYED,
        REASON_KEY_PROOF_STALE,
        REASON_KEY_REFUSED,
        REASON_KEY_UNCONFIRMED,
        REASON_KEY_CUSTODIAN,
        REASON_KEY_UNSEALED,
        REASON_PLACE_UNPROVEN,
    }
)
"""Why an attempt has no data key, or ends because it lost the right to one."""

Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
EnvelopeDigest = Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?\Z")]
"""Digest of an envelope's header; empty for what is stored as it is."""
KeyText = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
ShortText = Annotated[str, Meta(max_length=256)]
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Text = Annotated[str, Meta(max_length=262_144)]
KEYS_MAX = 64
"""Data keys in one question; as many objects as an offer can name."""


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"):
    """As the bodies in `messages`."""


class WantKey(_Body, frozen=True, tag="key"):
    """Asks for data keys: those of envelopes whose headers have these digests, and `make` new ones to seal with.

    All headers are of one key and version; new ones are of the job's own key. `recipient` is a one-time X25519 public
    key; the same one again asks for the same answer. Answer: `KeyPending` until the decision is under a checkpoint,
    then `KeyGranted`; or `KeyRefused`.
    """

    recipient: KeyText
    headers: Annotated[list[Digest], Meta(max_length=KEYS_MAX)] = []
    make: Annotated[int, Meta(ge=0, le=KEYS_MAX)] = 0


class KeyPending(_Body, frozen=True, tag="key_pending"):
    """Decided, and not under a checkpoint yet: ask again with the same one-time key."""

    order: ShortText


class KeyGranted(_Body, frozen=True, tag="key_granted"):
    """A release order, for the custodian at `url`, whose answers are signed by `custodian_key`.

    The other fields are those of `sekisho_wire.custody.Ask`; the headers themselves are the agent's to add.
    """

    order: Text
    record: Text
    index: Count
    stream_seq: Count
    path: Annotated[list[KeyText], Meta(max_length=64)]
    checkpoint: Annotated[str, Meta(max_length=65_536)]
    request: Annotated[str, Meta(max_length=65_536)]
    url: Annotated[str, Meta(max_length=512)]
    custodian_key: KeyText


class KeyRefused(_Body, frozen=True, tag="key_refused"):
    """No data key; `rules` are those of the charter that said no."""

    reason: ShortText
    rules: Annotated[list[ShortText], Meta(max_length=64)] = []


KeyAnswer = KeyGranted | KeyPending | KeyRefused
