"""Short-lived permission for one object: what it opens, until when, under a MAC of the control plane's own key.

`base64url(canonical JSON) "." base64url(HMAC-SHA256)`. It carries no secret and grants nothing once it expired, so a
leaked log line is worth minutes, or what a site that goes away for hours is given. It is checked without a database,
because the gate already decided when it was made.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

import msgspec

from sekisho.data.errors import TICKET
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho_verify import canonical
from sekisho_verify.errors import CanonicalError

VALID_MS = 30 * 60 * 1000


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ticket opens: one object, and for a tree every file its manifest names; `size_bytes` in all.

    `into` names what the bytes belong to: a dataset, a workdir, or the attempt that left them behind. Objects are kept
    by digest, so a name alone must not be enough to read somebody else's: what is read under a name has to have come
    in under it. Empty for what the control plane itself put there.
    """

    want: Literal["get", "put"]
    object: str
    kind: Literal["file", "tree"]
    size_bytes: int
    expires_ms: int
    into: str


def arrival(into: str, digest: str) -> str:
    """Name of the note in the object store that these bytes came in for `into`."""
    return f"arrived/{into}/{digest.removeprefix(canonical.DIGEST_PREFIX)}"


class Tickets:
    """Makes and checks tickets. The key never leaves the control plane."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        """`key` is 32 random bytes."""
        self._key = key
        self._clock = clock

    def issue(
        self,
        want: Literal["get", "put"],
        digest: str,
        kind: Literal["file", "tree"],
        size_bytes: int,
        *,
        into: str,
        valid_ms: int = 0,
    ) -> str:
        """A ticket good for `VALID_MS` from now; for longer where whoever gets it may be out of touch for longer."""
        expires_ms = self._clock.now_ms() + max(valid_ms, VALID_MS)
        grant = Grant(want, digest, kind, size_bytes, expires_ms, into)
        payload = canonical.encode(msgspec.to_builtins(grant))
        return f"{canonical.to_base64url(payload)}.{canonical.to_base64url(self._mac(payload))}"

    def expiry_ms(self) -> int:
        """When a ticket issued now ends."""
        return self._clock.now_ms() + VALID_MS

    def open(self, ticket: str) -> Grant:
        """What the ticket grants; problem `data.ticket` for a forged, malformed or expired one."""
        payload_text, _, mac_text = ticket.partition(".")
        try:
            payload, mac = canonical.from_base64url(payload_text), canonical.from_base64url(mac_text)
            good = hmac.compare_digest(mac, self._mac(payload))
            grant = msgspec.convert(canonical.decode(payload), Grant) if good else None
        except (CanonicalError, msgspec.ValidationError) as error:
            raise SekishoError(TICKET) from error
        if grant is None or grant.expires_ms <= self._clock.now_ms():
            raise SekishoError(TICKET)
        return grant

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self._key, b"sekisho-ticket-1\n" + payload, hashlib.sha256).digest()
