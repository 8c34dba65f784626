"""What an agent and a listener outside its site say to each other, over the TCP port that canaries try as well.

A request is one frame: `sekisho-listener/1 `, the length in decimal, a newline, and as many bytes, sealed by the agent
(`sekisho_verify.sealed`). `open` tells the listener the SHA-256 of the nonces that it may hear, by way (`outside` or
`inside` the wall) and protocol: one, or for a gang a list with one for each node, in the same order everywhere. What is
said to have come from outside then came from every node, what from inside from any. `close` asks for the report
(`sekisho_verify.observation`). An answer is a frame of the same form, sealed by the listener, or a line
`refused <code>`.

A nonce is 24 hexadecimal digits, alone in a TCP stream or datagram, or the first label of a DNS question's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from sekisho_verify.canonical import INTEGER_LIMIT, decode_object, from_base64url, to_base64url
from sekisho_verify.checkpoint import Sign
from sekisho_verify.errors import RecordError, VerifyError
from sekisho_verify.observation import KEY_BYTES, PROTOCOLS, WAYS
from sekisho_verify.sealed import open_sealed, seal

PREFIX = b"sekisho-listener/1 "
REFUSED = b"refused "
HEARD = b"heard"
FRAME_BYTES_MAX = 65_536
NODES_MAX = 128
FRAME_HEAD_BYTES_MAX = len(PREFIX) + 6
OPEN, OPENED, CLOSE = "sekisho.listener.open", "sekisho.listener.opened", "sekisho.listener.close"
NONCE = re.compile(rb"(?<![0-9a-f])[0-9a-f]{24}(?![0-9a-f])")
_head = re.compile(re.escape(PREFIX) + rb"([1-9][0-9]{0,4})\n").match
_text = re.compile("[!-~]{1,64}").fullmatch
_digest = re.compile("[0-9a-f]{64}").fullmatch
_FIELDS = {"v", "kind", "agent", "attempt", "token", "time_ms", "expected"}

Expected = Mapping[str, Mapping[str, str | list[str]]]


class Asked(NamedTuple):
    """A request. `agent` is the raw key that sealed it; `expected` is empty where a report is asked for."""

    kind: str
    agent: bytes
    attempt: str
    token: int
    time_ms: int
    expected: Expected


def nonce_digest(nonce: bytes) -> str:
    """What the listener is told of a nonce."""
    return hashlib.sha256(nonce).hexdigest()


def digests_by_node(expected: Expected) -> list[dict[str, str]]:
    """For each node the ways of its digests; one node where there are no lists."""
    nodes: list[dict[str, str]] = []
    for way, by in expected.items():
        for given in by.values():
            for node, text in enumerate([given] if isinstance(given, str) else given):
                if node == len(nodes):
                    nodes.append({})
                nodes[node][text] = way
    return nodes


def frame(content: bytes) -> bytes:
    """The bytes of one frame."""
    return PREFIX + b"%d\n" % len(content) + content


def unframe(received: bytes) -> bytes | None:
    """A frame's content; None while it is not whole. RecordError for what is no frame."""
    found = _head(received)
    if found is None:
        if len(received) >= FRAME_HEAD_BYTES_MAX or not (
            received.startswith(PREFIX) or PREFIX.startswith(received)
        ):
            raise _wrong("not a frame")
        return None
    size = int(found[1])
    if size > FRAME_BYTES_MAX:
        raise _wrong("too long a frame")
    content = received[found.end() :]
    return content[:size] if len(content) >= size else None


def write_request(asked: Asked, sign: Sign) -> bytes:
    """The sealed request."""
    body: dict[str, object] = {"v": 1, **asked._asdict(), "agent": to_base64url(asked.agent)}
    return seal(body | {"expected": {way: dict(by) for way, by in asked.expected.items()}}, sign)


def read_request(sealed: bytes) -> Asked:
    """A request whose signature under the key that it names holds; a VerifyError for anything else."""
    agent = _key(decode_object(sealed.partition(b"\n")[2]).get("agent"))
    body = open_sealed(sealed, agent)
    if body.keys() != _FIELDS or type(body["v"]) is not int or body["v"] != 1:
        raise _wrong("a field missing or unknown")
    kind, attempt, expected = body["kind"], body["attempt"], body["expected"]
    if kind not in (OPEN, CLOSE) or not isinstance(attempt, str) or not _text(attempt):
        raise _wrong("of an unknown kind, or about nothing")
    return Asked(
        kind=str(kind),
        agent=agent,
        attempt=attempt,
        token=_number(body["token"]),
        time_ms=_number(body["time_ms"]),
        expected=_expected(expected) if kind == OPEN else _nothing(expected),
    )


def write_opened(asked: Asked, sign: Sign) -> bytes:
    """The sealed answer to `open`."""
    return seal({"v": 1, "kind": OPENED, "attempt": asked.attempt, "token": asked.token}, sign)


def is_opened(sealed: bytes, asked: Asked, listener: bytes) -> bool:
    """Whether this is the answer of that listener to that `open`."""
    try:
        body = open_sealed(sealed, listener)
    except VerifyError:
        return False
    return body == {"v": 1, "kind": OPENED, "attempt": asked.attempt, "token": asked.token}


def _expected(value: object) -> Expected:
    """A digest for each way, protocol and node, no two alike."""
    if not isinstance(value, dict) or value.keys() != set(WAYS):
        raise _wrong("ways missing or unknown")
    found: dict[str, dict[str, str | list[str]]] = {}
    for way, by in value.items():
        if not isinstance(by, dict) or by.keys() != set(PROTOCOLS):
            raise _wrong("protocols missing or unknown")
        found[way] = {protocol: _given(given) for protocol, given in by.items()}
    given = [one for by in found.values() for one in by.values()]
    if len({len(one) if isinstance(one, list) else 0 for one in given}) != 1:
        raise _wrong("not as many nodes everywhere")
    texts = [text for one in given for text in (one if isinstance(one, list) else [one])]
    if len(set(texts)) != len(texts):
        raise _wrong("the same nonce twice")
    return found


def _given(value: object) -> str | list[str]:
    texts = value if isinstance(value, list) else [value]
    known = [text for text in texts if isinstance(text, str) and _digest(text)]
    if not known or len(known) != len(texts) or len(known) > NODES_MAX:
        raise _wrong("a nonce is told by its SHA-256")
    return known if isinstance(value, list) else known[0]


def _nothing(value: object) -> Expected:
    if value != {}:
        raise _wrong("a close expects nothing")
    return {}


def _key(value: object) -> bytes:
    key = from_base64url(value) if isinstance(value, str) else b""
    if len(key) != KEY_BYTES:
        raise _wrong("no key")
    return key


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < INTEGER_LIMIT:
        raise _wrong("a whole number is needed")
    return value


def _wrong(what: str) -> RecordError:
    return RecordError("listener.request", f"not a request to a listener: {what}")
