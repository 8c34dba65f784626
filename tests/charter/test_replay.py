"""A recorded decision asked again: from its facts alone the other charter says what it would have said itself."""

from __future__ import annotations

import functools
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.charter import replay
from sekisho.charter.convert import Slice, encode_entities, encoder
from sekisho.charter.model_replay import Recorded
from sekisho.kernel.facts import Decision, Entity, Moment, Ref, Request, Value
from tests.charter import cases, yard

FORBIDS = [text for text in re.split(r"(?=^@id\()", yard.JAPAN, flags=re.MULTILINE) if "\nforbid" in text]
BY_NAME = 'forbid (principal == User::"ken", action, resource);'
DRAFTS = (
    yard.JAPAN,
    yard.JAPAN.replace('duration("15m")', 'duration("2h")'),
    yard.JAPAN.replace("C02-location-proof", "C99-renamed"),
    yard.JAPAN.replace('principal.roles.contains("engineer")', "false"),
    *(yard.JAPAN.replace(text, "") for text in FORBIDS),
)


@functools.lru_cache
def bench(policies: str = yard.JAPAN) -> yard.Bench:
    return yard.Bench(policies)


def recorded(request: Request, decision: Decision, facts: bytes | None) -> Recorded:
    return Recorded(
        index=7,
        id="rec_x",
        time_ms=request.now_ms,
        action=request.action,
        allowed=decision.allowed,
        rules=decision.rules,
        charter=decision.charter,
        facts_digest=decision.facts,
        facts=facts,
    )


def decided(request: Request) -> Recorded:
    """As the ledger has it: decided under the shipped charter, with the body that the record names."""
    decision = bench().decide(request)
    return recorded(request, decision, bench().engine.facts_body(decision))


REQUESTS = [request for _, request, _ in cases.CASES]


@pytest.mark.parametrize("policies", DRAFTS, ids=range(len(DRAFTS)))
def test_every_draft_says_what_it_would_have_said(policies: str) -> None:
    asked = 0
    for request in REQUESTS:
        before = decided(request)
        now = bench(policies).decide(request, fresh=True)
        answer = replay.again(bench(policies).charter, before)
        if answer.verdict in {"nameless", "unfit"}:
            continue
        asked += 1
        if now.allowed != before.allowed:
            assert (answer.verdict, answer.rules) == ("allowed" if now.allowed else "denied", now.rules)
        else:
            assert answer.verdict == ("same" if now.rules == before.rules else "rules")
    assert asked > len(REQUESTS) * 0.9


def test_a_charter_that_looks_at_names_cannot_be_asked_without_them() -> None:
    ken = next(request for request in REQUESTS if request.principal.ref == Ref("User", "ken"))
    assert replay.again(bench().charter, decided(ken)).verdict == "same"
    draft = yard.charter(yard.JAPAN + f'@id("C90-ken")\n{BY_NAME}')
    assert replay.again(draft, decided(ken)).verdict == "nameless"


def test_what_has_no_facts_is_said_to_have_none() -> None:
    request = REQUESTS[0]
    whole = decided(request)
    for facts, erased, verdict in (
        (None, False, "missing"),
        (None, True, "erased"),
        (b'{"action":"a.b","principal":{},"resource":{},"v":1}', False, "unfit"),
        (b"[]", False, "unfit"),
        (b"\xff", False, "unfit"),
    ):
        changed = msgspec.structs.replace(whole, facts=facts, erased=erased)
        assert replay.again(bench().charter, changed).verdict == verdict


def test_an_action_the_draft_does_not_know_and_facts_of_another_shape() -> None:
    whole = decided(REQUESTS[0])
    assert whole.facts is not None
    unknown = whole.facts.replace(REQUESTS[0].action.encode(), b"yard.job.unknown")
    answer = replay.again(bench().charter, msgspec.structs.replace(whole, facts=unknown, allowed=True))
    assert (answer.verdict, answer.rules) == ("denied", ("closed:Action",))
    for old, new in ((b'"level":', b'"degree":'), (b'"wall":"bubblewrap"', b'"wall":1')):
        other = whole.facts.replace(old, new)
        assert other != whole.facts
        changed = msgspec.structs.replace(whole, facts=other)
        assert replay.again(bench().charter, changed).verdict == "unfit"


def test_rows_that_look_alike_are_one_with_a_few_examples() -> None:
    rows = [
        (
            msgspec.structs.replace(decided(REQUESTS[0]), id=f"rec_{number}", rules=("P01",)),
            replay.Answer("denied" if number % 3 else "same", ("C90",), "site_a"),
        )
        for number in range(30)
    ]
    (row,) = replay.gathered(rows)
    assert (row.verdict, row.count, row.before, row.after) == ("denied", 20, ("P01",), ("C90",))
    assert row.records == ("rec_1", "rec_2", "rec_4", "rec_5", "rec_7")


SCALARS = st.one_of(
    st.text(max_size=5),
    st.integers(-(2**52), 2**52),
    st.booleans(),
    st.frozensets(st.text(max_size=3), max_size=3),
    st.builds(Moment, st.integers(0, 2**45)),
    st.builds(Ref, st.sampled_from(["Org", "Site"]), st.text(max_size=4)),
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.one_of(SCALARS, st.dictionaries(st.sampled_from("ghij"), SCALARS, max_size=3)),
    max_size=5,
)
ENTITIES = st.builds(
    Entity,
    st.builds(Ref, st.sampled_from(["User", "Job"]), st.text(max_size=4)),
    ATTRIBUTES,
    st.lists(st.builds(Ref, st.just("Team"), st.text(max_size=3)), max_size=2).map(tuple),
)


@given(principal=ENTITIES, resource=ENTITIES, context=ATTRIBUTES, slow=st.lists(ENTITIES, max_size=3))
def test_what_is_read_back_is_what_was_written(
    principal: Entity, resource: Entity, context: dict[str, Value], slow: list[Entity]
) -> None:
    distinct = {entity.ref: entity for entity in slow}
    body = encoder.encode(Slice("a.b", context, encode_entities(distinct.values()), principal, resource))
    request, world = replay.read_slice(body, 5)
    assert (request.principal, request.resource, request.context, request.now_ms) == (
        principal,
        resource,
        context,
        5,
    )
    own = {entity.ref: entity for entity in (principal, resource) if entity.ref.id}
    assert world.entities == own | distinct
