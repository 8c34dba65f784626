"""Where the slow tests go when several workers share the suite."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.support import order

GROUPS = st.lists(st.tuples(st.floats(1, 900), st.integers(1, 4)), max_size=12)


@given(groups=GROUPS, rest=st.integers(0, 60), workers=st.integers(1, 5))
def test_every_test_runs_once_and_groups_stay_together(
    groups: list[tuple[float, int]], rest: int, workers: int
) -> None:
    numbers = itertools.count()
    slow = [(weight, [next(numbers) for _ in range(size)]) for weight, size in groups]
    plain = [next(numbers) for _ in range(rest)]
    found = order.dealt(slow, plain, workers)
    assert sorted(found) == list(range(next(numbers)))
    assert [number for number in found if number in set(plain)] == plain
    for _, group in slow:
        first = found.index(group[0])
        assert found[first : first + len(group)] == group


def test_each_worker_begins_with_its_part_of_the_slow_ones() -> None:
    slow = [(90.0, ["kills"]), (60.0, ["pages", "more pages"]), (50.0, ["slurm"]), (20.0, ["plain user"])]
    plain = [f"quick {number}" for number in range(10)]
    found = order.dealt(slow, plain, 3)
    starts = [sum(order.shares(15, 3)[:number]) for number in range(3)]
    assert starts == [0, 5, 10]
    assert found[0] == "kills"
    assert found[5:7] == ["pages", "more pages"]
    assert found[10:12] == ["slurm", "plain user"]
