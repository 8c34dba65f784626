"""The engine: what it remembers is what it would decide again, and every doubt is a no."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from typing import Any

import cedarpy
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.charter import NO_CHARTER, CharterEngine, CharterError
from sekisho.charter.convert import cedar_entity, cedar_value, encoder
from sekisho.charter.lru import Lru
from sekisho.kernel.facts import SYSTEM, Entity, Moment, Ref, Request
from tests.charter import yard
from tests.charter.cases import CASES

PLACE = yard.place("mio", "j-gov2", "ishikari-1", "k-north-hsm")
BENCH = yard.Bench()


class Stub:
    """A transaction for the engine alone: a facts version, and the row of the charter in force."""

    def __init__(self, version: int = 1, policies: str = "", schema: str = yard.SCHEMA) -> None:
        self.version = version
        self.row = {"policies": policies, "schema_text": schema} if policies else None
        self.asked = 0

    def facts_version(self) -> int:
        return self.version

    def one(self, sql: str, /, **params: Any) -> Any:
        del sql, params
        self.asked += 1
        return self.row


class Source:
    """A source that counts how often it is read."""

    def __init__(self, entities: Iterable[Entity] = yard.SLOW) -> None:
        self.found = list(entities)
        self.read = 0

    def entities(self, tx: Any) -> Iterable[Entity]:
        del tx
        self.read += 1
        return list(self.found)


def tx(version: int = 1, policies: str = yard.JAPAN) -> Any:
    return Stub(version, policies)


# ------------------------------------------------------------------------------------------ remembered and fresh

OFFSETS = st.sampled_from([0, 1, -1, 900_000, 900_001, 899_999, 3_600_000, -3_600_000, 123_456, 14_400_000])


def turns(engine: CharterEngine, bench: yard.Bench, request: Request) -> None:
    """Ask around every breakpoint, remembered and fresh, there and back."""
    durations = (0, 900_000, 3_600_000, 14_400_000, 5_000)
    facts = encoder.encode([request.principal, request.resource, request.context])
    known = [one.ms for one in _moments(msgspec.json.decode(facts))]
    site = bench.world.entities.get(request.context.get("site"))  # type: ignore[arg-type] - a place, or nothing
    known += [one.ms for one in _moments(msgspec.json.decode(encoder.encode(site)))] if site else []
    times = sorted(
        {m + sign * d + step for m in known for d in durations for sign in (1, -1) for step in (-1, 0, 1)}
    )
    for now_ms in (*times, *reversed(times)):
        asked = msgspec.structs.replace(request, now_ms=now_ms)
        remembered = engine.decide_under(bench.charter, bench.world, asked)
        assert remembered == bench.engine.decide_under(bench.charter, bench.world, asked, fresh=True), now_ms


def _moments(value: Any) -> Iterable[Moment]:
    if isinstance(value, dict):
        if value.keys() == {"ms"}:
            yield Moment(value["ms"])
        for part in value.values():
            yield from _moments(part)
    elif isinstance(value, list):
        for part in value:
            yield from _moments(part)


@settings(max_examples=25)
@given(checked=OFFSETS, attested=OFFSETS, until=OFFSETS, level=st.integers(0, 5), secret=st.booleans())
def test_remembered_equals_fresh_around_every_breakpoint(
    *, checked: int, attested: int, until: int, level: int, secret: bool
) -> None:
    changed = yard.site(
        "tokyo-us",
        "JP",
        "us-cloud-jp",
        proof=yard.proof(checked_at=Moment(yard.NOW - checked)),
        tee_attested_at=Moment(yard.NOW - attested),
        disconnected=True,
    )
    bench = yard.Bench(changed=[changed])
    person = yard.user(
        "mio", "ministry", "engineer", clearances=yard.ESI, clearance_until=Moment(yard.NOW - until)
    )
    labels = frozenset({"key-economic-security"}) if secret else frozenset[str]()
    work = yard.job(level=level, labels=labels)
    request = msgspec.structs.replace(
        yard.place("mio", "j-gov2", "tokyo-us", "k-keyhouse"), principal=person, resource=work
    )
    turns(CharterEngine([]), bench, request)


@settings(max_examples=20)
@given(hours=st.integers(-1, 6))
def test_an_approval_is_remembered_for_exactly_its_time(hours: int) -> None:
    turns(CharterEngine([]), BENCH, yard.enter("op-jp", "d-care", hours=hours))


NOW_RULES = {
    "a date": 'context.now < datetime("2026-11-20T03:00:00Z")',
    "a date, turned round": 'datetime("2026-11-20") >= context.now',
    "the time since a date": 'context.now.durationSince(datetime("2026-11-20T02:59:00Z")) <= duration("1m")',
    "a shifted now": 'context.now.offset(duration("5s")) >= context.site.proof.checked_at',
    "the time until a fact": 'context.site.proof.checked_at.durationSince(context.now) <= duration("5s")',
}


@pytest.mark.parametrize("condition", NOW_RULES.values(), ids=NOW_RULES.keys())
def test_every_simple_use_of_now_is_remembered_rightly(condition: str) -> None:
    bench = yard.Bench(
        f'@id("x") permit (principal, action in Action::"processing", resource) when {{ {condition} }};'
    )
    plan = bench.charter.plan("yard.job.place")
    assert plan is not None
    assert plan.now.simple
    engine = CharterEngine([])
    turns(engine, bench, PLACE)
    for now_ms in range(yard.NOW - 65_000, yard.NOW + 65_000, 4_999):
        turns(engine, bench, msgspec.structs.replace(PLACE, now_ms=now_ms))
        break
    for step in (-60_001, -60_000, -59_999, -1, 0, 1):
        asked = msgspec.structs.replace(PLACE, now_ms=yard.NOW + step)
        assert engine.decide_under(bench.charter, bench.world, asked) == bench.decide(asked, fresh=True)


OTHER_NOW_RULES = {
    "time of day": 'context.now.toTime() < duration("12h")',
    "a shifted fact": 'context.now.durationSince(context.site.proof.checked_at.offset(duration("1h"))) < duration("1h")',
    "a span against a span": (
        "context.now.durationSince(context.site.proof.checked_at)"
        " < context.site.proof.checked_at.durationSince(context.now)"
    ),
    "milliseconds": "context.now.durationSince(context.site.proof.checked_at).toMilliseconds() < 5",
}


@pytest.mark.parametrize("condition", OTHER_NOW_RULES.values(), ids=OTHER_NOW_RULES.keys())
def test_any_other_use_of_now_is_not_remembered(condition: str) -> None:
    bench = yard.Bench(
        f'@id("x") permit (principal, action in Action::"processing", resource) when {{ {condition} }};'
    )
    plan = bench.charter.plan("yard.job.place")
    assert plan is not None
    assert not plan.now.simple
    turns(CharterEngine([]), bench, PLACE)


def test_jobs_that_differ_in_their_id_alone_are_one_decision() -> None:
    engine = CharterEngine([])
    found = [
        engine.decide_under(
            BENCH.charter,
            BENCH.world,
            msgspec.structs.replace(PLACE, resource=yard.data("Job", f"job-{number}", "ministry", 2)),
        )
        for number in range(5)
    ]
    assert all(one is found[0] for one in found)


def test_where_ids_are_compared_they_are_part_of_the_facts() -> None:
    one = yard.export("a-weights", "JP", "rie", "sho")
    other = msgspec.structs.replace(one, principal=yard.user("rie", "maker", "releaser"))
    assert BENCH.decide(one).allowed
    assert BENCH.decide(other).rules == ("C10-export",)
    assert BENCH.decide(one).facts != BENCH.decide(other).facts


def test_own_things_are_told_by_id() -> None:
    token = Entity(Ref("Token", "t"), {"owner": Ref("Org", "maker"), "holder": "eng"})
    account = Entity(Ref("Account", "eng"), {"owner": Ref("Org", "maker")})
    for who, allowed in (("eng", True), ("lea", False)):
        for action, thing in (("yard.token.revoke", token), ("yard.account.rename", account)):
            assert BENCH.decide(yard.ask(who, action, thing)).allowed is allowed


def test_the_body_of_the_facts_has_their_digest_and_is_canonical() -> None:
    for _, request, _ in CASES:
        decision = BENCH.decide(request)
        body = BENCH.engine.facts_body(decision)
        assert body is not None
        assert decision.facts == "sha256:" + hashlib.sha256(body).hexdigest()
        assert encoder.encode(msgspec.json.decode(body)) == body
        assert {"action", "context", "entities", "principal", "resource", "v"} == msgspec.json.decode(
            body
        ).keys()


def test_what_is_remembered_is_bounded() -> None:
    engine = CharterEngine([], memo_slices=3)
    decisions = [
        engine.decide_under(
            BENCH.charter,
            BENCH.world,
            msgspec.structs.replace(PLACE, resource=yard.data("Job", "j", "ministry", level)),
        )
        for level in range(5)
    ]
    assert [engine.facts_body(decision) is None for decision in decisions] == [
        True,
        True,
        False,
        False,
        False,
    ]
    cache: Lru[int, int] = Lru(2)
    for number in range(4):
        cache.put(number, number)
    assert (len(cache), cache.get(1), cache.get(3)) == (2, None, 3)


def test_threads_agree() -> None:
    engine = CharterEngine([], memo_slices=8)
    wrong: list[object] = []
    expected = [BENCH.decide(case[1]) for case in CASES]

    def work(offset: int) -> None:
        for index in range(len(CASES)):
            number = (index * 7 + offset) % len(CASES)
            if engine.decide_under(BENCH.charter, BENCH.world, CASES[number][1]) != expected[number]:
                wrong.append(CASES[number][0])

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---------------------------------------------------------------------------------------------- every doubt is a no


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"action": "yard.nothing.there"}, "closed:Action"),
        ({"context": {**PLACE.context, "now": Moment(0)}}, "malformed"),
        ({"context": {k: v for k, v in PLACE.context.items() if k != "egress"}}, "malformed"),
        ({"context": {**PLACE.context, "more": 1}}, "malformed"),
        ({"resource": yard.job(level="2")}, "malformed"),
        ({"resource": yard.job(level=None)}, "malformed"),
        ({"resource": yard.job(level=1.0)}, "malformed"),
        ({"resource": yard.job(level=2**53)}, "malformed"),
        ({"resource": yard.job(labels=frozenset({1}))}, "malformed"),
        ({"resource": yard.job(labels=frozenset({"\ud800"}))}, "malformed"),
        ({"resource": yard.job(more="x")}, "malformed"),
        ({"resource": Entity(Ref("Job", "j"), {"owner": Ref("Org", "ministry")})}, "malformed"),
        ({"resource": Entity(Ref("Job", "j"), None)}, "malformed"),  # type: ignore[arg-type] - on purpose
        ({"resource": yard.THINGS["d-care"]}, "malformed"),
        ({"principal": yard.user("mio", "ministry", "engineer", mfa="yes")}, "malformed"),
        ({"principal": yard.user("mio", "ministry", "engineer", id="mio")}, "malformed"),
        (
            {"principal": yard.user("mio", "ministry", "engineer", clearance_until=Moment(10**18))},
            "malformed",
        ),
        ({"principal": Entity(Ref("Stranger", "s"), {})}, "malformed"),
        ({"now_ms": 10**18}, "malformed"),
    ],
)
def test_a_request_that_does_not_fit_is_a_no_with_a_rule_and_facts(
    changes: dict[str, Any], rule: str
) -> None:
    request = msgspec.structs.replace(PLACE, **changes)
    for fresh in (False, True):
        decision = BENCH.decide(request, fresh=fresh)
        assert (decision.allowed, decision.rules) == (False, (rule,))
        body = BENCH.engine.facts_body(decision)
        assert body is not None
        assert decision.facts == "sha256:" + hashlib.sha256(body).hexdigest()
        assert b"null" not in body
    assert BENCH.sentences(request)[0][0] == rule


HALF: Any = 1.5
BROKEN = (
    yard.site("ishikari-1", "JP", "north-gpu", wall=7),
    yard.site("ishikari-1", "JP", "north-gpu", more=HALF),
)


def test_a_slow_entity_that_does_not_fit_is_a_no() -> None:
    for broken in BROKEN:
        bench = yard.Bench(changed=[broken])
        assert bench.decide(PLACE).rules == ("malformed",)
        assert "Site" in bench.sentences(PLACE)[0][1]


def test_a_rule_that_cannot_be_evaluated_is_a_no() -> None:
    largest = 2**53 - 1
    text = (
        '@id("open") permit (principal, action, resource);'
        '@id("over") @en("x") @ja("x") forbid (principal, action in Action::"processing", resource)'
        f" when {{ resource.level * {largest} * {largest} * {largest} > 1 }};"
    )
    bench = yard.Bench(text)
    assert bench.decide(PLACE).rules == ("evaluation",)
    deny = (
        text
        + '@id("shut") @en("x") @ja("x") forbid (principal, action, resource) when { resource has level };'
    )
    assert yard.Bench(deny).decide(PLACE).rules == ("shut", "evaluation")


def test_the_floor_holds_whatever_the_charter_says() -> None:
    bench = yard.Bench('@id("open") permit (principal, action, resource);')
    abroad = yard.place("mio", "j-gov2", "seoul-1", "k-platform", egress="open", attested=False)
    assert bench.decide(abroad).rules == ("floor",)
    low = msgspec.structs.replace(abroad, resource=yard.data("Job", "j", "ministry", 1))
    assert bench.decide(low).allowed
    assert bench.decide(yard.export("a-weights", "KR")).rules == ("floor",)
    assert bench.decide(yard.infer("m-care", "seoul-1", 1)).rules == ("floor",)
    everywhere = yard.data("Job", "j", "ministry", 3, residency=frozenset({"any"}))
    assert bench.decide(msgspec.structs.replace(abroad, resource=everywhere)).allowed


def test_groups_hold_because_the_schema_is_passed() -> None:
    """Cedar itself, given entities without the schema, lets a group's forbid vanish; the engine does not."""
    request = yard.store("ken", "d-internal", "seoul-1", "k-keyhouse")
    parts = [
        cedar_entity(entity, BENCH.charter.shapes)
        for entity in (*BENCH.world.entities.values(), request.resource)
    ]
    context = {
        **cedar_value(request.context),
        "now": {"__extn": {"fn": "datetime", "arg": "2026-11-20T03:00:00Z"}},
    }
    bare = cedarpy.Entities.from_json_str(encoder.encode(parts).decode())
    raw = cedarpy.is_authorized(
        {
            "principal": {"type": "User", "id": "ken"},
            "action": {"type": "Action", "id": "yard.data.store"},
            "resource": {"type": "Dataset", "id": "d-internal"},
            "context": context,
        },
        cedarpy.PolicySet.from_str("permit (principal, action, resource);" + yard.JAPAN),
        bare,
    )
    assert raw.allowed
    assert BENCH.decide(request).rules == ("C01-residency-rest",)


def test_one_can_act_on_oneself() -> None:
    text = '@id("self") permit (principal, action, resource) when { principal == resource };'
    schema = yard.schema_text((yard.spec("yard.user.see", "view", resource="User"),))
    charter = CharterEngine([]).compiled(schema, text)
    mio = yard.PEOPLE["mio"]
    for other, allowed in ((mio, True), (yard.PEOPLE["aya"], False)):
        request = yard.ask("mio", "yard.user.see", other)
        assert BENCH.engine.decide_under(charter, BENCH.world, request).allowed is allowed


def test_two_nameless_things_of_one_type_stay_two() -> None:
    text = '@id("roles") permit (principal, action, resource is User) when { resource.roles.contains("engineer") };'
    schema = yard.schema_text((yard.spec("yard.user.see", "view", resource="User"),))
    charter = CharterEngine([]).compiled(schema, text)
    for what, allowed in (("eng", True), ("nobody", False)):
        request = yard.ask("lea", "yard.user.see", yard.PEOPLE[what])
        assert BENCH.engine.decide_under(charter, BENCH.world, request).allowed is allowed


def test_teams_are_groups() -> None:
    text = '@id("team") permit (principal in Team::"core", action, resource);'
    charter = CharterEngine([]).compiled(yard.SCHEMA, text)
    team = Entity(Ref("Team", "core"), {"owner": Ref("Org", "maker")})
    nobody: list[Entity] = []
    inside = Entity(Ref("User", "eng"), yard.PEOPLE["eng"].attributes, (team.ref,))
    for person, members, rules in (
        (inside, [team], ("team",)),
        (yard.PEOPLE["eng"], [team], ("no-permit",)),
        (inside, nobody, ("closed:Team",)),
    ):
        request = yard.ask(person, "yard.job.show", "j-internal")
        assert BENCH.engine.decide_under(charter, yard.world(*members), request).rules == rules


# ------------------------------------------------------------------------------------------ transactions and worlds


def test_before_the_first_charter_only_genesis_happens() -> None:
    engine = CharterEngine([Source()])
    genesis = Request(
        principal=Entity(SYSTEM.ref),
        action="identity.genesis",
        resource=Entity(Ref("Charter", "c")),
        context={},
        now_ms=0,
    )
    none = tx(policies="")
    decision = engine.decide(none, genesis)
    assert (decision.allowed, decision.rules, decision.charter) == (True, ("genesis",), NO_CHARTER)
    assert engine.facts_body(decision)
    for other in (
        msgspec.structs.replace(genesis, principal=yard.PEOPLE["mio"]),
        msgspec.structs.replace(genesis, action="charter.version.draft"),
    ):
        decision = engine.decide(none, other)
        assert (decision.allowed, decision.rules) == (False, ("no-charter",))
        assert engine.explain(none, other, decision)[0].rule == "no-charter"


def test_sources_are_read_once_per_facts_version() -> None:
    source = Source()
    engine = CharterEngine([source])
    first, second = tx(1), tx(2)
    assert engine.decide(first, PLACE).allowed
    assert engine.decide(first, PLACE).allowed
    assert (source.read, first.asked) == (1, 1)
    source.found = [
        yard.site("ishikari-1", "KR", "north-gpu"),
        *(one for one in yard.SLOW if one.ref.id != "ishikari-1"),
    ]
    assert engine.decide(first, PLACE).allowed
    assert not engine.decide(second, PLACE).allowed
    assert source.read == 2


def test_an_allowed_request_needs_no_explanation() -> None:
    engine = CharterEngine([Source()])
    assert engine.explain(tx(), PLACE, engine.decide(tx(), PLACE)) == ()


def test_two_sources_must_not_contradict_each_other() -> None:
    same, other = Source(), Source([yard.org("maker", votes=99)])
    assert CharterEngine([same, Source()]).decide(tx(), PLACE).allowed
    with pytest.raises(CharterError) as caught:
        CharterEngine([same, other]).decide(tx(), PLACE)
    assert caught.value.code == "charter.world"
