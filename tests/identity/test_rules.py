"""Tokens, scopes, sources, windows, facts: pure rules, by table and by property."""

from __future__ import annotations

import hashlib
import secrets
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.identity import rules
from sekisho.kernel.errors import InvalidInputError
from sekisho.kernel.facts import Moment, Ref
from sekisho.kernel.ids import new_id

WORD = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=6).map(
    lambda text: "a" + text
)
SCOPE = st.lists(WORD, min_size=1, max_size=4).map(".".join)
SCOPES = st.lists(SCOPE, max_size=6)
MOMENT = st.integers(0, 1 << 45)


def token() -> rules.TokenText:
    return rules.TokenText("pat", new_id("tok", 1_700_000_000_000)[4:], secrets.token_urlsafe(32))


# --------------------------------------------------------------------------------------------------- tokens
def test_a_token_reads_back_from_its_text() -> None:
    made = token()
    assert rules.parse_token(made.text) == made
    assert made.text.startswith("sekisho_pat_")


@given(st.text(max_size=200))
def test_other_texts_are_no_tokens(text: str) -> None:
    parsed = rules.parse_token(text)
    assert parsed is None or parsed.text == text


@given(st.integers(0, 83), st.characters())
def test_one_changed_character_never_matches(position: int, character: str) -> None:
    made = token()
    text = made.text[:position] + character + made.text[position + 1 :]
    if text != made.text:
        assert not rules.matches(text, rules.digest(made.text)) or rules.parse_token(text) is None


def test_nothing_matches_nothing_stored() -> None:
    assert not rules.matches("", None)
    assert not rules.matches("x", "")
    assert rules.matches("x", rules.digest("x"))
    assert rules.digest("x") == hashlib.sha256(b"x").hexdigest()


def test_comparison_is_the_constant_time_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    def compare(left: str, right: str) -> bool:
        seen.append((left, right))
        return left == right

    monkeypatch.setattr(rules.hmac, "compare_digest", compare)
    rules.matches("guess", None)
    rules.matches("guess", rules.digest("secret"))
    assert [(len(left), len(right)) for left, right in seen] == [(64, 64), (64, 64)]


# --------------------------------------------------------------------------------------------------- scopes
@given(SCOPES)
def test_clean_scopes_cover_exactly_what_was_given(scopes: list[str]) -> None:
    cleaned = rules.clean_scopes(scopes)
    assert all(any(rules._covers(wide, scope) for wide in cleaned) for scope in scopes)
    assert set(cleaned) <= set(scopes)
    assert rules.clean_scopes(cleaned) == cleaned


@given(SCOPES, SCOPES, SCOPE)
def test_a_token_within_another_allows_no_more(scopes: list[str], holder: list[str], action: str) -> None:
    cleaned = rules.clean_scopes(scopes)
    if (
        cleaned
        and rules.scopes_within(cleaned, frozenset(holder))
        and any(rules._covers(s, action) for s in cleaned)
    ):
        assert any(rules._covers(own, action) for own in holder)


def test_no_scopes_means_everything_and_is_never_within_a_narrowed_token() -> None:
    assert rules.scopes_within((), None)
    assert not rules.scopes_within((), frozenset({"compute"}))
    assert not rules.scopes_within((), frozenset())


@pytest.mark.parametrize(
    "scope", ["", "Compute", "compute.", ".compute", "compute..job", "compute job", "*", "c\n"]
)
def test_scopes_are_actions_or_prefixes(scope: str) -> None:
    with pytest.raises(InvalidInputError):
        rules.clean_scopes([scope])


def test_scopes_are_bounded() -> None:
    with pytest.raises(InvalidInputError):
        rules.clean_scopes([f"a{number}" for number in range(51)])


# --------------------------------------------------------------------------------------------------- texts
@given(st.text(max_size=60))
def test_clean_text_is_visible_and_stable(text: str) -> None:
    try:
        cleaned = rules.clean_text("name", text)
    except InvalidInputError:
        return
    assert cleaned == cleaned.strip() == unicodedata.normalize("NFC", cleaned)
    assert cleaned
    assert cleaned.isprintable() or any(unicodedata.category(c) == "Zs" for c in cleaned)
    assert rules.clean_text("name", cleaned) == cleaned


@pytest.mark.parametrize("text", ["山田 太郎", "辻\U000e0100", "Ōe", "O'Neil-田中"])
def test_real_names_are_taken(text: str) -> None:
    assert rules.clean_text("name", text) == text


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\u202eb", "a\ud800", "a\u0000", "a\u2028b", "\u200b"])
def test_invisible_characters_are_not(text: str) -> None:
    with pytest.raises(InvalidInputError):
        rules.clean_text("name", text)


# ------------------------------------------------------------------------------------------------- windows
@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "other:unix"),
        ("x" * 100, "other:" + "x" * 64),
    ],
)
def test_sources_are_counted_by_who_owns_them(source: str, key: str) -> None:
    assert rules.source_key(source) == key


@given(st.integers(0, 1000), MOMENT, st.integers(-(10**7), 10**7))
def test_a_wait_is_positive_bounded_and_ends(failures: int, window_ms: int, delta: int) -> None:
    now_ms = max(0, window_ms + delta)
    wait = rules.seconds_to_wait(failures, window_ms, now_ms)
    assert wait >= 0
    if wait:
        assert failures >= rules.FAILURES_MAX
        assert rules.seconds_to_wait(failures, window_ms, now_ms + wait * 1000) == 0


def test_the_last_millisecond_of_a_window_still_waits() -> None:
    most, length = rules.FAILURES_MAX, rules.FAILURE_WINDOW_MS
    assert rules.seconds_to_wait(most, 0, length - 1) == 1
    assert rules.seconds_to_wait(most, 0, length) == 0
    assert rules.seconds_to_wait(most - 1, 0, 1) == 0


@given(MOMENT, st.integers(0, rules.SESSION_MS_MAX))
def test_a_session_slides_but_not_for_ever(created_ms: int, age_ms: int) -> None:
    end_ms = rules.session_end_ms(created_ms, created_ms + age_ms)
    assert end_ms <= created_ms + rules.SESSION_MS_MAX
    assert end_ms <= created_ms + age_ms + rules.SESSION_IDLE_MS
    assert end_ms >= created_ms + age_ms


# --------------------------------------------------------------------------------------------------- facts
def fact(value: str | int | bool | list[str], grade: str = "D", expires_ms: int = 0) -> rules.Fact:
    return rules.Fact(value, grade, "usr_x", "", 0, expires_ms)


def test_what_nobody_states_counts_as_the_worst() -> None:
    assert rules.organisation_attributes({}) == {
        "jurisdiction": "",
        "parent_jurisdiction": "",
        "foreign_control_pct": 100,
        "legal_exposure": frozenset(),
        "certs": frozenset(),
        "grades": {"jurisdiction": 0, "parent_jurisdiction": 0, "foreign_control_pct": 0},
    }


def test_grades_are_ordered_as_the_charter_compares_them() -> None:
    facts = {
        "jurisdiction": fact("JP", "M"),
        "parent_jurisdiction": fact("JP", "A"),
        "foreign_control_pct": fact(5, "S"),
        "certs": fact(["ismap"]),
    }
    found = rules.organisation_attributes(facts)
    assert found["grades"] == {"jurisdiction": 3, "parent_jurisdiction": 2, "foreign_control_pct": 1}
    assert (found["foreign_control_pct"], found["certs"]) == (5, frozenset({"ismap"}))


def test_values_of_the_wrong_kind_count_as_unstated() -> None:
    facts = {"jurisdiction": fact(7), "foreign_control_pct": fact(value=True), "certs": fact("ismap")}
    found = rules.organisation_attributes(facts)
    assert (found["jurisdiction"], found["foreign_control_pct"], found["certs"]) == ("", 100, frozenset())


@pytest.mark.parametrize(("now_ms", "names"), [(99, {"a", "b"}), (100, {"a"}), (101, {"a"})])
def test_a_fact_stands_until_its_end(now_ms: int, names: set[str]) -> None:
    assert set(rules.standing({"a": fact("x"), "b": fact("y", expires_ms=100)}, now_ms)) == names


def test_a_person_as_the_charter_sees_them() -> None:
    facts = {"residence": fact("JP"), "mfa": fact(value=True), "clearances": fact(["c1"], expires_ms=500)}
    assert rules.person_attributes("org_1", ["engineer"], facts) == {
        "org": Ref("Org", "org_1"),
        "roles": frozenset({"engineer"}),
        "residence": "JP",
        "mfa": True,
        "clearances": frozenset({"c1"}),
        "clearance_until": Moment(500),
    }
    assert rules.person_attributes("org_1", [], {"mfa": fact("true")})["mfa"] is False


@pytest.mark.parametrize(
    ("groups", "roles"),
    [([], ()), (["nobody"], ()), (["ops", "ops", "soc"], ("analyst", "engineer", "site_operator"))],
)
def test_groups_give_the_roles_they_are_mapped_to(groups: list[str], roles: tuple[str, ...]) -> None:
    mapping = {"ops": ("site_operator", "engineer"), "soc": ("analyst", "engineer")}
    assert rules.roles_of_groups(groups, mapping) == roles
