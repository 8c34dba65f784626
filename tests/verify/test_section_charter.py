"""Decisions made again: the same answer for what the control plane decided, another for what a log made up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sekisho_verify import Verdict, parse_trust, reevaluation, section_charter, verify_bundle, write_bundle
from sekisho_verify.canonical import digest, encode
from sekisho_verify.errors import Exit
from sekisho_verify.reevaluation import Charter, ReplayError, read_facts
from tests.verify.builders import Body, TestLog, make_id, record_body

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
                "compute.job.submit": {
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
    *, level: int = 2, country: str = "JP", context: Body | None = None, job: str = "", **user: object
) -> dict[str, Any]:
    values: Body = {"org": ref("Org", "o"), "roles": ["engineer"]}
    return {
        "v": 1,
        "action": "compute.job.submit",
        "context": {"site": ref("Site", "s")} if context is None else context,
        "entities": [entity("Org", "o", country="JP"), entity("Site", "s", country=country)],
        "principal": entity("User", make_id("usr", 1), **(values | user)),
        "resource": entity("Job", job, level=level, residency=["JP"]),
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
            facts() | {"resource": entity("Job", "", level=1, residency=["any"], box=ref("Org", "x"))},
            True,
            {"P1-engineer"},
        ),
        (
            facts(country="US") | {"resource": entity("Job", "", level=4, residency=["any"])},
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
        (facts() | {"resource": entity("Job", "", level="2", residency=[])}, {}, "charter.facts"),
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


CHOSEN: Body = {"site": "s", "country": "JP", "decision": "allow", "rules": [], "chosen": True}


@pytest.mark.parametrize(
    ("fact", "record", "expected"),
    [
        (facts(), {"action": "compute.job.cancel"}, ["charter.other_action"]),
        (facts(), {"actor": make_id("usr", 2)}, ["charter.other_principal"]),
        (facts(), {"actor": make_id("svc", 1)}, ["charter.other_principal"]),
        (facts(), {"actor": "system"}, ["charter.other_principal"]),
        (facts(), {"resource": {"type": "Site", "id": "s"}}, ["charter.other_resource"]),
        (facts(job=make_id("job", 1)), {}, []),
        (facts(job=make_id("job", 2)), {}, ["charter.other_resource"]),
        (facts(), {"detail": {"sites": [CHOSEN]}}, []),
        (facts(), {"detail": {"sites": [CHOSEN | {"site": "t"}]}}, ["charter.other_site"]),
        (facts(context={}), {"detail": {"sites": [CHOSEN]}}, []),
        (
            facts(),
            {"action": "compute.job.cancel", "actor": "system", "rules": ["P9"]},
            ["charter.other_action", "charter.other_principal", "charter.other_rules"],
        ),
        (facts(), DENIED | {"rules": ["submitter"]}, []),
        (facts(), DENIED | {"rules": ["submitter", "P1-engineer"]}, ["charter.other_decision"]),
    ],
)
def test_a_decision_is_about_what_its_record_is_about(
    fact: dict[str, Any], record: Body, expected: list[str]
) -> None:
    """One line for each thing that contradicts the record; ids that no rule reads are left out of facts."""
    found = verdict(encode(fact), record)
    lines = [line for line in found.lines if line.part == "charter"]
    assert [line.fields["reason"] for line in lines if line.exit_code] == expected
    assert found.holds is not bool(expected)


PLACING = json.dumps(json.loads(SCHEMA)).replace("compute.job.submit", "compute.job.place")


@pytest.mark.parametrize(
    ("fact", "record", "expected"),
    [
        (facts(), {}, []),
        (facts(), {"detail": {"level": 2}}, []),
        (facts(level=1), {"detail": {"level": 2}}, ["charter.other_level"]),
        (facts(), {"action": "data.key.release", "resource": {"type": "Key", "id": "k"}}, []),
        (facts(), {"action": "data.key.rotate"}, ["charter.other_action"]),
        (facts(job=make_id("job", 2)), {"action": "data.key.release"}, ["charter.other_resource"]),
    ],
)
def test_what_is_decided_for_the_submitter_is_about_the_submitters_job(
    fact: dict[str, Any], record: Body, expected: list[str]
) -> None:
    fact["action"] = "compute.job.place"
    charter, encoded, log = encode({"v": 1, "schema": PLACING, "policies": POLICIES}), encode(fact), TestLog()
    named: Body = {
        "charter": digest(charter),
        "facts": digest(encoded),
        "rules": ["P1-engineer"],
        "time": TIME,
    }
    first = {"charter": digest(charter)}
    values: Body = {"actor": "system", "action": "compute.job.place", **named, **record}
    log.append([record_body("s", 0, **first), record_body("s", 1, **values)])
    slices = [encoded, encode({"principal": make_id("usr", 1), "number": 0})]
    found = verify_bundle(
        write_bundle(log.members("s", charters=[charter], facts=slices)), parse_trust(log.trust())
    )
    if expected == ["charter.other_action"]:
        expected = ["charter.other_action", "charter.other_principal"]
    assert [line.fields["reason"] for line in found.lines if line.exit_code] == expected


@pytest.mark.parametrize(
    ("action", "asked", "kind", "holds"),
    [
        ("kernel.proposal.approve", "kernel.proposal.approve", "Proposal", True),
        ("kernel.proposal.approve", "kernel.proposal.approve", "Charter", False),
        ("sites.territory.set", "sites.territory.set", "Charter", True),
        ("compute.job.cancel", "compute.array.cancel", "Job", True),
        ("compute.array.cancel", "compute.job.cancel", "Job", False),
    ],
)
def test_some_actions_are_asked_about_one_thing_and_recorded_of_another(
    action: str, asked: str, kind: str, holds: bool
) -> None:
    fact = facts()
    fact["action"], fact["resource"]["ref"] = asked, ref(kind, "p" if kind != "Job" else "")
    schema = SCHEMA.replace('"compute.job.submit"', f'"{asked}"').replace('"Job"', f'"{kind}"')
    charter = encode({"v": 1, "schema": schema, "policies": POLICIES})
    assert (code(verdict(encode(fact), {"action": action}, charter=charter)) == "charter.same") is holds


def test_the_systems_rounds_ask_about_the_queue() -> None:
    """And nobody else may."""
    schema = SCHEMA.replace('"User"', '"System"')
    charter = encode({"v": 1, "schema": schema, "policies": POLICIES})
    fact = facts()
    fact["principal"]["ref"] = ref("System", "")
    fact["resource"]["ref"] = ref("Job", "another")
    assert code(verdict(encode(fact), {"actor": "system"}, charter=charter)) == "charter.same"


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 101 + "true" + ")" * 101,
        "(" * 5000 + "true" + ")" * 5000,
        "[" * 5000 + "]" * 5000 + " == []",
        "//\r" + "(" * 5000 + "true" + ")" * 5000,
        " && ".join(["true"] * 1100),
        "if true then " * 6000 + "true" + " else true" * 6000,
    ],
    ids=["just", "round", "square", "comment", "chain", "if"],
)
def test_a_charter_nested_without_end_is_one_failure(condition: str) -> None:
    """Cedar would run out of stack, which ends the process."""
    policies = "permit (principal, action, resource) when { " + condition + " };"
    charter = encode({"v": 1, "schema": SCHEMA, "policies": policies})
    assert code(verdict(encode(facts()), charter=charter)) == "charter.nesting"


def test_brackets_in_strings_and_comments_nest_nothing() -> None:
    odd = (
        POLICIES
        + "// "
        + "(" * 200
        + "\n"
        + f'forbid (principal, action, resource) when {{ "{"(" * 200}" == "" }};'
    )
    assert (
        code(verdict(encode(facts()), charter=encode({"v": 1, "schema": SCHEMA, "policies": odd})))
        == "charter.same"
    )


@pytest.mark.parametrize("schema", ["[" * 100_000, '{"":' * 100_000, '"\\ud800"'])
def test_a_schema_nested_without_end_is_one_failure(schema: str) -> None:
    charter = encode({"v": 1, "schema": schema, "policies": POLICIES})
    assert code(verdict(encode(facts()), charter=charter)) == "charter.unreadable"


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
