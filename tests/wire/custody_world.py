"""A log, a control plane's key and an agent; orders are made as in earnest: recorded, then under a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sekisho_verify.canonical import to_base64url
from sekisho_verify.sealed import seal
from sekisho_verify.trust import parse_trust
from sekisho_wire.custody import RELEASE_ACTION, Ask, Order
from sekisho_wire.custody_checks import Trusted
from sekisho_wire.envelope import AES_KW, Header, Wrapped, new_header
from sekisho_wire.keying import WantKey
from tests.verify.builders import AGENT, AGENT_ID, Signer, TestLog, make_id, record_body

NOW_MS = 1_795_000_000_000
CONTROL = Signer.make("control")
CUSTODIAN = Signer.make("custodian")
NAME = "custodian.example/hospital"
OWNER = make_id("org", 1)
KEY = "patients"
ORDER = Order(
    id="rel_1",
    custodian=NAME,
    owner=OWNER,
    key=KEY,
    key_version=1,
    headers=[],
    make=0,
    job=make_id("job", 1),
    attempt=make_id("att", 1),
    token=3,
    site="sakura-ishikari",
    agent=AGENT_ID,
    recipient="A" * 43,
    rules=["C02-fresh-proof"],
    proof="",
    issued_ms=NOW_MS,
    not_after_ms=NOW_MS + 60_000,
)


def header(wrapped: bytes = bytes(40), *, kind: str = "file", key: str = KEY, version: int = 1) -> Header:
    """The header of some object."""
    return new_header(kind, Wrapped(key, version, AES_KW, wrapped))


class Asker:
    """A control plane with its log, and the agent that asks it; every order has a one-time key of its own."""

    def __init__(self, *, quorum: int = 0, origin_seed: str = "") -> None:
        self.log = TestLog(seed=origin_seed)
        self.log.append_noise(5)
        self.quorum = quorum
        self.one_time = X25519PrivateKey.generate()
        self._count = 0

    def trusted(self, *, agents: bool = False) -> Trusted:
        """What a custodian's owner writes down about this control plane."""
        trust = parse_trust(self.log.trust(quorum=self.quorum))
        return Trusted(NAME, OWNER, trust, CONTROL.key.public, {AGENT_ID: AGENT.key.public} if agents else {})

    def order(self, headers: Sequence[Header] = (), /, **changes: Any) -> Order:
        """An order for the data keys of these headers."""
        self._count += 1
        fields: dict[str, Any] = {
            "id": f"rel_{self._count}",
            "headers": [head.digest() for head in headers],
            "recipient": to_base64url(self.one_time.public_key().public_bytes_raw()),
        }
        return msgspec.structs.replace(ORDER, **(fields | changes))

    def ask(self, order: Order, headers: Sequence[Header] = (), /, **record: Any) -> Ask:
        """The order's record goes into the log, and what leaves lies under the next checkpoint."""
        body = record_body(
            "keys", self._count, **({"action": RELEASE_ACTION, "detail": {"order": order.digest()}} | record)
        )
        self.log.append([body])
        index, stream_seq, data = self.log.records[-1]
        size = len(self.log.leaves)
        return Ask(
            order=order.sealed(CONTROL.sign).decode(),
            record=data.decode(),
            index=index,
            stream_seq=stream_seq,
            path=list(map(to_base64url, self.log.tree.inclusion_path(index, size))),
            checkpoint=self.log.checkpoint().decode(),
            headers=[to_base64url(head.data) for head in headers],
            request=self.request(order),
        )

    def request(self, order: Order, *, signer: Signer = AGENT, **body: object) -> str:
        """The agent's own message that asked for it, as agents write it."""
        want = WantKey(order.recipient, order.headers, order.make)
        content: dict[str, object] = {
            "agent": order.agent,
            "lane": "main",
            "seq": 7,
            "time": "2026-11-20T05:03:11.123Z",
            "attempt": order.attempt,
            "token": order.token,
            "body": msgspec.to_builtins(want) | body,
        }
        return seal(content, signer.sign).decode()
