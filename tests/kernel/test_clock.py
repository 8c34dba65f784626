"""Time never runs backwards, and a moment has one spelling."""

from __future__ import annotations

import datetime
import threading
import time
import types
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.clock import ManualClock, SystemClock, parse_rfc3339, rfc3339


def _machine_says(patch: pytest.MonkeyPatch, now_ms: Callable[[], int]) -> None:
    """The clock module's view of the machine, for this thread; installations of other tests may run in others."""
    here = threading.get_ident()

    def time_ns() -> int:
        return now_ms() * 1_000_000 if threading.get_ident() == here else time.time_ns()

    patch.setattr("sekisho.kernel.clock.time", types.SimpleNamespace(time_ns=time_ns))


def test_a_machine_that_jumps_back_does_not_take_the_clock_along(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = [5_000_000]
    _machine_says(monkeypatch, lambda: machine[0])
    clock = SystemClock()
    assert (clock.now_ms(), clock.behind_ms) == (5_000_000, 0)
    machine[0] = 4_000_000
    assert (clock.now_ms(), clock.behind_ms) == (5_000_000, 1_000_000)
    machine[0] = 4_999_999
    assert (clock.now_ms(), clock.behind_ms) == (5_000_000, 1)
    machine[0] = 5_000_001
    assert (clock.now_ms(), clock.behind_ms) == (5_000_001, 0)


@given(st.lists(st.integers(0, 2**48), min_size=1, max_size=20))
def test_its_answers_only_grow_whatever_the_machine_says(machine: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        moments = iter(machine)
        _machine_says(patch, lambda: next(moments))
        clock = SystemClock()
        answers = [clock.now_ms() for _ in machine]
    assert answers == sorted(answers)
    assert answers[-1] == max(machine)


def test_threads_see_one_time_that_grows() -> None:
    clock, seen = SystemClock(), list[list[int]]()

    def look() -> None:
        seen.append([clock.now_ms() for _ in range(2000)])

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answers == sorted(answers) for answers in seen)
    assert len(seen) == 4


def test_the_system_clock_is_the_machines() -> None:
    before = time.time_ns() // 1_000_000
    assert before <= SystemClock().now_ms() <= time.time_ns() // 1_000_000


def test_a_manual_clock_moves_only_when_told_and_only_forward() -> None:
    clock = ManualClock(7)
    assert (clock.now_ms(), clock.now_ms()) == (7, 7)
    clock.advance(0)
    clock.advance(3)
    assert clock.now_ms() == 10
    with pytest.raises(ValueError, match="-1"):
        clock.advance(-1)
    assert clock.now_ms() == 10


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (1_795_151_791_123, "2026-11-20T05:16:31.123Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_moment_has_one_spelling(time_ms: int, text: str) -> None:
    assert rfc3339(time_ms) == text
    assert parse_rfc3339(text) == time_ms


@given(st.integers(0, 253_402_300_799_999))
def test_what_is_written_is_read_back(time_ms: int) -> None:
    text = rfc3339(time_ms)
    assert parse_rfc3339(text) == time_ms
    assert (
        text
        == datetime.datetime.fromtimestamp(time_ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        + f".{time_ms % 1000:03d}Z"
    )


@given(time_ms=st.integers(10**11, 10**14), minutes=st.integers(-14 * 60, 14 * 60))
def test_a_zone_moves_the_text_and_not_the_moment(time_ms: int, minutes: int) -> None:
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    moment = datetime.datetime.fromtimestamp(time_ms // 1000, zone)
    assert parse_rfc3339(moment.isoformat()) == time_ms // 1000 * 1000


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-11-20", "2026-11-20T05:03:11", "2026-13-01T00:00:00Z", "2026-11-20T25:00:00Z", "0"],
)
def test_what_is_no_moment_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)


@given(st.one_of(st.text(), st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", fullmatch=True)))
def test_any_text_is_a_moment_or_a_value_error(text: str) -> None:
    try:
        moment = parse_rfc3339(text)
    except ValueError:
        return
    assert isinstance(moment, int)
