"""Records and log entries: what fits, what does not, and that the leaf is the canonical entry's hash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.canonical import digest, encode
from sekisho_verify.errors import RecordError, VerifyError
from sekisho_verify.merkle import leaf_hash
from sekisho_verify.record import LogEntry, check_record, decode_entry, encode_entry, parse_record
from tests.verify.builders import make_id, record_body, stream_name

DIGEST = digest(b"row")


def test_a_record_reads_as_written() -> None:
    body = record_body("a", 3, approvers=[make_id("usr", 2), make_id("usr", 3)])
    record = parse_record(encode(body))
    assert record == check_record(body)
    assert record.digest() == digest(encode(body))
    assert record.approvers == (make_id("usr", 2), make_id("usr", 3))
    assert (record.resource.type, record.effects[0].table, record.rules) == (
        "Job",
        "compute_job",
        ("P1-owner",),
    )


def test_the_leaf_is_the_hash_of_the_canonical_entry() -> None:
    record = check_record(record_body("a", 0))
    entry = {"v": 1, "stream": record.stream, "stream_seq": 12, "record_digest": record.digest()}
    assert encode_entry(LogEntry(record.stream, 12, record.digest())) == encode(entry)
    assert record.leaf_hash(12) == leaf_hash(encode(entry))
    assert decode_entry(encode(entry)) == LogEntry(record.stream, 12, record.digest())


BAD_FIELDS: list[tuple[str, Any]] = [
    ("v", 2),
    ("v", True),
    ("v", "1"),
    ("id", "rec_short"),
    ("id", make_id("job", 1)),
    ("id", make_id("rec", 1) + "\n"),
    ("id", 1),
    ("time", "2026-11-20T05:03:11Z"),
    ("time", "2026-11-20T05:03:11.123+00:00"),
    ("time", "2026-02-30T05:03:11.123Z"),
    ("time", "2026-11-20T25:03:11.123Z"),
    ("time", "\u0662026-11-20T05:03:11.123Z"),
    ("actor", "root"),
    ("actor", ["system"]),
    ("approvers", []),
    ("approvers", "usr"),
    ("approvers", ["me"]),
    ("approvers", [1]),
    ("approvers", [make_id("usr", 1)] * 2),
    ("approvers", [make_id("usr", number) for number in range(17)]),
    ("action", "submit"),
    ("action", "Compute.job"),
    ("action", "a..b"),
    ("resource", {"type": "Job"}),
    ("resource", {"type": "Job", "id": "j", "more": 1}),
    ("resource", {"type": "job", "id": "j"}),
    ("resource", {"type": "Job", "id": "a b"}),
    ("resource", {"type": "Job", "id": ""}),
    ("resource", "Job"),
    ("decision", "maybe"),
    ("decision", ["allow"]),
    ("outcome", "ok"),
    ("outcome", {}),
    ("rules", "C01"),
    ("rules", ["a b"]),
    ("rules", [1]),
    ("charter", DIGEST[:-1]),
    ("charter", DIGEST.upper()),
    ("facts", 5),
    ("effects", {}),
    ("effects", [["t", '["k"]']]),
    ("effects", ["tkd"]),
    ("effects", [["t", '["k"]', "changed"]]),
    ("effects", [["t", "k", DIGEST]]),
    ("effects", [["t", "[]", DIGEST]]),
    ("effects", [["t", '{"a":1}', DIGEST]]),
    ("effects", [["t", '[ "k"]', DIGEST]]),
    ("effects", [["t t", '["k"]', DIGEST]]),
    ("effects", [["t", 1, DIGEST]]),
    ("effects", [["t", '["b"]', DIGEST], ["t", '["a"]', DIGEST]]),
    ("effects", [["t", '["a"]', DIGEST], ["t", '["a"]', "deleted"]]),
    ("stream", "ab"),
    ("stream", stream_name("a").upper()),
    ("detail", []),
    ("salt", ""),
    ("salt", "A" * 42 + "B"),
    ("salt", "A" * 43 + "="),
]


@pytest.mark.parametrize(("name", "value"), BAD_FIELDS)
def test_a_field_of_the_wrong_shape_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(RecordError) as caught:
        check_record(record_body("a", 0, **{name: value}))
    assert caught.value.where == name


def test_fields_missing_or_unknown_are_refused() -> None:
    for name in record_body("a", 0):
        body = record_body("a", 0)
        del body[name]
        with pytest.raises(RecordError):
            check_record(body)
    with pytest.raises(RecordError):
        check_record(record_body("a", 0, more="x"))


@pytest.mark.parametrize(
    "key",
    [
        '["job_1"]',
        '["a:b.c-d","e"]',
        "[1]",
        '["a",2,true]',
        '["\u3042"]',
        '["a\\"b"]',
        '["a\\nb"]',
        '[["x"]]',
    ],
)
def test_row_keys_are_canonical_arrays(key: str) -> None:
    record = check_record(record_body("a", 0, effects=[["t", key, "deleted"]]))
    assert record.effects[0] == ("t", key, "deleted")


@pytest.mark.parametrize("actor", ["system", make_id("usr", 1), make_id("svc", 1), make_id("agt", 1)])
def test_actors(actor: str) -> None:
    assert check_record(record_body("a", 0, actor=actor)).actor == actor


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": True},
        {"stream": "x"},
        {"stream_seq": -1},
        {"stream_seq": True},
        {"record_digest": "x"},
        {"more": 1},
    ],
)
def test_an_entry_of_the_wrong_shape_is_refused(change: dict[str, object]) -> None:
    entry = {"v": 1, "stream": stream_name("a"), "stream_seq": 0, "record_digest": DIGEST}
    with pytest.raises(RecordError):
        decode_entry(encode(entry | change))


@pytest.mark.parametrize(
    "entry",
    [LogEntry("x", 0, DIGEST), LogEntry(stream_name("a"), -1, DIGEST), LogEntry(stream_name("a"), 0, '"')],
)
def test_an_entry_that_could_not_be_read_back_is_not_written(entry: LogEntry) -> None:
    with pytest.raises(RecordError):
        encode_entry(entry)


junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from([DIGEST, '["k"]', "deleted"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(record_body("a", 0))), junk)
def test_no_other_exception_escapes(name: str, value: object) -> None:
    try:
        record = check_record(record_body("a", 0, **{name: value}))
    except VerifyError:
        return
    assert parse_record(record.data) == record
