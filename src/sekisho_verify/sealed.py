"""Messages that an agent or the control plane has sealed: one Ed25519 signature over one canonical object.

`sealed` is standard base64 of the signature, a newline, and the canonical bytes that were signed. The same
bytes that crossed the wire are kept in records as evidence, so that an auditor checks what the agent itself
said.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sekisho_verify.canonical import decode_object, encode, from_base64, to_base64
from sekisho_verify.checkpoint import Sign, verify_signature
from sekisho_verify.errors import CanonicalError, RecordError

_SIGNATURE_BYTES = 64
_REQUIRED = frozenset({"agent", "lane", "seq", "time", "body"})
_FIELDS = _REQUIRED | {"attempt", "token"}
_agent = re.compile("agt_[0-9a-hjkmnp-tv-z]{26}").fullmatch
_lane = re.compile("[a-z]{1,16}").fullmatch
_attempt = re.compile("[!-~]{1,64}").fullmatch


class AgentMessage(NamedTuple):
    """What an agent said: `body` has a text field `kind`; `attempt` is empty where it is about none.

    `token` is the attempt's, 0 without one; `time` is the agent's clock in its own words.
    """

    agent: str
    lane: str
    seq: int
    attempt: str
    body: dict[str, object]
    token: object = 0
    time: str = ""


def seal(value: dict[str, object], sign: Sign) -> bytes:
    """Sealed bytes of an object; `sign` holds the sender's private key."""
    data = encode(value)
    return to_base64(sign(data)).encode("ascii") + b"\n" + data


def open_sealed(sealed: bytes, public: bytes) -> dict[str, object]:
    """The object inside, once its signature under 32 raw public key bytes has been verified.

    RecordError or CanonicalError where it cannot be read, SignatureError where the signature does not hold.
    """
    encoded, found, data = sealed.partition(b"\n")
    try:
        signature = from_base64(encoded.decode("ascii"))
    except (CanonicalError, UnicodeDecodeError) as error:
        raise RecordError("sealed.shape", "a sealed message starts with a base64 signature") from error
    if not found or len(signature) != _SIGNATURE_BYTES:
        raise RecordError(
            "sealed.shape", "a sealed message starts with a signature of 64 bytes and a newline"
        )
    verify_signature(public, signature, data)
    return decode_object(data)


def read_agent_message(value: dict[str, object]) -> AgentMessage:
    """The fields of an opened agent message; RecordError for any other shape."""
    if not value.keys() >= _REQUIRED or not value.keys() <= _FIELDS:
        raise RecordError("sealed.fields", "an agent message with a field missing or unknown")
    agent, lane, seq, body = value["agent"], value["lane"], value["seq"], value["body"]
    attempt, token, time = value.get("attempt", ""), value.get("token", 0), value["time"]
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
        raise RecordError("sealed.body", "an agent message without a body of some kind")
    fits = (
        isinstance(agent, str)
        and _agent(agent)
        and isinstance(lane, str)
        and _lane(lane)
        and isinstance(attempt, str)
        and (not attempt or _attempt(attempt))
        and type(seq) is int
        and seq >= 0
        and type(token) in {int, str}
        and isinstance(time, str)
    )
    if not fits:
        raise RecordError("sealed.fields", "an agent message with a field of the wrong shape")
    return AgentMessage(agent, lane, seq, attempt, body, token, time)
