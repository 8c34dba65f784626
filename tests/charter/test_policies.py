"""What is read off a charter's text: spans and moments, use of the time, use of identity, and the lint."""

from __future__ import annotations

from typing import Literal

import cedarpy
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.charter import CharterError, lint
from sekisho.charter.policies import (
    POLICIES_MAX,
    Node,
    instant_ms,
    looks_at_identity,
    now_use,
    read_policies,
    span_ms,
)
from tests.charter import yard


def node(expression: str) -> Node:
    text = f"permit (principal, action, resource) when {{ {expression} }};"
    form = msgspec.json.decode(cedarpy.policies_to_json_str(text))
    found: Node = form["staticPolicies"]["policy0"]["conditions"][0]["body"]
    return found


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0s", 0),
        ("15m", 900_000),
        ("15ms", 15),
        ("1d2h3m4s5ms", 93_784_005),
        ("-4h", -14_400_000),
        ("-1m1ms", -60_001),
    ],
)
def test_a_span_is_read_as_cedar_reads_it(text: str, ms: int) -> None:
    assert span_ms(node(f'duration("{text}")')) == ms
    assert span_ms(node(f'datetime("{text}")')) is None
    result = cedarpy.is_authorized(
        {"principal": 'U::"a"', "action": 'Action::"b"', "resource": 'R::"c"', "context": {}},
        f'permit (principal, action, resource) when {{ duration("{text}").toMilliseconds() == {ms} }};',
        "[]",
    )
    assert result.allowed


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-02", 86_400_000),
        ("2026-11-20T03:00:00Z", yard.NOW),
        ("2026-11-20T03:00:00.001Z", yard.NOW + 1),
        ("2026-11-20T12:00:00+0900", yard.NOW),
    ],
)
def test_a_moment_is_read_as_cedar_reads_it(text: str, ms: int) -> None:
    assert instant_ms(node(f'datetime("{text}")')) == ms
    assert instant_ms(node(f'duration("{text}")')) is None


def test_a_span_that_is_none_is_none() -> None:
    assert span_ms(node('duration("soon")')) is None
    assert span_ms(node("resource")) is None


@given(st.text(max_size=60))
def test_text_that_is_no_charter_is_refused_with_one_code(text: str) -> None:
    try:
        assert read_policies(text)
    except CharterError as error:
        assert error.code == "charter.unreadable"  # noqa: PT017 - some text is a charter


def test_a_charter_has_policies_and_not_too_many() -> None:
    one = "permit (principal, action, resource);"
    assert len(read_policies(one * POLICIES_MAX)) == POLICIES_MAX
    assert [policy.key for policy in read_policies(one * 12)][9:] == ["policy9", "policy10", "policy11"]
    for text in ("", "// nothing", one * (POLICIES_MAX + 1)):
        with pytest.raises(CharterError):
            read_policies(text)


@pytest.mark.parametrize(
    ("expression", "simple"),
    [
        ("resource.level > 1", True),
        ("context.now < principal.until", True),
        ("principal.until >= context.now", True),
        ('context.now < datetime("2026-11-20")', True),
        ('context.now.durationSince(resource.at) <= duration("1h")', True),
        ('duration("1h") > resource.at.durationSince(context.now)', True),
        ('context.now.offset(duration("1h")) < resource.at', True),
        ("context has now && context.now == resource.at", True),
        ("if context.now < resource.at then principal.mfa else false", True),
        ("context.now == context.now", False),
        ("context == resource.context", False),
        ("resource.log.contains(context.now)", False),
        ('context.now < resource.at.offset(duration("1h"))', False),
        ("context.now.durationSince(resource.at) < resource.span", False),
        ('context.now.toDate() < datetime("2026-11-20")', False),
        ("context.now.offset(resource.span) < resource.at", False),
        ("{a: context}.a.b", False),
        ("resource.at(context.now)", False),
    ],
)  # fmt: skip
def test_which_use_of_the_time_has_breakpoints(expression: str, simple: bool) -> None:
    try:
        policies = read_policies(f"permit (principal, action, resource) when {{ {expression} }};")
    except CharterError:
        assert not simple
        return
    assert now_use(policies).simple is simple


def test_every_span_counts_both_ways() -> None:
    use = now_use(yard.charter().policies)
    assert use.offsets_ms == tuple(
        sorted({sign * ms for ms in (0, 900_000, 3_600_000, 14_400_000) for sign in (1, -1)})
    )
    assert use.literals_ms == ()


@pytest.mark.parametrize(
    ("policy", "variable", "tells"),
    [
        ("permit (principal, action, resource);", "principal", False),
        ('permit (principal == User::"a", action, resource);', "principal", True),
        ('permit (principal in Team::"a", action, resource);', "principal", True),
        ('permit (principal is User in Team::"a", action, resource);', "principal", True),
        ("permit (principal is User, action, resource);", "principal", False),
        ('permit (principal, action, resource == Job::"a");', "resource", True),
        ("permit (principal, action, resource) when { principal.mfa };", "principal", False),
        ('permit (principal, action, resource) when { principal.id == "a" };', "principal", True),
        ("permit (principal, action, resource) when { principal.org.id == resource.a };", "principal", False),
        ("permit (principal, action, resource) when { principal is User };", "principal", False),
        ('permit (principal, action, resource) when { principal is User in Team::"a" };', "principal", True),
        ("permit (principal, action, resource) when { principal has id };", "principal", False),
        ("permit (principal, action, resource) when { context.by == principal };", "principal", True),
        ("permit (principal, action, resource) when { [principal].contains(context.by) };", "principal", True),
        ("permit (principal, action, resource) when { {a: resource}.a.level == 1 };", "resource", True),
        ("permit (principal, action, resource) when { resource == principal.site };", "resource", True),
        ("permit (principal, action, resource) when { resource == principal.site };", "principal", False),
    ],
)  # fmt: skip
def test_which_rules_can_tell_two_ids_apart(
    policy: str, variable: Literal["principal", "resource"], tells: bool
) -> None:
    assert looks_at_identity(read_policies(policy), variable) is tells


def test_policies_of_an_action_are_those_of_its_groups() -> None:
    charter = yard.charter()
    replicate = charter.shapes.actions["yard.data.replicate"]
    named = {policy.id for policy in charter.policies if policy.speaks_of(replicate)}
    assert named >= {"P01-engineer", "C01-residency-rest", "C06-appi28", "C04-key-custody", "C07-clearance"}
    assert not named & {"C01-residency", "P12-public", "C10-export"}


# ------------------------------------------------------------------------------------------------------------ lint

SPAN = "context.now.durationSince(resource.at)"


@pytest.mark.parametrize(
    ("condition", "good"),
    [
        (f'{SPAN} >= duration("0s") && {SPAN} <= duration("1h")', True),
        (f'{SPAN} > duration("-1s") && duration("1h") >= {SPAN}', True),
        (f'{SPAN} < duration("0s") || {SPAN} > duration("1h")', True),
        (f'{SPAN} <= duration("1h")', False),
        (f'{SPAN} >= duration("0s")', False),
        (f'{SPAN} <= duration("1h") && {SPAN} <= duration("2h")', False),
        (f'{SPAN} == duration("1h")', False),
        (f"{SPAN}.toMilliseconds() < 5", False),
        (f'{SPAN} <= duration("1h") && context.now.durationSince(resource.b) >= duration("0s")', False),
        ("context.now < resource.at", True),
        ("true", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("clause", ["when", "unless"])
def test_a_span_has_both_bounds(condition: str, good: bool, clause: str) -> None:
    policy = read_policies(f"permit (principal, action, resource) {clause} {{ {condition} }};")[0]
    assert lint.unbounded(policy) is not good


PERMIT, FORBID = "permit (principal, action, resource);", "forbid (principal, action, resource);"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (PERMIT, "needs an @id"),
        (f'@id("") {PERMIT}', "needs an @id"),
        (f'@id("a") @stores_jp("store.example.jp") {PERMIT}', "needs IP networks"),
        (f'@id("a") @stores_jp {PERMIT}', "needs IP networks"),
        (f'@id("two words") {PERMIT}', "needs an @id"),
        (f'@id("a") {PERMIT} @id("a") {PERMIT}', "more than once"),
        (f'@id("floor") {PERMIT}', "reserved"),
        (f'@id("closed") {PERMIT}', "reserved"),
        (f'@id("X1") {FORBID}', "sentence"),
        (f'@id("X1") @en("no") {FORBID}', "sentence"),
        (
            f'@id("X1") permit (principal, action, resource) when {{ {SPAN} <= duration("1h") }};',
            "both bounds",
        ),
    ],
)
def test_the_lint_names_the_rule_and_the_fault(text: str, what: str) -> None:
    with pytest.raises(CharterError) as caught:
        lint.check(read_policies(text))
    assert caught.value.code == "charter.lint"
    assert what in str(caught.value)


def test_the_lint_lets_good_charters_pass() -> None:
    lint.check(yard.charter().policies)
    lint.check(read_policies(f'@id("X1") @en("no") @ja("不可です。") {FORBID} @id("C01-more") {FORBID}'))
