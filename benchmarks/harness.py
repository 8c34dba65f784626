"""What every benchmark shares: goals, the one line of JSON at the end, paired measurement, durable databases.

A goal compares two things that were measured in the same run, in turns, because the machine is shared and what one
second gives the next takes away. Absolute numbers go under `figures`; nobody passes or fails by them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import operator
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support import postgres

ROOT = Path(__file__).resolve().parents[1]
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


class Goal(NamedTuple):
    """One measured ratio and its bar; `op` is `>=` or `<=`."""

    id: str
    value: float
    op: str
    goal: float

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of the bar."""
        return _COMPARE[self.op](self.value, self.goal)


class Pair(NamedTuple):
    """Two things measured in turns, in seconds: medians, and the median of the rounds' ratios second / first."""

    first_seconds: float
    second_seconds: float
    ratio: float


def goal(name: str, value: float, op: str, bar: float) -> Goal:
    """A goal, told on standard error as soon as it is known; KeyError for an unknown `op`."""
    found = Goal(name, value, op, bar)
    mark = "met" if found.met else "NOT MET"
    print(f"{name}: {value:.4g} {op} {bar:g} {mark}", file=sys.stderr, flush=True)
    return found


def report(bench: str, goals: Sequence[Goal], figures: Mapping[str, float]) -> int:
    """Print the result as the last line of standard output; answers the exit status, 1 when a goal was missed."""
    rows = [{"id": g.id, "value": _rounded(g.value), "op": g.op, "goal": g.goal, "met": g.met} for g in goals]
    rounded = {name: _rounded(value) for name, value in figures.items()}
    print(json.dumps({"bench": bench, "goals": rows, "figures": rounded}))
    return 0 if goals and all(g.met for g in goals) else 1


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call, with the garbage collector kept out of it.

    `clock` is `time.thread_time` for work that only computes: it does not count what other processes take away.
    """
    gc.collect()
    gc.disable()
    try:
        start = clock()
        work()
        return clock() - start
    finally:
        gc.enable()


def paired(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Pair:
    """Measure both in turns, the one that begins alternating; the first `warm_up` rounds do not count."""
    times: list[tuple[float, float]] = []
    for number in range(warm_up + rounds):
        if number % 2:
            late = seconds(second, clock)
            times.append((seconds(first, clock), late))
        else:
            early = seconds(first, clock)
            times.append((early, seconds(second, clock)))
    counted = times[warm_up:]
    return Pair(
        statistics.median(early for early, _ in counted),
        statistics.median(late for _, late in counted),
        statistics.median(late / early for early, late in counted),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` per cent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(len(ordered) * percent / 100 + 0.5) - 1))]


KINDS = ("sqlite", "postgres")
"""Both databases, each at full durability (SQLite: WAL with synchronous FULL, which the kernel sets)."""


@contextlib.contextmanager
def durable(kind: str, count: int = 1) -> Iterator[list[str]]:
    """URLs of `count` empty databases of one kind, on the repository's disk: a memory disk would make commits free.

    PostgreSQL runs on a server of its own with fsync on.
    """
    if kind == "sqlite":
        folder = ROOT / "build"
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as name:
            yield [f"sqlite:{name}/{number}.db" for number in range(count)]
        return
    with postgres.running(durable=True) as server:
        yield [server.create(f"bench_{number}") for number in range(count)]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
