"""Decisions made again: the same answer for what the control plane decided, another for what a log made up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sekisho_verify import Verdict, parse_trust, reevaluation, section_charter, verify_bundle, write_bundle
from sekisho_verify.canonical import digest, encode
from sekisho_verify.errors import Exit
from sekisho_verify.reevaluation import Charter, ReplayError, read_facts
from tests.verify.builders import Body, TestLog, record_body

ATTRIBUTES: dict[str, Any] = {
    "Org": {"country": {"type": "String", "required": True}},
    "User": {
        "id": {"type": "String", "required": True},
        "org": {"type": "Entity", "name": "Org", "required": True},
        "roles": {"type": "Set", "element": {"type": "String"}, "required": True},
        "seen": {"type": "Extension", "name": "datetime", "required": False},
    },
    "Site": {"country": {"type": "String", "required": True}},
    "Job": {
        "level": {"type": "Long", "required": True},
        "residency": {"type": "Set", "element": {"type": "String"}, "required": True},
        "box": {
            "type": "Record",
            "attributes": {
                "id": {"type": "String", "required": True},
                "type": {"type": "String", "required": True},
            },
            "required": False,
        },
    },
}
SCHEMA = json.dumps(
    {
        "": {
            "entityTypes": {
                name: {"memberOfTypes": [], "shape": {"type": "Record", "attributes": attributes}}
                for name, attributes in ATTRIBUTES.items()
            },
            "actions": {
                "place": {
                    "memberOf": [],
                    "appliesTo": {
                        "principalTypes": ["User"],
                        "resourceTypes": ["Job"],
                        "context": {
                            "type": "Record",
                            "attributes": {
                                "now": {"type": "Extension", "name": "datetime", "required": True},
                                "site": {"type": "Entity", "name": "Site", "required": False},
                                "destination": {"type": "String", "required": False},
                            },
                        },
                    },
                }
            },
        }
    }
)
POLICIES = """
@id("P1-engineer")
permit (principal, action, resource) when { principal.roles.contains("engineer") };
@id("C1-fresh")
forbid (principal, action, resource)
when { principal has seen && context.now.durationSince(principal.seen) > duration("1h") };
"""
CHARTER = encode({"v": 1, "schema": SCHEMA, "policies": POLICIES})
TIME = "2026-11-20T05:03:11.000Z"
TIME_MS = 1_795_150_991_000


def ref(kind: str, name: str) -> Body:
    return {"type": kind, "id": name}


def entity(kind: str, name: str, **attributes: object) -> Body:
    return {"ref": ref(kind, name), "attributes": attributes, "parents": []}


def facts(
    *, level: int = 2, country: str = "JP", context: Body | None = None, **user: object
) -> dict[str, Any]:
    values: Body = {"org": ref("Org", "o"), "roles": ["engineer"]}
    return {
        "v": 1,
        "action": "place",
        "context": {"site": ref("Site", "s")} if context is None else context,
        "entities": [entity("Org", "o", country="JP"), entity("Site", "s", country=country)],
        "principal": entity("User", "u", **(values | user)),
        "resource": entity("Job", "j", level=level, residency=["JP"]),
    }


@pytest.mark.parametrize(
    ("changed", "allowed", "rules"),
    [
        (facts(), True, {"P1-engineer"}),
        (facts(roles=[]), False, {"no-permit"}),
        (facts(seen={"ms": TIME_MS - 3_600_000}), True, {"P1-engineer"}),
        (facts(seen={"ms": TIME_MS - 3_600_001}), False, {"C1-fresh"}),
        (facts(country="US"), False, {"floor"}),
        (facts(country=""), False, {"floor"}),
        (facts(country="US", level=1), True, {"P1-engineer"}),
        (facts(context={"destination": "US"}), False, {"floor"}),
        (facts(context={"destination": "JP"}), True, {"P1-engineer"}),
        (facts(context={}), True, {"P1-engineer"}),
        (facts(org=ref("Org", "other")), False, {"closed:Org"}),
        (facts(context={"site": ref("Site", "none")}), False, {"closed:Site"}),
        (facts() | {"action": "unknown"}, False, {"closed:Action"}),
        (
            facts() | {"resource": entity("Job", "j", level=1, residency=["any"], box=ref("Org", "x"))},
            True,
            {"P1-engineer"},
        ),
        (
            facts(country="US") | {"resource": entity("Job", "j", level=4, residency=["any"])},
            True,
            {"P1-engineer"},
        ),
    ],
)
def test_the_charter_answers_as_it_did(changed: dict[str, Any], allowed: bool, rules: set[str]) -> None:
    assert Charter(CHARTER).decide(changed, TIME) == (allowed, rules)


def test_a_policy_that_errors_is_a_no() -> None:
    erring = (
        POLICIES
        + '@id("C2-seen") forbid (principal, action, resource) when { principal.seen > context.now };'
    )
    charter = Charter(encode({"v": 1, "schema": SCHEMA, "policies": erring}))
    assert charter.decide(facts(), TIME) == (False, {"evaluation"})
    late = facts(seen={"ms": TIME_MS + 1})
    assert charter.decide(late, TIME) == (False, {"C2-seen"})


def test_without_cedar_nothing_is_made_again_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho_verify.reevaluation.ENGINE", "no_such_engine")
    found = verdict(encode(facts()))
    assert found.holds
    assert code(found) == "charter.no_engine"
    assert "not_reevaluated" in found.not_proven


def test_one_charter_serves_many_records() -> None:
    log = TestLog()
    fact = encode(facts())
    values: Body = {"charter": digest(CHARTER), "facts": digest(fact), "time": TIME, "rules": ["P1-engineer"]}
    log.append(record_body("s", number, **values) for number in range(3))
    members = log.members("s", charters=[CHARTER], facts=[fact])
    found = verify_bundle(write_bundle(members), parse_trust(log.trust()))
    (line,) = [line for line in found.lines if line.part == "charter"]
    assert line.fields == {"made": 3, "records": 3}


def test_more_decisions_than_any_job_has_end_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    fact = encode(facts())
    monkeypatch.setattr(section_charter, "WORK_BYTES_MAX", 2 * (len(fact) + len(CHARTER)))
    log = TestLog()
    values: Body = {"charter": digest(CHARTER), "facts": digest(fact), "time": TIME, "rules": ["P1-engineer"]}
    log.append(record_body("s", number, **values) for number in range(5))
    found = verify_bundle(
        write_bundle(log.members("s", charters=[CHARTER], facts=[fact])), parse_trust(log.trust())
    )
    assert code(found) == "charter.work"
    (line,) = [line for line in found.lines if line.part == "charter"]
    assert line.fields["where"] == "records/000002.json"


def test_a_charter_that_cannot_be_read_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bytes] = []

    def refuse(data: bytes) -> Charter:
        tried.append(data)
        raise ReplayError("charter.unreadable", "no")

    monkeypatch.setattr(reevaluation, "Charter", refuse)
    fact = encode(facts())
    log = TestLog()
    log.append(record_body("s", number, charter=digest(CHARTER), facts=digest(fact)) for number in range(3))
    found = verify_bundle(
        write_bundle(log.members("s", charters=[CHARTER], facts=[fact])), parse_trust(log.trust())
    )
    assert (code(found), len(tried)) == ("charter.unreadable", 1)


def verdict(fact: bytes, record: Body | None = None, *, charter: bytes = CHARTER) -> Verdict:
    log = TestLog()
    values: Body = {"charter": digest(charter), "facts": digest(fact), "time": TIME, "rules": ["P1-engineer"]}
    log.append([record_body("s", 0, **(values | (record or {})))])
    members = log.members("s", charters=[charter], facts=[fact])
    return verify_bundle(write_bundle(members), parse_trust(log.trust()))


def code(found: Verdict) -> str:
    (line,) = [line for line in found.lines if line.part == "charter"]
    return str(line.fields.get("reason", line.code))


DENIED: Body = {"decision": "deny", "outcome": "denied", "effects": []}


@pytest.mark.parametrize(
    ("fact", "record", "expected"),
    [
        (facts(), {}, "charter.same"),
        (facts(), {"rules": ["P2"]}, "charter.other_rules"),
        (facts(roles=[]), {}, "charter.other_decision"),
        (facts(roles=[]), DENIED | {"rules": ["no-permit"]}, "charter.same"),
        (facts(), DENIED | {"rules": ["no-permit"]}, "charter.other_decision"),
        (facts(seen={"ms": TIME_MS}), {"time": "2026-11-20T06:03:11.001Z"}, "charter.other_decision"),
        (facts() | {"resource": entity("Job", "j", level="2", residency=[])}, {}, "charter.facts"),
        (facts(more="x"), {}, "charter.facts"),
        (facts(more="x"), DENIED | {"rules": ["malformed"]}, "charter.same"),
        (facts() | {"entities": [5]}, {}, "charter.facts"),
        (facts() | {"principal": {}}, {}, "charter.facts"),
    ],
)
def test_a_record_is_what_its_charter_and_facts_lead_to(fact: Body, record: Body, expected: str) -> None:
    found = verdict(encode(fact), record)
    assert code(found) == expected
    assert found.exit_code is (Exit.HOLDS if expected == "charter.same" else Exit.DECISION)
    assert ("not_reevaluated" in found.not_proven) == (expected != "charter.same")
    assert ("rest_read" in found.not_proven) == (expected == "charter.same")


def test_a_charter_that_cedar_cannot_read_fails() -> None:
    for schema, policies in (("x", POLICIES), (SCHEMA, "no policy"), ("{}", POLICIES), ("[]", POLICIES)):
        broken = encode({"v": 1, "schema": schema, "policies": policies})
        assert code(verdict(encode(facts()), charter=broken)) == "charter.unreadable"
        with pytest.raises(ReplayError):
            Charter(broken)


def test_facts_of_another_shape_are_left_alone() -> None:
    assert read_facts(None) is None
    assert read_facts(b"x") is None
    assert read_facts(encode({"action": "a", "principal": {}, "resource": {}, "v": 1})) is None
    assert read_facts(encode(facts() | {"v": 2})) is None
    found = verdict(encode({"number": 1}))
    assert not [line for line in found.lines if line.part == "charter"]
    assert "not_reevaluated" in found.not_proven
