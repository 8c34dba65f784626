"""Messages of a lane take effect in order, each once."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.kernel import lanes
from sekisho.kernel.db import Database
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.tx import Tx


def say(
    database: Database, seq: int, digest: str, *, agent: str = "agt_a", lane: str = "main"
) -> bytes | None:
    """As a handler would: look, apply, remember. None when it was applied now."""

    def work(tx: Tx) -> bytes | None:
        stored = lanes.repeated(tx, (agent, lane), seq, digest)
        if stored is None:
            lanes.applied(tx, (agent, lane), seq, (digest, f"answer {seq} {digest}".encode()))
        return stored

    return database.write(work)


def replayed(database: Database, seq: int, digest: str) -> None:
    with pytest.raises(SekishoError) as caught:
        say(database, seq, digest)
    assert (caught.value.code, caught.value.params) == (
        "agent.message.replayed",
        {"lane": "main", "seq": seq},
    )


def test_a_new_number_is_applied_and_the_same_bytes_get_the_same_answer(database: Database) -> None:
    assert say(database, 1, "a") is None
    assert say(database, 1, "a") == b"answer 1 a"
    assert say(database, 2, "b") is None
    assert say(database, 2, "b") == b"answer 2 b"


def test_lower_numbers_and_other_bytes_are_refused(database: Database) -> None:
    say(database, 5, "a")
    for seq, digest in ((4, "a"), (0, "z"), (5, "b")):
        replayed(database, seq, digest)
    assert say(database, 9, "gap") is None, "numbers grow, they need not be gapless"
    replayed(database, 5, "a")


def test_agents_and_lanes_count_by_themselves(database: Database) -> None:
    say(database, 7, "a")
    assert say(database, 1, "a", lane="lease") is None
    assert say(database, 1, "a", agent="agt_b") is None
    assert say(database, 1, "a", lane="lease") == b"answer 1 a"


def test_the_last_number_is_told_and_is_nothing_at_first(database: Database) -> None:
    assert database.read(lambda tx: lanes.last_seq(tx, ("agt_a", "main"))) == 0
    say(database, 7, "a")
    assert database.read(lambda tx: lanes.last_seq(tx, ("agt_a", "main"))) == 7
    assert database.read(lambda tx: lanes.last_seq(tx, ("agt_a", "lease"))) == 0


def test_what_was_rolled_back_was_not_said(database: Database) -> None:
    def work(tx: Tx) -> None:
        lanes.applied(tx, ("agt_a", "main"), 3, ("a", b"x"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.write(work)
    assert say(database, 3, "other") is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab")), max_size=25))
def test_whatever_comes_each_number_takes_effect_at_most_once_and_in_order(
    database: Database, said: list[tuple[int, str]]
) -> None:
    agent = f"agt_{len(database.read(lambda tx: tx.all('select distinct agent from kernel_lanes')))}"
    effects: list[int] = []
    for seq, digest in said:
        try:
            if say(database, seq, digest, agent=agent) is None:
                effects.append(seq)
        except SekishoError:
            assert effects
            assert seq <= effects[-1]
    assert effects == sorted(set(effects))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab")), max_size=15))
def test_taking_refuses_what_looking_and_remembering_would(
    database: Database, said: list[tuple[int, str]]
) -> None:
    number = len(database.read(lambda tx: tx.all("select distinct agent from kernel_lanes")))
    looked, taken = (f"agt_{number}", "main"), (f"agt_{number}", "lease")

    def outcome(seq: int, digest: str, *, at_once: bool) -> str:
        def work(tx: Tx) -> None:
            if at_once:
                lanes.take(tx, taken, seq, digest)
            else:
                lanes.repeated(tx, looked, seq, digest)
                lanes.applied(tx, looked, seq, (digest, b""))

        try:
            database.write(work)
        except SekishoError as error:
            return error.code
        return ""

    for seq, digest in said:
        assert outcome(seq, digest, at_once=True) == outcome(seq, digest, at_once=False)
    both = database.read(
        lambda tx: tx.all(
            "select seq, message_digest, answer from kernel_lanes where agent = :agent", agent=looked[0]
        )
    )
    assert both[:1] == both[1:]
