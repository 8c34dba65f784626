"""Records and log entries: exact shapes, digests, and the leaf a record has in the tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

from sekisho_verify.canonical import DIGEST_PREFIX, decode, decode_object, encode
from sekisho_verify.errors import CanonicalError, RecordError

RECORD_VERSION = 1
CLOSE_ACTION = "ledger.stream.close"
SALT_BYTES = 32

_REQUIRED = frozenset(
    {
        "v",
        "id",
        "time",
        "actor",
        "action",
        "resource",
        "decision",
        "outcome",
        "rules",
        "charter",
        "facts",
        "effects",
        "stream",
        "detail",
        "salt",
    }
)
_WITH_APPROVERS = _REQUIRED | {"approvers"}
_ENTRY_FIELDS = frozenset({"v", "stream", "stream_seq", "record_digest"})
_APPROVERS_MAX = 16
_EFFECT_PARTS = 3

_id = "[0-9a-hjkmnp-tv-z]{26}"
_record_id = re.compile(f"rec_{_id}").fullmatch
_actor = re.compile(f"system|anonymous|(?:usr|svc|agt)_{_id}").fullmatch
_time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII).fullmatch
_action = re.compile(r"[a-z][a-z0-9_]{0,63}(?:\.[a-z][a-z0-9_]{0,63}){1,7}").fullmatch
_resource_type = re.compile(r"[A-Z][A-Za-z0-9]{0,63}").fullmatch
_visible = re.compile(r"[!-~]{1,255}").fullmatch
_digest = re.compile(r"sha256:[0-9a-f]{64}").fullmatch
_stream = re.compile(r"[0-9a-f]{64}").fullmatch
# Most keys: texts that need no escape, canonical by their shape. Others are decoded.
_plain_key = re.compile(r'\["[\w.:-]*"(?:,"[\w.:-]*")*\]', re.ASCII).fullmatch
_salt = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]").fullmatch

_decisions = frozenset({"allow", "deny"})
_outcomes = frozenset({"done", "denied", "failed", "proposed"})


class Resource(NamedTuple):
    """What a record is about, such as a Job and its id."""

    type: str
    id: str


class Effect(NamedTuple):
    """Final state of one row: its table, primary key as canonical JSON text, and row digest or `deleted`."""

    table: str
    key: str
    digest: str


class Record(NamedTuple):
    """A checked record body; `data` are the canonical bytes it was read from."""

    data: bytes
    id: str
    time: str
    actor: str
    approvers: tuple[str, ...]
    action: str
    resource: Resource
    decision: str
    outcome: str
    rules: tuple[str, ...]
    charter: str
    facts: str
    effects: tuple[Effect, ...]
    stream: str
    detail: dict[str, object]

    def digest(self) -> str:
        """Digest text of the body, named by the log entry."""
        return DIGEST_PREFIX + sha256(self.data).hexdigest()

    def leaf_hash(self, stream_seq: int) -> bytes:
        """Leaf hash of this record as number `stream_seq` of its stream."""
        entry = _entry_text(self.stream, stream_seq, DIGEST_PREFIX + sha256(self.data).hexdigest())
        return sha256(b"\x00" + entry.encode("ascii")).digest()


class LogEntry(NamedTuple):
    """What the log holds of a record; nothing in it tells whom or what the record is about."""

    stream: str
    stream_seq: int
    record_digest: str


def parse_record(data: bytes) -> Record:
    """A record from its canonical bytes; RecordError, naming the field, or CanonicalError otherwise."""
    return _from_body(decode_object(data), data)


def check_record(body: dict[str, object]) -> Record:
    """As `parse_record` for a body about to be written; `Record.data` are the bytes to store."""
    return _from_body(body, encode(body))


def encode_entry(entry: LogEntry) -> bytes:
    """Leaf data of a log entry; RecordError for values that could not be read back."""
    if not _stream(entry.stream) or not _digest(entry.record_digest) or entry.stream_seq < 0:
        raise RecordError("entry.field", "a log entry of the wrong shape")
    return _entry_text(entry.stream, entry.stream_seq, entry.record_digest).encode("ascii")


def decode_entry(data: bytes) -> LogEntry:
    """A log entry from its leaf data."""
    body = decode_object(data)
    stream, number, record_digest = body.get("stream"), body.get("stream_seq"), body.get("record_digest")
    if (
        body.keys() != _ENTRY_FIELDS
        or not (type(body["v"]) is int and body["v"] == RECORD_VERSION)
        or not (isinstance(stream, str) and _stream(stream))
        or not (type(number) is int and number >= 0)
        or not (isinstance(record_digest, str) and _digest(record_digest))
    ):
        raise RecordError("entry.field", "a log entry of the wrong shape")
    return LogEntry(stream, number, record_digest)


def is_digest(value: object) -> bool:
    """Whether a value is a digest text."""
    return isinstance(value, str) and _digest(value) is not None


def is_stream(value: object) -> bool:
    """Whether a value is a stream's pseudonym: 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and _stream(value) is not None


def read_resource(value: object) -> Resource:
    """A resource from its two fields; RecordError for anything else."""
    if not isinstance(value, dict) or value.keys() != {"type", "id"}:
        raise _wrong("resource")
    kind, name = value["type"], value["id"]
    if not (isinstance(kind, str) and _resource_type(kind) and isinstance(name, str) and _visible(name)):
        raise _wrong("resource")
    return Resource(kind, name)


def _from_body(body: dict[str, object], data: bytes) -> Record:
    if body.get("v") != RECORD_VERSION or type(body["v"]) is not int:
        raise RecordError("record.version", "a record of an unknown version", where="v")
    if body.keys() != _REQUIRED and body.keys() != _WITH_APPROVERS:
        odd = min(body.keys() ^ _REQUIRED)
        raise RecordError("record.fields", "a field missing or unknown", where=odd[:64])
    outcome, decision, detail = body["outcome"], body["decision"], body["detail"]
    if not isinstance(decision, str) or decision not in _decisions:
        raise _wrong("decision")
    if not isinstance(outcome, str) or outcome not in _outcomes:
        raise _wrong("outcome")
    if not isinstance(detail, dict):
        raise _wrong("detail")
    _matched(body, "salt", _salt)
    return Record(
        data,
        _matched(body, "id", _record_id),
        _checked_time(body),
        _matched(body, "actor", _actor),
        _approvers(body["approvers"]) if "approvers" in body else (),
        _matched(body, "action", _action),
        read_resource(body["resource"]),
        decision,
        outcome,
        _rules(body["rules"]),
        _matched(body, "charter", _digest),
        _matched(body, "facts", _digest),
        _effects(body["effects"]),
        _matched(body, "stream", _stream),
        detail,
    )


def _matched(body: dict[str, object], field: str, fits: Callable[[str], object]) -> str:
    value = body[field]
    if not isinstance(value, str) or not fits(value):
        raise _wrong(field)
    return value


def _checked_time(body: dict[str, object]) -> str:
    value = _matched(body, "time", _time)
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise _wrong("time") from error
    return value


def _approvers(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _APPROVERS_MAX:
        raise _wrong("approvers")
    for name in value:
        if not isinstance(name, str) or not _actor(name):
            raise _wrong("approvers")
    if len(set(value)) != len(value):
        raise RecordError("record.approvers", "the same approver twice", where="approvers")
    return tuple(value)


def _rules(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _wrong("rules")
    for name in value:
        if not isinstance(name, str) or not _visible(name):
            raise _wrong("rules")
    return tuple(value)


def _effects(value: object) -> tuple[Effect, ...]:
    if not isinstance(value, list):
        raise _wrong("effects")
    effects = tuple(map(_effect, value))
    for before, after in pairwise(effects):
        if before[:2] >= after[:2]:
            raise RecordError("record.effects", "effects out of order, or one row twice", where="effects")
    return effects


def _effect(value: object) -> Effect:
    if not isinstance(value, list) or len(value) != _EFFECT_PARTS:
        raise _wrong("effects")
    table, key, row = value
    if not (isinstance(table, str) and _visible(table) and isinstance(key, str) and isinstance(row, str)):
        raise _wrong("effects")
    if row != "deleted" and not _digest(row):
        raise _wrong("effects")
    if not _plain_key(key):
        _check_key(key)
    return Effect(table, key, row)


def _check_key(key: str) -> None:
    try:
        parts = decode(key.encode(errors="surrogatepass"))
    except CanonicalError as error:
        raise _wrong("effects") from error
    if not isinstance(parts, list) or not parts:
        raise _wrong("effects")


def _entry_text(stream: str, stream_seq: int, record_digest: str) -> str:
    """Canonical form written out: the keys in order, every value known to need no escape."""
    return f'{{"record_digest":"{record_digest}","stream":"{stream}","stream_seq":{stream_seq},"v":1}}'


def _wrong(field: str) -> RecordError:
    return RecordError("record.field", "a field of the wrong shape", where=field)
