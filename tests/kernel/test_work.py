"""Durable background work: at least once done, exactly once in effect."""

from __future__ import annotations

import functools

import pytest

from sekisho.kernel import work
from sekisho.kernel.clock import ManualClock
from sekisho.kernel.errors import SekishoError
from tests.support import toy
from tests.support.toy import ANN, PutThing, ShowThing, TickThing


def advance(world: toy.World, milliseconds: int) -> None:
    assert isinstance(world.clock, ManualClock)
    world.clock.advance(milliseconds)


@pytest.fixture
def world(toy_world: toy.World) -> toy.World:
    toy_world.gate.perform(ANN, PutThing(id="a"))
    return toy_world


def amount(world: toy.World) -> int:
    return world.gate.perform(ANN, ShowThing(id="a")).amount


def test_due_work_is_done_once(world: toy.World) -> None:
    world.gate.schedule(TickThing(id="a"), dedupe="")
    assert world.gate.do_work()
    assert not world.gate.do_work()
    assert amount(world) == 1
    assert world.rows("select id from kernel_work") == []


def test_work_of_one_name_waits_once_and_the_earlier_time_counts(world: toy.World) -> None:
    def later(due_ms: int) -> None:
        world.database.write(
            functools.partial(
                work.enqueue, command=TickThing(id="a"), due_ms=due_ms, dedupe="tick", now_ms=toy.START_MS
            )
        )

    later(toy.START_MS + 9_000)
    later(toy.START_MS + 1_000)
    later(toy.START_MS + 5_000)
    assert world.gate.next_work_ms() == toy.START_MS + 1_000
    assert not world.gate.do_work()
    advance(world, 1_000)
    assert world.gate.do_work()
    assert amount(world) == 1
    assert world.gate.next_work_ms() is None


def test_a_claim_that_is_not_finished_comes_back_and_the_late_one_takes_no_effect(world: toy.World) -> None:
    world.gate.schedule(TickThing(id="a"), dedupe="")
    stale = world.database.write(functools.partial(work.claim, now_ms=toy.START_MS))
    assert stale is not None
    assert not world.gate.do_work()
    advance(world, work.LEASE_MS + 1)
    assert world.gate.do_work()
    with pytest.raises(SekishoError) as caught:
        world.database.write(lambda tx: work.finish(tx, stale))
    assert caught.value.code == "work.lease_lost"
    assert amount(world) == 1


def test_failed_work_is_put_back_and_waits_longer_each_time(
    world: toy.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.gate.schedule(TickThing(id="a"), dedupe="")
    broken = [True]
    original = toy.AllowAll.decide

    def decide(self: toy.AllowAll, tx: object, request: object) -> object:
        if broken[0]:
            raise RuntimeError
        return original(self, tx, request)  # type: ignore[arg-type]  # passes what the gate gave

    monkeypatch.setattr(toy.AllowAll, "decide", decide)
    waits = []
    for _ in range(3):
        now_ms = world.clock.now_ms()
        with pytest.raises(RuntimeError):
            world.gate.do_work()
        due_ms = world.gate.next_work_ms()
        assert due_ms is not None
        waits.append(due_ms - now_ms)
        advance(world, due_ms - now_ms)
    assert waits == sorted(set(waits))
    broken[0] = False
    assert world.gate.do_work()
    assert amount(world) == 1
