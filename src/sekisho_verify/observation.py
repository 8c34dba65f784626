"""What a listener outside a site signs of one attempt: which canaries arrived at it, and which did not.

A listener is told in advance the SHA-256 of one nonce for each way (`outside` or `inside` the wall) and protocol. A
nonce that was sent from outside the wall and arrived shows that listener and path were alive; one from inside that
arrived shows a way out. That none arrived between `opened_ms` and `closed_ms` is what it can say of a wall.

One report is sealed by the listener (`sealed`); `canaries.json` is `{"v": 1, "reports": [<base64url>, ...]}`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sekisho_verify.canonical import INTEGER_LIMIT, decode_object, encode, from_base64url, to_base64url
from sekisho_verify.checkpoint import Sign
from sekisho_verify.errors import RecordError, VerifyError
from sekisho_verify.sealed import open_sealed, seal

KIND = "sekisho.listener.report"
PROTOCOLS = ("tcp", "udp", "dns")
WAYS = ("outside", "inside")
REPORT_BYTES_MAX = 8192
REPORTS_MAX = 8
KEY_BYTES = 32
_FIELDS = frozenset(
    {"v", "kind", "listener", "key", "agent", "attempt", "token", "opened_ms", "closed_ms", *WAYS}
)
_name = re.compile("[!-~]{1,255}").fullmatch


class Observation(NamedTuple):
    """One listener's report. `outside` and `inside` are the protocols over which a nonce arrived; keys are raw."""

    listener: str
    key: bytes
    agent: bytes
    attempt: str
    token: int
    opened_ms: int
    closed_ms: int
    outside: frozenset[str]
    inside: frozenset[str]

    @property
    def results(self) -> dict[str, str]:
        """For each protocol `open`, `closed`, or `unproven` where nothing arrived from outside either."""
        return {
            protocol: "open"
            if protocol in self.inside
            else "closed"
            if protocol in self.outside
            else "unproven"
            for protocol in PROTOCOLS
        }

    def covers(self, start_ms: int, end_ms: int, *, skew_ms: int) -> bool:
        """Whether it listened from a run's start or before to its end or after, by clocks so far apart at most.

        Times are milliseconds since the epoch. Its silence says nothing about any other time; what it heard, it heard.
        """
        return self.opened_ms <= start_ms + skew_ms and self.closed_ms >= end_ms - skew_ms


def write_observation(seen: Observation, sign: Sign) -> bytes:
    """The sealed report; `sign` holds the listener's private key."""
    body: dict[str, object] = {
        "v": 1,
        "kind": KIND,
        **seen._asdict(),
        "key": to_base64url(seen.key),
        "agent": to_base64url(seen.agent),
    }
    return seal(body | {way: sorted(getattr(seen, way)) for way in WAYS}, sign)


def read_observation(sealed: bytes) -> Observation:
    """A report, once its signature under the key that it names has been verified; a VerifyError for anything else.

    Whose key that is, is for the reader to know.
    """
    if len(sealed) > REPORT_BYTES_MAX:
        raise _wrong("too long")
    claimed = decode_object(sealed.partition(b"\n")[2])
    key = _key(claimed, "key")
    body = open_sealed(sealed, key)
    if body.keys() != _FIELDS or type(body["v"]) is not int or body["v"] != 1 or body["kind"] != KIND:
        raise _wrong("a field missing or unknown")
    seen = Observation(
        listener=_text(body, "listener"),
        key=key,
        agent=_key(body, "agent"),
        attempt=_text(body, "attempt"),
        token=_number(body, "token"),
        opened_ms=_number(body, "opened_ms"),
        closed_ms=_number(body, "closed_ms"),
        outside=_protocols(body["outside"]),
        inside=_protocols(body["inside"]),
    )
    if seen.closed_ms < seen.opened_ms:
        raise _wrong("closed before it was opened")
    return seen


def write_canaries(reports: Sequence[bytes]) -> bytes:
    """The evidence file of sealed reports."""
    return encode({"v": 1, "reports": [to_base64url(report) for report in reports]})


def read_canaries_file(data: bytes) -> list[Observation]:
    """Inverse of `write_canaries`, each report verified; a VerifyError for anything else."""
    body = decode_object(data)
    reports = body.get("reports")
    if body.keys() != {"v", "reports"} or type(body["v"]) is not int or body["v"] != 1:
        raise _wrong("a field missing or unknown")
    if not isinstance(reports, list) or not 0 < len(reports) <= REPORTS_MAX:
        raise _wrong("no reports, or too many")
    return [read_observation(from_base64url(text if isinstance(text, str) else "")) for text in reports]


def _protocols(value: object) -> frozenset[str]:
    """A sorted list without repetition, so that there is one spelling."""
    if not isinstance(value, list) or any(item not in PROTOCOLS for item in value):
        raise _wrong("an unknown protocol")
    if value != sorted(set(value)):
        raise _wrong("protocols out of order, or twice")
    return frozenset(value)


def _text(body: dict[str, object], field: str) -> str:
    value = body[field]
    if not isinstance(value, str) or not _name(value):
        raise _wrong(field)
    return value


def _number(body: dict[str, object], field: str) -> int:
    value = body[field]
    if type(value) is not int or not 0 <= value < INTEGER_LIMIT:
        raise _wrong(field)
    return value


def _key(body: dict[str, object], field: str) -> bytes:
    value = body.get(field)
    try:
        key = from_base64url(value) if isinstance(value, str) else b""
    except VerifyError as error:
        raise _wrong(field) from error
    if len(key) != KEY_BYTES:
        raise _wrong(field)
    return key


def _wrong(what: str) -> RecordError:
    return RecordError("observation.shape", f"not a listener's report: {what}")
