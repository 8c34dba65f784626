"""The charter the program ships with: what it promises, that every rule of it is needed, and an independent oracle."""

from __future__ import annotations

import random
import re
from typing import Any

import cedarpy
import pytest

from sekisho.charter import CharterError, schema_text
from sekisho.charter.compiled import Charter
from sekisho.kernel.facts import Moment, Ref, Request
from tests.charter import yard
from tests.charter.cases import CASES, expected

BENCH = yard.Bench()
PARTS = re.split(r"(?=^@id\()", yard.JAPAN, flags=re.MULTILINE)
RULES = [match[1] for part in PARTS if (match := re.match(r'@id\("([^"]+)"\)', part))]


def without(rule: str) -> str:
    return "".join(part for part in PARTS if not part.startswith(f'@id("{rule}")'))


@pytest.mark.parametrize(
    ("request_", "answer"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_request_gets_its_answer_and_the_rules_that_decide(request_: Request, answer: str) -> None:
    decision = BENCH.decide(request_)
    assert (decision.allowed, decision.rules) == expected(answer)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.startswith("C")])
def test_dropping_a_forbid_is_noticed(rule: str) -> None:
    bench = yard.Bench(without(rule))
    assert any(bench.decide(case[1]).allowed and not BENCH.decide(case[1]).allowed for case in CASES)


def test_it_validates_for_every_command_there_could_be() -> None:
    text = schema_text((*yard.program_specs(), *yard.every_command()))
    assert Charter(text, yard.JAPAN).policies


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ('forbid (principal, action in Action::"processing", resource) when { resource.levl > 2 };', "levl"),
        (
            'forbid (principal, action in Action::"processing", resource) when { resource.level > "2" };',
            "type",
        ),
        (
            'forbid (principal, action in Action::"operator_access", resource) when { context.approved_by.org == resource.owner };',
            "optional",
        ),
        ('forbid (principal, action == Action::"teleport", resource);', "action"),
    ],
)
def test_a_mistake_is_caught_by_the_schema(broken: str, why: str) -> None:
    with pytest.raises(CharterError) as caught:
        yard.charter(f'@id("broken") {broken}')
    assert caught.value.code == "charter.invalid"
    assert caught.value.params["rule"] == "broken"
    assert why in str(caught.value)


@pytest.mark.parametrize("kind", ["Site", "Key", "Org"])
def test_what_does_not_exist_is_a_no(kind: str) -> None:
    request = yard.place("ken", "j-public", "seoul-1", "k-platform", egress="open", attested=False)
    changes: dict[str, Any] = {
        "Site": {"context": {**request.context, "site": Ref("Site", "ghost")}},
        "Key": {"context": {**request.context, "key": Ref("Key", "ghost")}},
        "Org": {"resource": yard.data("Job", "j", "ghost", 0)},
    }
    ghost = yard.msgspec.structs.replace(request, **changes[kind])
    assert BENCH.decide(request).allowed
    decision = BENCH.decide(ghost)
    assert (decision.allowed, decision.rules) == (False, (f"closed:{kind}",))


def test_what_exists_but_leads_nowhere_is_a_no() -> None:
    bench = yard.Bench(changed=[yard.site("seoul-1", "KR", "ghost")])
    request = yard.place("ken", "j-public", "seoul-1", "k-platform", egress="open", attested=False)
    assert bench.decide(request).rules == ("closed:Org",)


def oracle(request: Request, world: Any) -> bool:
    """The rules for running a job, written down a second time in Python."""
    person: Any = request.principal.attributes
    job: Any = request.resource.attributes
    context: Any = request.context
    site, key = world[context["site"]].attributes, world[context["key"]].attributes
    operator, custodian = world[site["operator"]].attributes, world[key["custodian"]].attributes
    level = job["level"]

    def recent(moment: Moment | None, limit_ms: int) -> bool:
        return moment is not None and 0 <= request.now_ms - moment.ms <= limit_ms

    proof = site["proof"]
    placed = (
        proof["landmarks"] >= 3 and proof["foreign_margin_km"] > 0 and recent(proof["checked_at"], 900_000)
    )
    exposed = (
        operator["foreign_control_pct"] > 39
        or operator["parent_jurisdiction"] != "JP"
        or operator["legal_exposure"] & {"US-CLOUD-ACT", "US-FISA-702", "CN-NIL"}
    )
    shielded = (
        key["custody"] == "customer-hsm"
        and key["country"] == "JP"
        and key["grade"] >= 1
        and key["custodian"] != site["operator"]
        and custodian["parent_jurisdiction"] == "JP"
        and site["tee"]
        and recent(site.get("tee_attested_at"), 3_600_000)
        and proof["bound_to_tee"]
    )
    cleared = (
        "jp-esi" in person["clearances"]
        and "clearance_until" in person
        and request.now_ms < person["clearance_until"].ms
        and person["mfa"]
        and "jp-esi-certified-operator" in operator["certs"]
        and site["disconnected"]
    )
    declared = min(operator["grades"]["parent_jurisdiction"], operator["grades"]["foreign_control_pct"]) < 1
    return bool(
        "engineer" in person["roles"]
        and person["org"] == job["owner"]
        and ("any" in job["residency"] or site["country"] in job["residency"])
        and (level < 2 or placed)
        and (level < 3 or not exposed or shielded)
        and (level < 3 or not declared)
        and (cleared or (level != 4 and "key-economic-security" not in job["labels"]))
        and level < 5
        and "specially-designated-secret" not in job["labels"]
        and (level < 2 or context["egress"] in {"none", "allowlist-jp"})
        and (level < 3 or context["egress_attested"])
        and (level < 1 or site["wall"] != "none")
    )


def test_two_thousand_random_requests_agree_with_the_oracle() -> None:
    chance = random.Random(7)
    people = [one for one in yard.PEOPLE.values() if one.ref.type == "User"]
    jobs = [one for one in yard.THINGS.values() if one.ref.type == "Job"]
    world: Any = BENCH.world.entities
    sites, keys = ([ref for ref in world if ref.type == kind] for kind in ("Site", "Key"))
    allowed = 0
    for _ in range(2000):
        request = Request(
            principal=chance.choice(people),
            action="yard.job.place",
            resource=chance.choice(jobs),
            context={
                "site": chance.choice(sites),
                "key": chance.choice(keys),
                "egress": chance.choice(["none", "allowlist-jp", "open"]),
                "egress_attested": chance.random() < 0.5,
            },
            now_ms=yard.NOW + chance.choice([-600_000, 0, 1, 1_200_000, 7_200_000]),
        )
        if chance.random() < 0.7:  # most pairs of a person and another's job say little
            own = [job for job in jobs if job.attributes["owner"] == request.principal.attributes["org"]]
            request = yard.msgspec.structs.replace(request, resource=chance.choice(own or jobs))
        decision = BENCH.decide(request)
        assert decision.allowed == oracle(request, world), (request, decision)
        allowed += decision.allowed
    assert allowed > 100


def test_all_of_the_charter_at_once_says_the_same_as_the_policies_of_one_action() -> None:
    """The engine asks only the policies whose scope can match; Cedar, asked with all of them, agrees."""
    full = cedarpy.PolicySet.from_str(yard.JAPAN)
    for _, request, _ in CASES:
        plan = BENCH.charter.plan(request.action)
        assert plan is not None
        wide = yard.msgspec.structs.replace(plan, handle=full)
        BENCH.charter._plans[request.action] = wide
        whole = BENCH.decide(request, fresh=True)
        BENCH.charter._plans[request.action] = plan
        assert whole == BENCH.decide(request, fresh=True)
