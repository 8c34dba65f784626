"""Bundles: which members may stand together, and that nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import VerifyError, parse_bundle, write_bundle
from sekisho_verify.canonical import decode, digest, encode
from sekisho_verify.errors import BundleError
from tests.verify.builders import TestLog, charter, facts, job_log, job_members, job_stream, record_body

MEMBERS = job_members(job_log(), seen_size=7)
CHARTER = f"charters/{digest(charter())[7:]}.json"


def edit(name: str, **changes: object) -> dict[str, bytes]:
    """Members with fields of one JSON object replaced; a change to None removes the field."""
    value = decode(MEMBERS[name])
    assert isinstance(value, dict)
    changed = {key: item for key, item in (value | changes).items() if item is not None}
    return MEMBERS | {name: encode(changed)}


def proofs(*entries: object) -> dict[str, bytes]:
    return MEMBERS | {"proofs.json": encode(list(entries))}


def without(name: str) -> dict[str, bytes]:
    return {key: data for key, data in MEMBERS.items() if key != name}


PROOFS = decode(MEMBERS["proofs.json"])
assert isinstance(PROOFS, list)
FIRST = PROOFS[0]


def test_a_bundle_reads_as_written() -> None:
    bundle = parse_bundle(write_bundle(MEMBERS))
    assert (bundle.manifest.records, len(bundle.records), len(bundle.proofs)) == (5, 5, 5)
    assert bundle.manifest.subject == bundle.records[0].resource
    assert set(bundle.charters) == {digest(charter())}
    assert set(bundle.facts) == {digest(facts())}
    assert set(bundle.files) == {digest(b"job file")}
    assert bundle.consistency
    assert bundle.consistency.from_size == 7
    assert bundle.details[0].level == 2


@pytest.mark.parametrize("name", ["bundle.json", "checkpoint", "proofs.json", "records/000002.json", CHARTER])
def test_a_missing_member_is_refused(name: str) -> None:
    with pytest.raises(BundleError):
        parse_bundle(write_bundle(without(name)))


@pytest.mark.parametrize(
    "name",
    [
        "extra",
        "records/5.json",
        "records/000005.json",
        "records/000001.JSON",
        "../etc/passwd",
        "charters/" + "0" * 64 + ".json",
        "facts/" + "0" * 64 + ".json",
        "files/" + "0" * 64,
        "bundle.json/",
    ],
)
def test_a_member_too_many_is_refused(name: str) -> None:
    data = charter(2) if name.startswith("charters") else facts(2)
    with pytest.raises(BundleError):
        parse_bundle(write_bundle(MEMBERS | {name: data}))


@pytest.mark.parametrize(
    ("members", "code"),
    [
        (edit("bundle.json", v=2), "bundle.manifest"),
        (edit("bundle.json", v=True), "bundle.manifest"),
        (edit("bundle.json", more=1), "bundle.manifest"),
        (edit("bundle.json", origin=None), "bundle.manifest"),
        (edit("bundle.json", origin=5), "bundle.manifest"),
        (edit("bundle.json", stream="x"), "bundle.manifest"),
        (edit("bundle.json", origin="other"), "bundle.origin"),
        (edit("bundle.json", stream="0" * 64), "bundle.foreign_record"),
        (edit("bundle.json", subject={"type": "Job", "id": "job_2"}), "bundle.subject"),
        (edit("bundle.json", subject=[]), "record.field"),
        (edit("bundle.json", first_index=11), "bundle.first_index"),
        (edit("bundle.json", first_index=-1), "bundle.number"),
        (edit("bundle.json", records=True), "bundle.number"),
        (edit("bundle.json", records=4), "bundle.records"),
        (edit("bundle.json", records=0), "bundle.empty"),
        (MEMBERS | {"bundle.json": b"[]"}, "canonical.not_object"),
        (MEMBERS | {"checkpoint": b"junk"}, "note.shape"),
        (proofs(*PROOFS[:4]), "bundle.proofs"),
        (proofs(*PROOFS, FIRST), "bundle.proofs"),
        (proofs(*PROOFS[1:], 5), "bundle.proofs"),
        (proofs(FIRST | {"more": 1}), "bundle.proofs"),
        (proofs(FIRST | {"path": "x"}), "bundle.path"),
        (proofs(FIRST | {"path": [5]}), "bundle.path"),
        (proofs(FIRST | {"path": [["x"]]}), "bundle.path"),
        (proofs(FIRST | {"path": ["AA"]}), "bundle.path"),
        (proofs(FIRST | {"path": ["A" * 42 + "B"]}), "canonical.base64"),
        (proofs(FIRST | {"index": -1}), "bundle.number"),
        (proofs(FIRST | {"stream_seq": False}), "bundle.number"),
        (MEMBERS | {"proofs.json": b"{}"}, "bundle.proofs"),
        (edit("consistency.json", more=1), "bundle.consistency"),
        (edit("consistency.json", from_size="7"), "bundle.number"),
        (edit("consistency.json", path={}), "bundle.path"),
        (edit(CHARTER, v=None), "bundle.charter"),
        (edit(CHARTER, v=True), "bundle.charter"),
        (edit(CHARTER, schema=5), "bundle.charter"),
        (edit(CHARTER, more="x"), "bundle.charter"),
        (MEMBERS | {CHARTER: b" {}"}, "canonical.spelling"),
        (edit("records/000001.json", stream="0" * 64), "bundle.foreign_record"),
        (edit("records/000001.json", id=job_stream()[0]["id"]), "bundle.duplicate_record"),
        (edit("records/000001.json", charter=digest(b"x")), "bundle.charters"),
        (edit("records/000001.json", detail={"level": 6}), "record.detail"),
    ],
)
def test_members_that_do_not_fit_together_are_refused(members: dict[str, bytes], code: str) -> None:
    with pytest.raises(VerifyError) as caught:
        parse_bundle(write_bundle(members))
    assert caught.value.code == code
    assert caught.value.exit_code == 10


def test_an_error_names_the_member_and_the_field() -> None:
    with pytest.raises(VerifyError) as caught:
        parse_bundle(write_bundle(edit("records/000003.json", salt="x")))
    assert caught.value.explain() == "records/000003.json salt: a field of the wrong shape [record.field]"


def test_a_territory_may_be_part_of_a_charter() -> None:
    body = encode({"v": 1, "schema": "s", "policies": "p", "territory": "t"})
    log = TestLog()
    log.append([record_body("a", 0, charter=digest(body))])
    assert parse_bundle(write_bundle(log.members("a", charters=[body]))).charters == {digest(body): body}


@pytest.mark.parametrize(
    "detail",
    [
        {"level": "2"},
        {"level": True},
        {"residency": "JP"},
        {"residency": ["Japan"]},
        {"residency": ["JP", "any"]},
        {"residency": [1]},
        {"sites": {}},
        {"sites": [1]},
        {"sites": [{"site": "a", "country": "JP", "decision": "allow", "rules": []}]},
        {"sites": [{"site": "a", "country": "JP", "decision": "yes", "rules": [], "chosen": True}]},
        {"sites": [{"site": "a", "country": "JP", "decision": "allow", "rules": "C", "chosen": True}]},
        {"sites": [{"site": "a", "country": "JP", "decision": "allow", "rules": ["a b"], "chosen": True}]},
        {"sites": [{"site": "a", "country": "JP", "decision": "allow", "rules": [], "chosen": 1}]},
        {
            "sites": [
                {"site": "a", "name": 5, "country": "JP", "decision": "allow", "rules": [], "chosen": True}
            ]
        },
        {"sites": [{"site": "a b", "country": "JP", "decision": "allow", "rules": [], "chosen": True}]},
        {"place": "here"},
        {"place": {"site": "a"}},
        {"place": {"site": "a", "country": "jp"}},
        {"canaries": []},
        {"canaries": {"udp": "shut"}},
        {"canaries": {"udp": 1}},
        {"canaries": {"tunnel": "closed"}},
        {"files": []},
        {"files": {"a": "b"}},
        {"message": "AAAA"},
        {"agent_key": "A" * 43},
        {"message": "AAAA", "agent_key": "AAAA"},
        {"message": "", "agent_key": "A" * 43},
        {"message": 1, "agent_key": "A" * 43},
        {"message": "A", "agent_key": "A" * 43},
    ],
)
def test_understood_details_have_their_shape(detail: dict[str, object]) -> None:
    with pytest.raises(VerifyError) as caught:
        parse_bundle(write_bundle(edit("records/000001.json", detail=detail)))
    assert caught.value.code == "record.detail"


@pytest.mark.parametrize("anywhere", ["any", ["any"]])
def test_a_residency_of_anywhere_restricts_nothing(anywhere: object) -> None:
    log = TestLog()
    log.append([record_body("a", 0, detail={"residency": anywhere})])
    assert parse_bundle(write_bundle(log.members("a"))).details[0].residency is None


def test_other_details_are_free() -> None:
    log = TestLog()
    log.append(
        [record_body("a", 0, detail={"residency": "any", "count": "many", "reason": 5, "mine": {"a": [1]}})]
    )
    assert parse_bundle(write_bundle(log.members("a"))).details[0].residency is None


@given(st.sampled_from(sorted(MEMBERS)), st.binary(max_size=60))
def test_no_other_exception_escapes(name: str, data: bytes) -> None:
    try:
        parse_bundle(write_bundle(MEMBERS | {name: data}))
    except VerifyError:
        return
    assert name.startswith("files/")


@given(st.binary(max_size=300))
def test_no_other_exception_escapes_from_bytes(data: bytes) -> None:
    with pytest.raises(VerifyError):
        parse_bundle(data)
