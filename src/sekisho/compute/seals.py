"""The control plane's own signature on what agents get: answers that name their message, orders with their number."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.kernel.clock import rfc3339
from sekisho_wire import signing
from sekisho_wire.custody import Order as ReleaseOrder
from sekisho_wire.messages import LANE_ORDER, Body, Envelope


class Seals:
    """Signs with one key, which every registration code carries to its agent."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """`key` comes from the vault and stays in this process."""
        self._key = key

    @property
    def public_key(self) -> str:
        """The key's public half, base64url."""
        return signing.encode_public_key(self._key.public_key())

    def answer(self, question: Envelope, body: Body, now_ms: int) -> bytes:
        """A sealed answer that names agent, lane and seq of the message it answers."""
        return signing.answer(self._key, question, time_text=rfc3339(now_ms), body=body)

    def sealed(self, order: ReleaseOrder) -> bytes:
        """A release order for a key's custodian; the same bytes each time."""
        return order.sealed(self._key.sign)

    def order(self, agent: str, attempt: tuple[str, int], body: Body, *, seq: int, now_ms: int) -> str:
        """A sealed order; `attempt` is its id and fencing token."""
        envelope = Envelope(
            agent=agent,
            lane=LANE_ORDER,
            seq=seq,
            time=rfc3339(now_ms),
            attempt=attempt[0],
            token=attempt[1],
            body=body,
        )
        return signing.seal(self._key, envelope).decode()
