"""What a record's bytes are, and what may stand in them. Pure: no clock, no chance, no database.

The shapes are the verifier's. They are written out a second time here because this is on the path of every
command: checking a body with `sekisho_verify.record` costs four times as much as everything else the ledger
does for it. `tests/ledger/test_rules.py` holds the two equal.
"""

from __future__ import annotations

import functools
import hmac
import re
from collections.abc import Mapping

import msgspec

from sekisho.kernel.clock import rfc3339
from sekisho.kernel.errors import InvalidInputError
from sekisho.kernel.evidence import Draft, Evidence
from sekisho.ledger.errors import RECORD_SHAPE, RECORD_TOO_LARGE
from sekisho_verify.canonical import INTEGER_LIMIT, check, to_base64url
from sekisho_verify.errors import CanonicalError

BODY_BYTES_MAX = 2**20
DIGEST_PREFIX = "sha256:"
SALT_BYTES = 32

_SIMPLE = frozenset({str, bool})
_encoder = msgspec.json.Encoder(order="sorted")
_ID = "[0-9a-hjkmnp-tv-z]{26}"
# One look at what differs from record to record, joined by a character that none of the parts may hold.
_varying = re.compile(
    rf"rec_{_ID}\n(?:system|anonymous|(?:usr|svc|agt)_{_ID})\n[!-~]{{1,255}}\nsha256:[0-9a-f]{{64}}"
).fullmatch
_action = re.compile(r"[a-z][a-z0-9_]{0,63}(?:\.[a-z][a-z0-9_]{0,63}){1,7}").fullmatch
_resource_type = re.compile(r"[A-Z][A-Za-z0-9]{0,63}").fullmatch
_visible = re.compile(r"[!-~]{1,255}").fullmatch
_digest = re.compile(r"sha256:[0-9a-f]{64}").fullmatch


def pseudonym(key: bytes, name: str) -> str:
    """The stream's name in the log: 64 hexadecimal digits that say nothing without the key."""
    if not _visible(name):
        raise InvalidInputError(RECORD_SHAPE, field="stream")
    return hmac.digest(key, name.encode(), "sha256").hex()


def encode_body(draft: Draft, *, stream: str, salt: bytes) -> bytes:
    """Canonical bytes of the record (`sekisho_verify.record` reads them); InvalidInputError names a bad field.

    `stream` is the pseudonym. Effects are taken as the transaction made them: sorted, one per row.
    """
    _check_shape(draft)
    detail = _checked_detail(draft.detail)
    decision = draft.decision
    body = {
        "v": 1,
        "id": draft.id,
        "time": _second(draft.time_ms // 1000) + f"{draft.time_ms % 1000:03}Z",
        "actor": draft.actor,
        "action": draft.action,
        "resource": {"type": draft.resource.type, "id": draft.resource.id},
        "decision": "allow" if decision.allowed else "deny",
        "outcome": draft.outcome,
        "rules": decision.rules,
        "charter": decision.charter,
        "facts": decision.facts,
        "effects": draft.effects,
        "stream": stream,
        "detail": detail,
        "salt": to_base64url(salt),
    }
    if draft.approvers:
        body["approvers"] = draft.approvers
    try:
        data = _encoder.encode(body)
    except UnicodeEncodeError as error:
        raise InvalidInputError(RECORD_SHAPE, field="text") from error
    if len(data) > BODY_BYTES_MAX:
        raise InvalidInputError(RECORD_TOO_LARGE, size=len(data), limit=BODY_BYTES_MAX)
    return data


def is_digest(text: str) -> bool:
    """Whether `text` is a digest as records write them."""
    return _digest(text) is not None


def _check_shape(draft: Draft) -> None:
    decision, resource = draft.decision, draft.resource
    if not _varying(f"{draft.id}\n{draft.actor}\n{resource.id}\n{decision.facts}"):
        raise InvalidInputError(RECORD_SHAPE, field="id, actor, resource or facts")
    _check_repeating(draft.action, resource.type, decision.rules, decision.charter)
    if draft.approvers:
        _check_approvers(draft.approvers)


@functools.lru_cache(maxsize=4096)
def _check_repeating(action: str, resource_type: str, rules: tuple[str, ...], charter: str) -> None:
    """What takes few values in the life of a process; a refusal is not remembered."""
    if not (
        _action(action) and _resource_type(resource_type) and _digest(charter) and all(map(_visible, rules))
    ):
        raise InvalidInputError(RECORD_SHAPE, field="action, resource, rules or charter")


def _check_approvers(approvers: tuple[str, ...]) -> None:
    people = re.compile(f"(?:usr|svc|agt)_{_ID}").fullmatch
    if not all(map(people, approvers)) or len(set(approvers)) != len(approvers):
        raise InvalidInputError(RECORD_SHAPE, field="approvers")


def _checked_detail(detail: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """The detail as the plain object it must be: the fast encoder would write None, floats and large integers."""
    plain = dict(detail)
    for key, value in plain.items():
        simple = type(value) in _SIMPLE or (type(value) is int and abs(value) < INTEGER_LIMIT)
        if not simple or type(key) is not str or not key.isascii():
            _check_deeply(plain)
            break
    return plain


def _check_deeply(detail: dict[str, Evidence]) -> None:
    try:
        check({"detail": detail})
    except CanonicalError as error:
        raise InvalidInputError(RECORD_SHAPE, field="detail") from error


@functools.lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """A moment's text up to the point before its milliseconds; commands come many to a second."""
    return rfc3339(seconds * 1000)[: -len("000Z")]


def stale_heads(counts: Mapping[int, int], *, kept: int) -> list[int]:
    """Sizes whose cosignatures may go: not among the newest `kept`, and a newer head has as many.

    So a head that more witnesses cosigned than any since stays, however long some of them are away.
    """
    stale: list[int] = []
    most = 0
    for number, size in enumerate(sorted(counts, reverse=True)):
        if number >= kept and counts[size] <= most:
            stale.append(size)
        most = max(most, counts[size])
    return stale
