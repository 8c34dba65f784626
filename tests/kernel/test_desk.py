"""The desk: everybody is answered once, turns are kept, closing loses nobody."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from sekisho.kernel.desk import Desk, Job
from sekisho.kernel.errors import UnavailableError


def hand_in_all(desk: Desk, jobs: list[Job[Any]]) -> None:
    """Each job from a thread of its own."""
    threads = [threading.Thread(target=desk.hand_in, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(("threads", "together"), [(1, 1), (1, 8), (4, 1)])
def test_everybody_gets_their_own_answer(threads: int, together: int) -> None:
    groups: list[int] = []

    def serve(group: list[Job[Any]]) -> None:
        groups.append(len(group))
        for job in group:
            job.result = f"{id(job)}"

    desk = Desk("test", serve, threads=threads, together=together)
    jobs = [Job(lambda _tx: "", turn=("", "a", "b")[number % 3]) for number in range(60)]
    hand_in_all(desk, jobs)
    assert [job.result for job in jobs] == [f"{id(job)}" for job in jobs]
    assert sum(groups) == 60
    assert max(groups) <= together
    desk.close()


def test_jobs_of_one_turn_are_never_served_at_the_same_time() -> None:
    busy: set[str] = set()
    met: list[str] = []

    def serve(group: list[Job[Any]]) -> None:
        (job,) = group
        if job.turn in busy:
            met.append(job.turn)
        busy.add(job.turn)
        time.sleep(0.002)
        busy.discard(job.turn)
        job.result = "done"

    desk = Desk("test", serve, threads=4)
    hand_in_all(desk, [Job(lambda _tx: "", turn="ab"[number % 2]) for number in range(40)])
    assert met == []
    desk.close()


def test_those_who_wait_for_a_turn_hold_up_nobody_else() -> None:
    free, started = threading.Event(), threading.Event()

    def serve(group: list[Job[Any]]) -> None:
        if group[0].turn:
            started.set()
            free.wait(20)
        group[0].result = "done"

    desk = Desk("test", serve, threads=2)
    slow = [Job(lambda _tx: "", turn="quota") for _ in range(5)]
    waiting = [threading.Thread(target=desk.hand_in, args=(job,)) for job in slow]
    for thread in waiting:
        thread.start()
    assert started.wait(20)
    assert desk.hand_in(Job(lambda _tx: "")) == "done"
    free.set()
    for thread in waiting:
        thread.join(20)
    assert [job.result for job in slow] == ["done"] * 5
    desk.close()


def test_what_serving_raises_is_the_answer_of_the_whole_group_and_the_desk_goes_on() -> None:
    def serve(group: list[Job[Any]]) -> None:
        if any(job.turn == "bad" for job in group):
            raise RuntimeError
        group[0].result = "done"

    desk = Desk("test", serve)
    with pytest.raises(RuntimeError):
        desk.hand_in(Job(lambda _tx: "", turn="bad"))
    assert desk.hand_in(Job(lambda _tx: "")) == "done"
    desk.close()


def test_closing_serves_what_was_handed_in_and_refuses_what_comes_later() -> None:
    free = threading.Event()

    def serve(group: list[Job[Any]]) -> None:
        free.wait(20)
        group[0].result = "done"

    desk = Desk("test", serve, threads=3)
    jobs = [Job(lambda _tx: "", turn=("", "a")[number % 2]) for number in range(12)]
    callers = [threading.Thread(target=desk.hand_in, args=(job,)) for job in jobs]
    for thread in callers:
        thread.start()
    time.sleep(0.1)
    closing = threading.Thread(target=desk.close)
    closing.start()
    free.set()
    for thread in (closing, *callers):
        thread.join(20)
        assert not thread.is_alive()
    assert [job.result for job in jobs] == ["done"] * 12
    with pytest.raises(UnavailableError):
        desk.hand_in(Job(lambda _tx: ""))
    desk.close()
