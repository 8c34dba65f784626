"""Formulas say what Cedar says: the search and the explanations rest on that."""

from __future__ import annotations

import itertools
import random

import cedarpy
import msgspec
import pytest

from sekisho.charter.compiled import Charter, Plan
from sekisho.charter.conditions import Compiler
from sekisho.charter.formulas import UnsupportedError, Variable, both, either, every, negation, no, some, yes
from sekisho.charter.judge import ask, prepare, question
from sekisho.charter.policies import Policy, policy_set
from sekisho.charter.scene import Scene
from sekisho.kernel.facts import Entity, Moment, Ref, Request
from tests.charter import yard
from tests.charter.cases import CASES

BENCH = yard.Bench()
TEAM = Entity(Ref("Team", "core"), {"owner": Ref("Org", "maker")})


def by_cedar(charter: Charter, policy: Policy, request: Request) -> bool:
    """Whether this one policy applies, according to Cedar."""
    plan = charter.plan(request.action)
    assert plan is not None
    world = yard.world(TEAM)
    alone = msgspec.structs.replace(plan, handle=policy_set([policy]))
    asked = question(charter, world, alone, request)
    answer = ask(asked, prepare(charter, asked))
    assert not answer.errors, answer.errors
    return answer.reasons == (policy.key,)


def by_formula(charter: Charter, plan: Plan, policy: Policy, request: Request) -> bool | Variable:
    compiler = Compiler(charter.shapes, plan.action, request.principal.ref.type, request.resource.ref.type)
    return compiler.policy(policy)(Scene(yard.world(TEAM), request))


@pytest.mark.parametrize("request_", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_every_rule_of_the_shipped_charter_means_the_same(request_: Request) -> None:
    plan = BENCH.charter.plan(request_.action)
    assert plan is not None
    for policy in plan.policies:
        assert by_formula(BENCH.charter, plan, policy, request_) == by_cedar(
            BENCH.charter, policy, request_
        ), policy.id


CONDITIONS = (
    "resource.level == 2",
    "2 != resource.level",
    "resource.level < 3 || resource.level > 3",
    "3 <= resource.level",
    'context.egress == "none"',
    'context.egress != "open"',
    '["none", "open"].contains(context.egress)',
    'resource.labels.contains("personal")',
    'resource.labels.containsAll(["personal", "special-care"])',
    'resource.labels.containsAny(["personal", "trade-secret"])',
    "resource.labels.isEmpty()",
    "!resource.labels.isEmpty() && resource.residency.contains(context.site.country)",
    "context.egress_attested",
    "context.egress_attested == false",
    "context.egress_attested != context.site.tee",
    "principal has clearance_until",
    "principal has clearance_until && context.now < principal.clearance_until",
    "principal has clearance_until && principal.clearance_until <= context.now",
    'context.now.durationSince(context.site.proof.checked_at) <= duration("5m")',
    'duration("5m") > context.now.durationSince(context.site.proof.checked_at)',
    'context.site.proof.checked_at.durationSince(context.now) >= duration("-5m")',
    'context.now.offset(duration("-5m")) <= context.site.proof.checked_at',
    'context.now >= datetime("2026-11-20T03:00:00Z")',
    'datetime("2026-11-20") < context.now',
    "context.key.custodian == context.site.operator",
    "context.key.custodian != context.site.operator",
    'context.site == Site::"seoul-1"',
    'Site::"seoul-1" != context.site',
    "context.site.country == context.key.country",
    "context.site.operator.jurisdiction != context.site.operator.parent_jurisdiction",
    'principal == User::"mio"',
    "principal is User",
    'principal is User in Team::"core"',
    'principal in Team::"core"',
    "resource is Job && resource.level < 2",
    "resource is Dataset",
    'if principal has clearance_until then principal.mfa else context.egress == "open"',
    "if principal is Service then principal.level == 2 else resource.level == 2",
    'principal has roles && (principal has nothing || principal.roles.contains("engineer"))',
    "context has site && context.site has tee_attested_at",
    "context has nothing",
    "principal == resource.owner || true",
    "false",
    "resource == context.site || resource.level == 1",
)


def requests() -> list[Request]:
    """Requests that differ in everything these conditions look at."""
    chance = random.Random(11)
    people = [
        yard.PEOPLE["mio"],
        yard.PEOPLE["jun"],
        yard.PEOPLE["eng"],
        Entity(Ref("User", "eng"), yard.PEOPLE["eng"].attributes, (TEAM.ref,)),
        yard.user("weak", "maker", mfa=False),
    ]
    labels = [
        frozenset(some_)
        for n in range(3)
        for some_ in itertools.combinations(("personal", "special-care"), n)
    ]
    found = []
    for _ in range(40):
        job = yard.data("Job", "j", "maker", chance.randrange(5), labels=chance.choice(labels))
        where = chance.choice(["seoul-1", "ishikari-1", "osaka-telco", "tokyo-stale", "tokyo-us"])
        egress = chance.choice(["none", "open", "allowlist-jp"])
        with_key = chance.choice(["k-north-hsm", "k-keyhouse", "k-us-hsm"])
        request = yard.place(
            "ken", "j-public", where, with_key, egress=egress, attested=chance.random() < 0.5
        )
        now_ms = yard.NOW + chance.choice([-1, 0, 1, 300_000, -300_000, 3_600_000])
        found.append(
            msgspec.structs.replace(request, principal=chance.choice(people), resource=job, now_ms=now_ms)
        )
    return found


REQUESTS = requests()
LOOSE = {"principal == resource.owner || true", "resource == context.site || resource.level == 1"}


@pytest.mark.parametrize(
    "condition", [one for one in CONDITIONS if one not in LOOSE and "nothing" not in one]
)
@pytest.mark.parametrize("clause", ["when", "unless"])
def test_every_operator_means_the_same(condition: str, clause: str) -> None:
    scope = "principal is User, action, resource is Job"
    if "Service" in condition:
        condition = condition.replace("principal.level", "resource.level")
    text = f'@id("x") permit ({scope}) {clause} {{ {condition} }};'
    charter = Charter(yard.SCHEMA, text.replace("action,", 'action == Action::"yard.job.place",'))
    plan = charter.plan("yard.job.place")
    assert plan is not None
    answers = [by_formula(charter, plan, charter.policies[0], request) for request in REQUESTS]
    assert answers == [by_cedar(charter, charter.policies[0], request) for request in REQUESTS]
    assert all(isinstance(answer, bool) for answer in answers)


@pytest.mark.parametrize(
    "scope",
    [
        'principal == User::"mio", action, resource',
        'principal in Team::"core", action, resource',
        'principal is User in Team::"core", action, resource',
        "principal is Service, action, resource",
        'principal, action in [Action::"processing", Action::"at_rest"], resource is Job',
        'principal, action == Action::"yard.job.place", resource == Job::"j"',
        'principal, action == Action::"yard.data.store", resource',
    ],
)
def test_every_scope_means_the_same(scope: str) -> None:
    charter = Charter(yard.SCHEMA, f'@id("x") permit ({scope});')
    plan = charter.plan("yard.job.place")
    assert plan is not None
    policy = charter.policies[0]
    for request in REQUESTS:
        assert by_formula(charter, plan, policy, request) == by_cedar(charter, policy, request)


@pytest.mark.parametrize(
    "condition",
    [
        "resource.level + 1 == 2",
        "resource.level * 2 < 4",
        'context.egress like "allow*"',
        "resource.labels == resource.residency",
        "resource.labels.containsAll(resource.residency)",
        "context.site.proof.landmarks > context.site.proof.bound_km",
        "context.site.proof == context.site.proof",
        'context.site.proof.checked_at < datetime("2026-11-20")',
        "context.now.durationSince(context.site.proof.checked_at).toMilliseconds() > 5",
        'context.site.proof.checked_at.durationSince(context.site.proof.checked_at) < duration("1h")',
        "context.now == context.now",
        '["a"].containsAny(resource.labels)',
        "principal in resource.owner",
    ],
)
def test_what_formulas_cannot_say_they_refuse(condition: str) -> None:
    charter = Charter(yard.SCHEMA, '@id("x") permit (principal, action, resource);')
    action = charter.shapes.actions["yard.job.place"]
    text = f"permit (principal, action, resource) when {{ {condition} }};"
    body = msgspec.json.decode(cedarpy.policies_to_json_str(text))["staticPolicies"]["policy0"]
    node = body["conditions"][0]["body"]
    if "datetime(" in condition:
        formula = Compiler(charter.shapes, action, "User", "Job").formula
    else:
        formula = Compiler(charter.shapes, action, "User", "Job").formula
    with pytest.raises(UnsupportedError):
        formula(node)


def test_connectives_decide_as_soon_as_they_can() -> None:
    here = Variable("flag", ("a",))

    def unknown(_given: object) -> Variable:
        return here

    nothing: dict[Variable, object] = {}
    assert both(unknown, lambda _given: False)(nothing) is False
    assert both(lambda _given: True, unknown)(nothing) is here
    assert both(unknown, lambda _given: True)(nothing) is here
    assert either(unknown, lambda _given: True)(nothing) is True
    assert either(lambda _given: False, unknown)(nothing) is here
    assert negation(unknown)(nothing) is here
    assert (every([]), some([])) == (yes, no)
    assert every([yes, no]) is no
    assert some([no, yes]) is yes
    assert Moment(1).ms == 1
