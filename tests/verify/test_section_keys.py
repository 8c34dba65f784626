"""Releases of keys in a bundle: told with key, custodian and number, and refused where a record does not bear them."""

from __future__ import annotations

from typing import Any

import pytest

from sekisho_verify import parse_bundle, write_bundle
from sekisho_verify.canonical import digest, encode
from sekisho_verify.errors import Exit
from sekisho_verify.lines import Case, Line
from sekisho_verify.section_keys import check
from tests.verify.builders import TestLog, record_body

PROOF = digest(b"a proof of place")
ORDER = {
    "kind": "sekisho.key.order",
    "key": "patients",
    "key_version": 2,
    "custodian": "hospital",
    "proof": PROOF,
}
KEY = {"custody": "customer-hsm", "country": "JP"}


def evidence(**changes: Any) -> dict[str, Any]:
    """A decision that released a key."""
    return {"v": 1, "order": ORDER, "released": True, "reason": "", "key": KEY} | changes


def lines_of(
    *decisions: dict[str, Any],
    level: int = 2,
    files: dict[str, bytes] | None = None,
    lost: bool = False,
    **record: Any,
) -> list[Line]:
    """What the section says of a stream with these decisions in it."""
    log, kept, bodies = (
        TestLog(),
        {"location.json": b"a proof of place"} if files is None and decisions else dict(files or {}),
        [record_body("s", 0, detail={"level": level} if level >= 0 else {})],
    )
    for number, body in enumerate(decisions, 1):
        data = encode(body)
        named = {"key_release.json": digest(data)} | {name: digest(content) for name, content in kept.items()}
        detail = {"order": digest(encode(body.get("order", {}))), "files": named} | record.get("detail", {})
        values = {"action": "data.key.release", **record, "detail": detail}
        bodies.append(record_body("s", number, **values))
    log.append(bodies)
    contents = [*kept.values(), *([] if lost else map(encode, decisions))]
    return check(
        Case(parse_bundle(write_bundle(log.members("s", files=list(dict.fromkeys(contents))))), None)
    )


def test_releases_of_one_key_are_one_line_with_their_number() -> None:
    other = evidence(order=ORDER | {"attempt": "second"})
    (line,) = lines_of(evidence(), other)
    assert (line.state, line.code, line.grade) == ("ok", "key_release.released", "D")
    assert dict(line.fields) == {
        "key": "patients",
        "version": 2,
        "custodian": "hospital",
        "custody": "customer-hsm",
        "country": "JP",
        "count": 2,
    }
    assert line.leaves_open == ("custodian_word",)


def test_a_development_key_is_never_shown_as_custody() -> None:
    (line,) = lines_of(evidence(key=KEY | {"custody": "development"}))
    assert (line.state, line.code, line.leaves_open) == (
        "note",
        "key_release.development",
        ("development_key",),
    )


def test_a_refusal_is_told_with_its_reason() -> None:
    refused = evidence(released=False, reason="key.stopped")
    (line,) = lines_of(refused, decision="deny", outcome="denied", effects=[])
    assert (line.state, line.code, line.fields["reason"]) == ("note", "key_release.refused", "key.stopped")


def test_without_any_it_is_absent() -> None:
    assert [line.code for line in lines_of()] == ["absent.key_release"]


@pytest.mark.parametrize(
    ("body", "more", "code"),
    [
        (evidence(), {"lost": True}, "key.evidence_missing"),
        (evidence(), {"detail": {"order": digest(b"other")}}, "key.order_differs"),
        (evidence(), {"decision": "deny", "outcome": "denied", "effects": []}, "key.decision_differs"),
        (evidence(), {"outcome": "failed", "effects": []}, "key.decision_differs"),
        (evidence(released=False, reason="key.stopped"), {}, "key.decision_differs"),
        (evidence(reason="key.stopped"), {}, "key.decision_differs"),
        (evidence(released=False), {"outcome": "failed", "effects": []}, "key.decision_differs"),
        (evidence(order=ORDER | {"proof": ""}), {}, "key.without_proof"),
        (evidence(order=ORDER | {"proof": ""}), {"level": -1}, "key.without_proof"),
        (evidence(), {"files": {"location.json": b"another proof"}}, "key.other_proof"),
        (evidence(), {"files": {}}, "key.other_proof"),
        (evidence(v=2), {}, "key.shape"),
        (evidence(released="yes"), {}, "key.shape"),
        (evidence(order=[]), {}, "key.shape"),
        (evidence(key="k"), {}, "key.shape"),
        (evidence(reason=1), {}, "key.shape"),
        (evidence(order=ORDER | {"key_version": "2"}), {}, "key.shape"),
        (evidence(order=ORDER | {"custodian": 1}), {}, "key.shape"),
    ],
)
def test_what_its_record_does_not_bear_fails(body: dict[str, Any], more: dict[str, Any], code: str) -> None:
    (line,) = lines_of(body, **more)
    assert (line.state, line.exit_code, line.fields["reason"]) == ("failed", Exit.KEY, code)


def test_evidence_that_is_not_canonical_fails() -> None:
    log, data = TestLog(), b'{"v": 1}'
    named = {"files": {"key_release.json": digest(data)}}
    log.append([record_body("s", 0), record_body("s", 1, detail=named)])
    (line,) = check(Case(parse_bundle(write_bundle(log.members("s", files=[data]))), None))
    assert line.fields["reason"] == "key.shape"


def test_the_proof_that_it_rested_on_is_named_or_not_needed() -> None:
    named = {"location.json": b"a proof of place"}
    assert [line.state for line in lines_of(evidence(), files=named)] == ["ok"]
    assert [line.state for line in lines_of(evidence(order=ORDER | {"proof": ""}), level=1)] == ["ok"]
