"""Data keys for one attempt: asked of the control plane, fetched from their custodian, kept in this process only.

Each question has a one-time key of its own. Whatever is lost on the way (an answer, this process, the other side)
leaves an order that nobody can use again; asking anew with another one-time key is always safe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sekisho_agent import clock
from sekisho_agent.client import open_custodian, post
from sekisho_agent.errors import AgentError, ConfigError, UnreachableError
from sekisho_verify import canonical
from sekisho_wire.custody import Ask, CustodyError, Opened, Order, open_release, read_signed
from sekisho_wire.custody_client import Asking
from sekisho_wire.envelope import EnvelopeKey, Header
from sekisho_wire.keying import (
    REASON_KEY_CUSTODIAN,
    REASON_KEY_UNCONFIRMED,
    KeyGranted,
    KeyPending,
    KeyRefused,
    WantKey,
)
from sekisho_wire.messages import Body

JSON_MEDIA_TYPE: Final = "application/json"
CHECKPOINT_SECONDS_MAX: Final = 60.0
"""How long a decision may wait for a checkpoint before this is called a fault."""
PENDING_SECONDS: Final = 0.1
PENDING_SECONDS_MAX: Final = 2.0
CUSTODIAN_TRIES: Final = 3
CUSTODIAN_SECONDS: Final = 10.0
"""For a whole answer."""

log = structlog.get_logger(__name__)
_nobody: Mapping[str, str] = MappingProxyType({})


class KeyRefusedError(AgentError):
    """No data key: `code` is the reason that ends the attempt, one of `keying.KEY_REASONS`."""


class Control(Protocol):
    """The control plane, as far as keys need it."""

    @property
    def control_key(self) -> bytes:
        """The 32 raw bytes that check what it signs."""
        ...

    @property
    def agent_id(self) -> str:
        """The id that it gave this agent."""
        ...

    def send(self, body: Body, attempt: str, token: int, *, wanted: Callable[[], bool]) -> Body:
        """Deliver one message of the main lane and answer with its answer."""
        ...


class Keys:
    """The keys of one attempt; used by its thread alone. `check` raises when the attempt is to stop."""

    def __init__(
        self,
        control: Control,
        attempt: tuple[str, int],
        *,
        check: Callable[[], None],
        wanted: Callable[[], bool] = lambda: True,
        ca_file: str = "",
        custodians: Mapping[str, str] = _nobody,
        permit_private: bool = False,
    ) -> None:
        """`attempt` is its id and fencing token; `ca_file` checks custodians beside the control plane.

        `custodians` are the keys (base64url) that this site pins, by name; empty: whoever the control plane names. They
        are asked at addresses of machines and private networks only with `permit_private`.
        """
        self._control = control
        self._attempt = attempt
        self._check = check
        self._wanted = wanted
        self._ca_file = Path(ca_file) if ca_file else None
        self._custodians = custodians
        self._permit_private = permit_private

    def open(self, header: Header) -> EnvelopeKey:
        """The key of one envelope. KeyRefusedError where there is none to be had."""
        (key,) = self._ask([header], make=0).keys
        return key

    def make(self) -> tuple[Header, EnvelopeKey]:
        """The header of a new envelope as its custodian made it, and its key. KeyRefusedError as for `open`."""
        (made,) = self._ask([], make=1).made
        return made

    def _ask(self, headers: list[Header], *, make: int) -> Opened:
        """Each try is a question of its own, because an order that was handed in may have been used up."""
        error = CustodyError("custody.away", "")
        for _ in range(CUSTODIAN_TRIES):
            one_time = X25519PrivateKey.generate()
            want = WantKey(
                recipient=canonical.to_base64url(one_time.public_key().public_bytes_raw()),
                headers=[header.digest() for header in headers],
                make=make,
            )
            granted = self._granted(want)
            try:
                return self._fetch(granted, self._order(granted, want, headers), headers, one_time)
            except CustodyError as found:
                log.warning("key.not_fetched", attempt=self._attempt[0], code=found.code, detail=found.detail)
                error = found
        raise KeyRefusedError(
            REASON_KEY_CUSTODIAN, f"the key's custodian gave no key: {error.detail} [{error.code}]"
        )

    def _granted(self, want: WantKey) -> KeyGranted:
        """The order, once it is under a checkpoint."""
        give_up, pause = clock.monotonic() + CHECKPOINT_SECONDS_MAX, PENDING_SECONDS
        while True:
            self._check()
            answer = self._control.send(want, *self._attempt, wanted=self._wanted)
            match answer:
                case KeyGranted():
                    return answer
                case KeyRefused():
                    raise KeyRefusedError(answer.reason, f"not released: {', '.join(answer.rules)}")
                case KeyPending() if clock.monotonic() < give_up:
                    threading.Event().wait(pause)
                    pause = min(pause * 2, PENDING_SECONDS_MAX)
                case _:
                    raise KeyRefusedError(
                        REASON_KEY_UNCONFIRMED, "no checkpoint has covered the decision in time"
                    )

    def _order(self, granted: KeyGranted, want: WantKey, headers: list[Header]) -> Order:
        """The order, if it is the one that was asked for: for this agent and attempt, these keys, to the one-time key.

        CustodyError `custody.foreign` otherwise: handed in, it would use up, and put on record, another's.
        """
        order = read_signed(granted.order.encode(), self._control.control_key, Order)
        theirs = (order.agent, order.attempt, order.token, order.recipient, order.headers, order.make)
        ours = (self._control.agent_id, *self._attempt, want.recipient, want.headers, want.make)
        keys = {(header.wrapped.key, header.wrapped.key_version) for header in headers}
        if theirs != ours or not keys <= {(order.key, order.key_version)}:
            raise CustodyError("custody.foreign", "an order for something else than was asked")
        return order

    def _fetch(
        self, granted: KeyGranted, order: Order, headers: list[Header], one_time: X25519PrivateKey
    ) -> Opened:
        """From the custodian. CustodyError for an answer that is none, or none to this order."""
        ask = Ask(
            order=granted.order,
            record=granted.record,
            index=granted.index,
            stream_seq=granted.stream_seq,
            path=granted.path,
            checkpoint=granted.checkpoint,
            headers=[canonical.to_base64url(header.data) for header in headers],
            request=granted.request,
        )
        asking = Asking(
            granted.url,
            order.custodian,
            self._custodian_key(order.custodian, granted),
            post=self._post,
            away=(UnreachableError, ConfigError),
            seconds=CUSTODIAN_SECONDS,
        )
        release, _ = asking.release(ask, order)
        return open_release(release, order, one_time)

    def _custodian_key(self, name: str, granted: KeyGranted) -> bytes:
        """What the site's configuration pins, and the control plane's word only where it pins nothing."""
        if not self._custodians:
            return canonical.from_base64url(granted.custodian_key)
        if name not in self._custodians:
            raise CustodyError("custody.not_pinned", "no custodian of this name in the agent's configuration")
        return canonical.from_base64url(self._custodians[name])

    def _post(self, url: str, data: bytes, *, seconds: float, bytes_max: int) -> tuple[int, bytes]:
        way = open_custodian(url, seconds=seconds, ca_file=self._ca_file, permit_private=self._permit_private)
        with way as http:
            return post(http, url, data, media_type=JSON_MEDIA_TYPE, bytes_max=bytes_max, seconds=seconds)
