"""What a custodian checks of an `Ask` without looking at its own state: pure, and the same wherever it runs.

The order is believed only because its record lies in the log under a checkpoint of the origin in the custodian's own
trust file: whoever steals the control plane's signing key alone opens nothing without leaving a public trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from sekisho_verify import canonical
from sekisho_verify.checkpoint import Checkpoint, parse_checkpoint, parse_note, verify_note
from sekisho_verify.errors import SignatureError, VerifyError
from sekisho_verify.merkle import verify_inclusion
from sekisho_verify.record import parse_record
from sekisho_verify.sealed import open_sealed, read_agent_message
from sekisho_verify.trust import Trust
from sekisho_wire.custody import (
    ASK_BYTES_MAX,
    ORDER_MS_MAX,
    RELEASE_ACTION,
    Ask,
    CustodyError,
    Order,
    read_signed,
)
from sekisho_wire.envelope import EnvelopeError, Header, decode_header
from sekisho_wire.keying import WantKey

CLOCK_MS_MAX: Final = 60_000
"""How far ahead of the custodian's clock an order may say it was issued."""


class Trusted(NamedTuple):
    """Whom a custodian believes: its own name, whose keys they are, the log, the key that signs orders, agents by id.

    Keys are 32 raw bytes; `owner` is the organisation whose grants may release.
    Where `agents` is empty the control plane's word stands for who the agent is; otherwise each ask needs the agent's
    own signed request, for the very headers and the one-time key of the order.
    """

    name: str
    owner: str
    log: Trust
    orders: bytes
    agents: Mapping[str, bytes]


class Asked(NamedTuple):
    """An ask that holds: the order, the headers of its objects, and the checkpoint it lies under."""

    order: Order
    headers: list[Header]
    checkpoint: Checkpoint


def read_ask(data: bytes) -> Ask:
    """An ask from a request's body; `custody.shape` for anything else."""
    try:
        if len(data) > ASK_BYTES_MAX:
            raise CustodyError("custody.shape", f"more than {ASK_BYTES_MAX} bytes")
        return msgspec.json.decode(data, type=Ask, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CustodyError("custody.shape", "not a request for a release") from error


def check_ask(ask: Ask, trusted: Trusted, now_ms: int) -> Asked:
    """Everything but state; CustodyError by what is wrong.

    `custody.shape`, `custody.signature` (order or agent's request), `custody.other_custodian`, `custody.other_owner`,
    `custody.order_expired`, `custody.order_early`, `custody.record` (not the allowed record of this order),
    `custody.checkpoint` (not of the trusted log, or too few witnesses), `custody.inclusion`, `custody.headers`,
    `custody.request`.
    """
    order = read_signed(ask.order.encode(), trusted.orders, Order)
    if order.custodian != trusted.name:
        raise CustodyError("custody.other_custodian", "an order to another custodian")
    if order.owner != trusted.owner:
        raise CustodyError("custody.other_owner", "an order by the grants of another organisation")
    _check_time(order, now_ms)
    checkpoint = _check_logged(ask, order, trusted.log)
    headers = _check_headers(ask, order)
    if trusted.agents:
        _check_request(ask, order, trusted.agents)
    return Asked(order, headers, checkpoint)


def _check_time(order: Order, now_ms: int) -> None:
    if now_ms > order.not_after_ms:
        raise CustodyError("custody.order_expired", "an order past its time")
    early = order.issued_ms - now_ms > CLOCK_MS_MAX
    if early or not 0 <= order.not_after_ms - order.issued_ms <= ORDER_MS_MAX:
        raise CustodyError("custody.order_early", "an order from the future, or good for too long")


def _check_logged(ask: Ask, order: Order, log: Trust) -> Checkpoint:
    """The checkpoint, once it is the trusted log's and the order's own allowed record lies under it."""
    try:
        record = parse_record(ask.record.encode())
        path = [canonical.from_base64url(step) for step in ask.path]
    except (VerifyError, UnicodeEncodeError) as error:
        raise CustodyError("custody.record", "not a record, or no path to it") from error
    allowed = record.decision == "allow" and record.outcome == "done" and record.action == RELEASE_ACTION
    if not allowed or record.detail.get("order") != order.digest():
        raise CustodyError("custody.record", "not the record that allowed this order")
    try:
        note = parse_note(ask.checkpoint.encode())
        checkpoint = parse_checkpoint(note.text)
        witnesses = verify_note(note, log_keys=log.keys, witness_keys=log.witnesses)
    except (VerifyError, UnicodeEncodeError) as error:
        raise CustodyError("custody.checkpoint", "not a checkpoint signed by the trusted log") from error
    if checkpoint.origin != log.origin or len(witnesses) < log.quorum:
        raise CustodyError("custody.checkpoint", "a checkpoint of another log, or with too few witnesses")
    try:
        leaf = record.leaf_hash(ask.stream_seq)
        verify_inclusion(leaf, path, index=ask.index, size=checkpoint.size, root=checkpoint.root)
    except VerifyError as error:
        raise CustodyError("custody.inclusion", "the record is not under this checkpoint") from error
    return checkpoint


def _check_headers(ask: Ask, order: Order) -> list[Header]:
    if not order.headers and not order.make:
        raise CustodyError("custody.headers", "an order for no key")
    try:
        headers = [decode_header(canonical.from_base64url(text)) for text in ask.headers]
    except (EnvelopeError, VerifyError) as error:
        raise CustodyError("custody.headers", "not an envelope's header") from error
    of_key = {(header.wrapped.key, header.wrapped.key_version) for header in headers}
    if [header.digest() for header in headers] != order.headers or not of_key <= {
        (order.key, order.key_version)
    }:
        raise CustodyError("custody.headers", "not the headers that the order names")
    return headers


def _check_request(ask: Ask, order: Order, agents: Mapping[str, bytes]) -> None:
    """The agent itself asked for these very headers and so many new ones, with the key that the order names."""
    public = agents.get(order.agent)
    if public is None:
        raise CustodyError("custody.request", "an agent that this custodian does not know")
    try:
        value = open_sealed(ask.request.encode(), public)
        message = read_agent_message(value)
    except SignatureError as error:
        raise CustodyError("custody.signature", "the agent's request is signed by another key") from error
    except (VerifyError, UnicodeEncodeError) as error:
        raise CustodyError("custody.request", "not a request of an agent") from error
    try:
        want = msgspec.convert(message.body, WantKey, strict=True)
    except msgspec.ValidationError as error:
        raise CustodyError("custody.request", "not a request for keys") from error
    asked = (message.agent, message.attempt, value.get("token"), want.recipient, want.headers, want.make)
    if asked != (order.agent, order.attempt, order.token, order.recipient, order.headers, order.make):
        raise CustodyError("custody.request", "the agent asked for something else")
