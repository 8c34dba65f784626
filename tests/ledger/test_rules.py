from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.errors import InvalidInputError
from sekisho.kernel.facts import Decision, Ref
from sekisho.kernel.tx import Effect
from sekisho.ledger import rules
from sekisho.ledger.sequencer import leaf_data
from sekisho.ledger.tables import Entry
from sekisho_verify.errors import VerifyError
from sekisho_verify.record import LogEntry, check_record, encode_entry, parse_record
from tests.ledger.world import ANN, BEN, CHARTER_DIGEST, FACTS_DIGEST, draft

SALT = bytes(range(32))
STREAM = "ab" * 32

EFFECTS: list[list[Effect]] = [
    [],
    [("toy_things", '["a"]', CHARTER_DIGEST), ("toy_things", '["b"]', "deleted")],
]

text = st.text(max_size=12)
evidence = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.binary(max_size=3), text,
        st.integers(-(2**54), 2**54), st.integers(-5, 5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3), st.tuples(inner)
    ),
    max_leaves=6,
)  # fmt: skip
fields = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.from_regex(r"rec_[0-9a-z]{26}", fullmatch=True), text),
        "actor": st.one_of(st.sampled_from(["system", ANN.ref.id, "usr_ann", "svc_" + "1" * 26]), text),
        "approvers": st.lists(st.sampled_from([ANN.ref.id, BEN.ref.id, "x"]), max_size=3).map(tuple),
        "action": st.one_of(st.from_regex(r"[a-z.]{1,9}", fullmatch=True), text),
        "resource": st.builds(Ref, st.one_of(st.sampled_from(["Job", "job"]), text), text),
        "decision": st.builds(
            Decision,
            allowed=st.booleans(),
            rules=st.lists(st.one_of(st.just("C03"), text), max_size=2).map(tuple),
            charter=st.sampled_from([CHARTER_DIGEST, "sha256:", CHARTER_DIGEST.upper()]),
            facts=st.sampled_from([FACTS_DIGEST, "", FACTS_DIGEST + "\n"]),
        ),
        "outcome": st.sampled_from(["done", "denied", "failed", "proposed"]),
        "effects": st.sampled_from(EFFECTS),
        "detail": st.dictionaries(text, evidence, max_size=3),
    },
)  # fmt: skip


def _expected(record: Any) -> bytes | None:
    """What the verifier's own writer makes of this draft; None where it refuses."""
    body: dict[str, object] = {
        "v": 1,
        "id": record.id,
        "time": "2026-11-18T11:06:40.000Z",
        "actor": record.actor,
        "action": record.action,
        "resource": {"type": record.resource.type, "id": record.resource.id},
        "decision": "allow" if record.decision.allowed else "deny",
        "outcome": record.outcome,
        "rules": list(record.decision.rules),
        "charter": record.decision.charter,
        "facts": record.decision.facts,
        "effects": [list(effect) for effect in record.effects],
        "stream": STREAM,
        "detail": dict(record.detail),
        "salt": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    }
    if record.approvers:
        body["approvers"] = list(record.approvers)
    try:
        return check_record(body).data
    except VerifyError:
        return None


@given(changes=fields)
def test_bodies_are_written_and_refused_exactly_as_the_verifier_does(changes: dict[str, Any]) -> None:
    record = draft(0, **changes)
    expected = _expected(record)
    if expected is None:
        with pytest.raises(InvalidInputError, match="A record cannot hold this"):
            rules.encode_body(record, stream=STREAM, salt=SALT)
    else:
        assert rules.encode_body(record, stream=STREAM, salt=SALT) == expected
        assert parse_record(expected).id == record.id


@pytest.mark.parametrize(
    "detail",
    [
        {"a": None},
        {"a": 1.5},
        {"a": 2**53},
        {"a": [1, {"b": None}]},
        {"é": 1},
        {"a": "\ud800"},
        {"a": ("tuple",)},
        {"a": b"bytes"},
        {1: "a"},
    ],
)  # fmt: skip
def test_a_detail_outside_the_canonical_subset_is_refused(detail: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        rules.encode_body(draft(0, detail=detail), stream=STREAM, salt=SALT)
    assert caught.value.code == "ledger.record_shape"


def test_a_record_has_a_largest_size() -> None:
    with pytest.raises(InvalidInputError) as caught:
        rules.encode_body(draft(0, detail={"a": "x" * 2**20}), stream=STREAM, salt=SALT)
    assert caught.value.code == "ledger.record_too_large"


def test_milliseconds_keep_their_three_digits() -> None:
    for millisecond in (0, 7, 42, 999):
        body = rules.encode_body(draft(millisecond), stream=STREAM, salt=SALT)
        assert msgspec.json.decode(body)["time"] == f"2026-11-18T11:06:40.{millisecond:03}Z"


def test_a_pseudonym_is_keyed() -> None:
    expected = hmac.new(b"key", b"job_a", hashlib.sha256).hexdigest()
    assert rules.pseudonym(b"key", "job_a") == expected
    assert rules.pseudonym(b"other", "job_a") != expected


@pytest.mark.parametrize("name", ["", "two words", "\ud800", "日本", "x" * 256])
def test_a_stream_has_a_name_that_an_id_could_be(name: str) -> None:
    with pytest.raises(InvalidInputError, match="stream"):
        rules.pseudonym(b"key", name)


def test_digest_texts() -> None:
    assert rules.is_digest(CHARTER_DIGEST)
    assert not rules.is_digest(CHARTER_DIGEST.upper())


@given(
    stream=st.binary(min_size=32, max_size=32),
    number=st.integers(0, 2**52),
    digest=st.binary(min_size=32, max_size=32),
)
def test_leaves_are_the_verifiers_log_entries(stream: bytes, number: int, digest: bytes) -> None:
    entry = Entry(0, "rec_x", stream.hex(), number, digest)
    assert leaf_data(entry) == encode_entry(LogEntry(stream.hex(), number, "sha256:" + digest.hex()))
