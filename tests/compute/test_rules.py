"""Every edge of the attempt's state machine, and everything that is no edge."""

from __future__ import annotations

import ipaddress
import itertools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.compute import AttemptState, JobState, Patience, rules
from sekisho.compute.rules import Event
from sekisho.kernel.errors import SekishoError
from sekisho_agent.inside import LEASE_GRACE_SECONDS
from sekisho_wire import messages
from tests.support import tree

A, E, J = AttemptState, Event, JobState
DRAWN = {
    (A.OFFERED, E.ACCEPT): A.STAGING,
    (A.OFFERED, E.REFUSE): A.REFUSED,
    (A.OFFERED, E.CANCEL): A.CANCELLED,
    (A.OFFERED, E.LOSE): A.LOST,
    (A.STAGING, E.STAGED): A.STARTING,
    (A.STAGING, E.REFUSE): A.REFUSED,
    (A.STAGING, E.FAIL): A.FAILED,
    (A.STAGING, E.CANCEL): A.CANCELLED,
    (A.STAGING, E.LOSE): A.LOST,
    (A.STARTING, E.STARTED): A.RUNNING,
    (A.STARTING, E.FAIL): A.FAILED,
    (A.STARTING, E.CANCEL): A.CANCELLED,
    (A.STARTING, E.LOSE): A.LOST,
    (A.RUNNING, E.SUCCEED): A.SUCCEEDED,
    (A.RUNNING, E.FAIL): A.FAILED,
    (A.RUNNING, E.CANCEL): A.CANCELLED,
    (A.RUNNING, E.LOSE): A.LOST,
}
"""The README's drawing, once more by hand."""
PAIRS = list(itertools.product(A, E))
ENDS = (A.SUCCEEDED, A.FAILED, A.CANCELLED, A.REFUSED, A.LOST)


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda item: item.value)
def test_each_pair_is_a_drawn_step_or_refused(state: AttemptState, event: Event) -> None:
    if (state, event) in DRAWN:
        assert rules.step(state, event) is DRAWN[state, event]
        return
    with pytest.raises(SekishoError) as caught:
        rules.step(state, event)
    assert caught.value.code == "attempt.order"
    assert caught.value.params == {"state": state.value, "event": event.value}


def test_no_step_leaves_an_end_and_every_other_state_can_end() -> None:
    assert {state for state in A if state.ended} == set(ENDS)
    assert {state for state, _ in rules.TRANSITIONS} == set(A) - set(ENDS)
    for state in set(A) - set(ENDS):
        assert rules.step(state, E.LOSE) is A.LOST
        assert rules.step(state, E.CANCEL) is A.CANCELLED


def test_the_readme_draws_every_state() -> None:
    drawing = (tree.ROOT / "src/sekisho/compute/README.md").read_text()
    words = set(re.findall(r"\w+", Path("README.md").name + drawing))
    assert {state.value for state in (*A, *J)} - words == set()


def test_success_is_reached_by_one_road_only() -> None:
    before = {following: {state for (state, _), to in DRAWN.items() if to is following} for following in A}
    assert before[A.SUCCEEDED] == {A.RUNNING}
    assert before[A.RUNNING] == {A.STARTING}
    assert before[A.STARTING] == {A.STAGING}
    assert before[A.STAGING] == {A.OFFERED}
    assert before[A.OFFERED] == set()


REASONS = ("", "finished", "failed", "job.out_of_memory", *sorted(rules.AGAIN))


@pytest.mark.parametrize("state", A)
@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("attempts", [1, rules.ATTEMPTS_MAX - 1, rules.ATTEMPTS_MAX])
@pytest.mark.parametrize("cancelling", [False, True])
def test_a_job_is_where_its_newest_attempt_leaves_it(
    state: AttemptState, reason: str, attempts: int, *, cancelling: bool
) -> None:
    following = rules.job_after(state, reason, attempts, cancelling=cancelling)
    straight = {
        A.OFFERED: J.STAGING,
        A.STAGING: J.STAGING,
        A.STARTING: J.STARTING,
        A.RUNNING: J.RUNNING,
        A.SUCCEEDED: J.SUCCEEDED,
        A.CANCELLED: J.CANCELLED,
    }
    if state in straight:
        assert following is straight[state]
    elif cancelling:
        assert following is J.CANCELLED, "nobody places again what somebody cancelled"
    elif attempts >= rules.ATTEMPTS_MAX or (state is A.FAILED and reason not in rules.AGAIN):
        assert following is J.FAILED
    else:
        assert following is J.WAITING


def test_what_speaks_against_the_job_is_not_tried_again() -> None:
    for reason in (
        messages.REASON_FAILED,
        messages.REASON_TIME_LIMIT,
        messages.REASON_OUT_OF_MEMORY,
        messages.REASON_OUTPUT_TOO_LARGE,
        messages.REASON_CANARY_OPEN,
        messages.REASON_CANARY_BROKEN,
        messages.REASON_WALL_MISSING,
    ):
        assert rules.job_after(A.FAILED, reason, 1, cancelling=False) is J.FAILED
    assert rules.job_after(A.FAILED, messages.REASON_AGENT_RESTARTED, 1, cancelling=False) is J.WAITING


@pytest.mark.parametrize(
    ("reason", "status", "cancelling", "event"),
    [
        ("finished", 0, False, E.SUCCEED),
        ("finished", 0, True, E.SUCCEED),
        ("finished", 1, False, E.FAIL),
        ("finished", None, False, E.FAIL),
        ("finished", -9, False, E.FAIL),
        ("finished", 1, True, E.CANCEL),
        ("failed", 0, False, E.FAIL),
        ("job.cancelled", 0, False, E.CANCEL),
        ("job.cancelled", None, False, E.CANCEL),
        ("lease.lost", None, True, E.CANCEL),
        ("lease.lost", None, False, E.FAIL),
        ("anything else", 0, False, E.FAIL),
    ],
)
def test_which_end_a_report_is(reason: str, status: int | None, *, cancelling: bool, event: Event) -> None:
    assert rules.ending(reason, status, cancelling=cancelling) is event


@given(tried=st.sets(st.sampled_from(messages.CANARY_ROUTES)))
def test_a_route_that_nobody_tried_proved_nothing(tried: set[str]) -> None:
    results = rules.canary_results("bubblewrap + peers", dict.fromkeys(tried, "closed"))
    assert results.count("closed") == len(tried)
    assert results.count("unproven") == len(messages.CANARY_ROUTES) - len(tried)
    assert rules.canary_results("none", {}) == []


@pytest.mark.parametrize("wall", ["none", "unknown", ""])
@pytest.mark.parametrize("wish", ["none", ["example.jp:443"]])
def test_without_a_wall_every_way_out_is_open(wall: str, wish: str | list[str]) -> None:
    assert rules.egress_word(wall, wish) == "open"


def test_behind_a_wall_the_wish_counts() -> None:
    assert rules.egress_word("bubblewrap", "none") == "none"
    assert rules.egress_word("bubblewrap", ["example.jp:443"]) == "allowlist"


STORES = (ipaddress.ip_network("203.0.113.0/24"), ipaddress.ip_network("2001:db8:7::/48"))


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        (["203.0.113.7:443"], "allowlist-jp"),
        (["203.0.113.7:443", "[2001:db8:7::1]:443"], "allowlist-jp"),
        (["203.0.113.7:443", "store.example.jp:443"], "allowlist"),
        (["203.0.114.7:443"], "allowlist"),
        (["store.example.jp:443"], "allowlist"),
        (["203.0.113.7"], "allowlist"),
        ([":443"], "allowlist"),
        ([], "allowlist"),
        ("none", "none"),
    ],
)
def test_only_addresses_in_listed_stores_are_domestic(wish: str | list[str], word: str) -> None:
    assert rules.egress_word("bubblewrap", wish, stores_jp=STORES) == word
    assert rules.egress_word("none", wish, stores_jp=STORES) == "open"
    assert rules.egress_word("bubblewrap", wish, ["open"], stores_jp=STORES) == "open"
    assert rules.egress_word("bubblewrap", wish) in {"allowlist", "none"}, "no charter names a store"


@given(lease_seconds=st.integers(2, 3600), now_ms=st.integers(10**12, 2**50))
def test_an_attempt_is_given_up_only_after_its_lease_ended(lease_seconds: int, now_ms: int) -> None:
    patience = Patience(lease_seconds)
    silent_ms = now_ms - patience.silent_since_ms(now_ms)
    assert silent_ms > patience.lease_ms + LEASE_GRACE_SECONDS * 1000
    assert 0 < patience.reconcile_ms < patience.lease_ms


def test_the_usual_lease_is_a_minute_and_patience_a_minute_and_a_half() -> None:
    assert (Patience().lease_ms, Patience().silent_since_ms(100_000)) == (60_000, 10_000)


@given(st.integers(1, 3600))
def test_a_site_that_only_polls_is_never_called_silent(lease_seconds: int) -> None:
    """However short the leases are: an idle agent is heard once per long poll."""
    patience, now_ms = Patience(lease_seconds), 10**9
    polled_ms = now_ms - messages.POLL_SECONDS_MAX * 1000 - 5_000
    assert patience.site_silent_since_ms(now_ms) < polled_ms
    assert patience.site_silent_since_ms(now_ms) <= patience.silent_since_ms(now_ms)


@given(st.dictionaries(st.sampled_from(J), st.integers(0, 3)).filter(lambda counts: any(counts.values())))
def test_an_array_ends_with_its_last_job_and_only_then(counts: dict[J, int]) -> None:
    state = rules.array_state(counts)
    present = {one for one, count in counts.items() if count}
    assert state.ended == all(one.ended for one in present)
    if state.ended:
        assert (state is J.SUCCEEDED) == (present == {J.SUCCEEDED})
        assert (state is J.FAILED) == (J.FAILED in present)
    else:
        assert (state is J.WAITING) == (present == {J.WAITING})


@given(
    state=st.sampled_from([state for state in A if state.ended]),
    attempts=st.integers(1, 9),
    cancelling=st.booleans(),
)
def test_what_lasts_is_begun_again_until_it_is_cancelled(
    state: A, attempts: int, *, cancelling: bool
) -> None:
    following = rules.job_after(state, "failed", attempts, cancelling=cancelling, lasting=True)
    assert following.ended is cancelling
    assert cancelling or following is J.WAITING


@given(st.lists(st.integers(0, 2 * rules.SHORT_RUN_MS), max_size=40))
def test_a_replica_that_ends_again_and_again_is_begun_ever_later(runs_ms: list[int]) -> None:
    pause_ms = rules.restart_pause_ms(runs_ms)
    assert 0 <= pause_ms <= rules.RESTART_PAUSE_MS_MAX
    assert rules.restart_pause_ms([*runs_ms, rules.SHORT_RUN_MS]) == 0
    assert rules.restart_pause_ms([*runs_ms, 0]) == min(
        rules.RESTART_PAUSE_MS_MAX, max(rules.RESTART_PAUSE_MS, 2 * pause_ms)
    )


@given(st.integers(1, 3600), st.integers(0, 7 * 86_400))
def test_a_site_that_may_be_away_has_leases_that_last_as_long(lease_seconds: int, away_seconds: int) -> None:
    patience = rules.Patience(lease_seconds).with_site(away_seconds)
    assert patience.lease_seconds == max(lease_seconds, away_seconds)
    assert patience.silent_since_ms(10**12) < 10**12 - away_seconds * 1000 or away_seconds == 0


@given(st.text())
def test_what_is_stored_holds_no_null_character(text: str) -> None:
    stored = rules.storable(text)
    assert "\0" not in stored
    assert len(stored) == len(text)
    assert stored == text or "\0" in text


@pytest.mark.parametrize(
    ("judged", "found", "same"),
    [
        ("bubblewrap 0.8.0", "bubblewrap 0.8.0", True),
        ("bubblewrap 0.8.0", "bubblewrap 0.8.0 + peers", True),
        ("bubblewrap 0.8.0", "bubblewrap 0.8.0 | bubblewrap 0.9.0 + peers", False),
        ("bubblewrap 0.8.0", "none + peers", False),
        ("bubblewrap 0.8.0", " + peers", False),
        ("none", "bubblewrap 0.8.0 + peers", True),
    ],
)
def test_an_overlay_of_the_attempts_own_nodes_is_beside_the_wall(
    judged: str, found: str, *, same: bool
) -> None:
    assert rules.same_wall(judged, found) is same


def test_an_overlay_alone_is_no_wall() -> None:
    assert rules.egress_word("none + peers", "none") == "open"
    assert rules.egress_word("bubblewrap 0.8.0 + peers", "none") == "none"
