"""Arrays through the gate: many jobs of one file, each on its own, and the array that stands where they do."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest

from sekisho.compute import (
    CancelJob,
    ExplainJob,
    JobState,
    ListJobs,
    PlanJob,
    ReconcileAttempts,
    arrays,
    rounds,
    rules,
)
from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.tx import Tx
from sekisho_wire import messages
from sekisho_wire.messages import Accept, Envelope, Offer, Staged
from tests.compute.world import FAILED, FINISHED, World, code_of, job_file, started


def array_file(size: int, more: str = "", name: str = "sweep") -> str:
    return job_file(name, f"kind: array\narray: {{size: {size}{more}}}\n")


def orders(world: World) -> dict[str, Envelope]:
    """The offers of the site at home, by the array index that they give their payload."""
    found: dict[str, Envelope] = {}
    for order in world.home.offers():
        assert isinstance(order.body, Offer)
        found[order.body.env["SEKISHO_ARRAY_INDEX"]] = order
    return found


def states(world: World, array: str) -> list[str]:
    return [member.state.value for member in world.show(array).members]


def test_one_submission_is_many_jobs_that_know_their_number(world: World) -> None:
    array = world.submit(array_file(3))
    assert (array.kind, array.state, array.progress) == ("array", JobState.WAITING, {"waiting": 3})
    members = world.show(array.id).members
    assert [(one.index, one.name) for one in members] == [(0, "sweep-0"), (1, "sweep-1"), (2, "sweep-2")]
    assert world.show("sweep-1").job.array == array.id
    world.settle()
    taken = orders(world)
    assert sorted(taken) == ["0", "1", "2"]
    body = taken["2"].body
    assert isinstance(body, Offer)
    assert (body.env["SEKISHO_ARRAY_SIZE"], body.env["SEKISHO_ARRAY"]) == ("3", array.id)
    assert body.job == members[2].id
    assert world.show(array.id).job.state is JobState.RUNNING


def test_an_array_is_listed_as_one_and_its_jobs_on_request(world: World) -> None:
    array = world.submit(array_file(3)).id
    world.clock.advance(1)
    alone = world.submit().id
    assert [job.id for job in world.perform(world.engineer, ListJobs()).items] == [alone, array]
    inside = world.perform(world.engineer, ListJobs(array=array)).items
    assert [job.index for job in inside] == [2, 1, 0]
    assert world.perform(world.stranger, ListJobs(array=array)).items == []


def test_an_array_ends_with_its_last_job_and_its_stream_closes_with_a_count(world: World) -> None:
    array = world.submit(array_file(2)).id
    world.settle()
    first, last = orders(world).values()
    for order in (first, last):
        world.home.say(order, Accept(), Staged(), started())
    world.home.say(first, FINISHED)
    world.settle()
    assert world.show(array).job.state is JobState.RUNNING
    world.home.say(last, FINISHED)
    world.settle()
    shown = world.show(array)
    assert (shown.job.state, shown.job.progress) == (JobState.SUCCEEDED, {"succeeded": 2})
    for stream in (array, *(member.id for member in shown.members)):
        records = world.records(stream=stream)
        assert records[-1]["action"] == "ledger.stream.close"
        assert records[-1]["detail"]["count"] == len(records)
    assert world.check().findings == []


def test_an_array_that_was_not_told_of_its_last_job_ends_all_the_same(world: World) -> None:
    array = world.submit(array_file(1)).id
    world.settle()
    (order,) = orders(world).values()
    world.home.say(order, Accept(), Staged(), started(), FINISHED)
    told = "delete from kernel_work where action = 'compute.array.settle'"
    assert world.database.write(lambda tx: tx.run(told)) == 1
    world.settle()
    assert world.reason(array) == ("running", "")
    for _ in range(2):
        world.perform(SYSTEM, ReconcileAttempts())
        world.settle()
    assert world.reason(array) == ("succeeded", "")
    assert [one["action"] for one in world.records(stream=array)].count("compute.array.settle") == 2
    assert world.records(stream=array)[-1]["action"] == "ledger.stream.close"
    assert world.check().findings == []


def test_evidence_of_an_array_names_every_job_and_each_job_its_array(world: World) -> None:
    array = world.submit(array_file(2)).id
    submitted = world.records(stream=array)[0]
    members = world.show(array).members
    assert submitted["detail"]["members"] == [member.id for member in members]
    for member in members:
        own = world.records(stream=member.id)[0]
        assert (own["action"], own["actor"]) == ("compute.job.submit", submitted["actor"])
        assert (own["detail"]["array"], own["detail"]["index"]) == (array, member.index)
        assert own["detail"]["files"] == submitted["detail"]["files"]
    assert world.check().findings == []


@pytest.mark.parametrize(
    ("endings", "expected"),
    [
        ((FINISHED, FINISHED), ("succeeded", "")),
        ((FINISHED, FAILED), ("failed", "array.member_failed")),
        ((FAILED, FAILED), ("failed", "array.member_failed")),
    ],
    ids=["good", "one-bad", "all-bad"],
)
def test_how_an_array_ends(
    world: World, endings: tuple[messages.Ended, ...], expected: tuple[str, str]
) -> None:
    array = world.submit(array_file(2)).id
    world.settle()
    for order, ending in zip(orders(world).values(), endings, strict=True):
        world.home.say(order, Accept(), Staged(), started(), ending)
    world.settle()
    assert world.reason(array) == expected


def test_no_more_run_at_once_than_the_array_allows_itself(world: World) -> None:
    array = world.submit(array_file(3, ", parallel: 1")).id
    world.settle()
    assert states(world, array) == ["staging", "waiting", "waiting"]
    assert world.show(array).members[1].reason == "ArrayLimit"
    explained = world.perform(world.engineer, ExplainJob(job=array))
    assert (explained.reason, explained.job.index) == ("ArrayLimit", 1)
    assert "array" in explained.sentence
    for number in range(3):
        (order,) = orders(world).values()
        world.home.say(order, Accept(), Staged(), started(), FINISHED)
        world.settle()
        assert states(world, array).count("succeeded") == number + 1
    assert world.reason(array) == ("succeeded", "")


def test_cancelling_an_array_cancels_what_waits_and_what_runs(world: World) -> None:
    array = world.submit(array_file(3, ", parallel: 1")).id
    world.settle()
    (order,) = orders(world).values()
    world.home.say(order, Accept(), Staged(), started())
    assert world.perform(world.engineer, CancelJob(job=array)).cancelling
    world.settle()
    assert states(world, array) == ["running", "cancelled", "cancelled"]
    assert world.home.renew(order).cancel
    world.home.say(order, messages.Ended(reason=messages.REASON_CANCELLED))
    world.settle()
    assert states(world, array) == ["cancelled"] * 3
    assert world.reason(array) == ("cancelled", "")
    assert code_of(lambda: world.perform(world.engineer, CancelJob(job=array))) == "compute.job.ended"
    assert world.check().findings == []


def test_who_cancels_again_leaves_nothing_in_the_streams_of_its_jobs(world: World) -> None:
    array = world.submit(array_file(2)).id
    world.settle()
    taken = orders(world)
    for order in taken.values():
        world.home.say(order, Accept(), Staged(), started())
    for _ in range(2):
        assert world.perform(world.engineer, CancelJob(job=array)).cancelling
    for member in world.show(array).members:
        assert len(world.records(stream=member.id, action="compute.job.cancel")) == 1
    for order in taken.values():
        world.home.say(order, messages.Ended(reason=messages.REASON_CANCELLED))
    world.settle()
    assert world.reason(array) == ("cancelled", "")


def test_a_large_array_is_cancelled_portion_by_portion(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CANCELLED_AT_ONCE", 2)
    array = world.submit(array_file(5)).id
    assert world.perform(world.engineer, CancelJob(job=array)).cancelling
    assert states(world, array) == ["cancelled"] * 2 + ["waiting"] * 3
    world.settle()
    assert states(world, array) == ["cancelled"] * 5
    assert world.reason(array) == ("cancelled", "")
    (asked,) = world.records(stream=array, action="compute.job.cancel")
    for member in world.show(array).members:
        (record,) = world.records(stream=member.id, action="compute.job.cancel")
        assert record["detail"] == {
            "array": array,
            "asked": asked["id"],
            "asked_by": world.engineer.ref.id,
        }
    assert world.check().findings == []


def test_one_job_of_an_array_can_be_cancelled_alone(world: World) -> None:
    array = world.submit(array_file(2)).id
    world.perform(world.engineer, CancelJob(job="sweep-1"))
    world.settle()
    (order,) = orders(world).values()
    world.home.say(order, Accept(), Staged(), started(), FINISHED)
    world.settle()
    assert states(world, array) == ["succeeded", "cancelled"]
    assert world.reason(array) == ("cancelled", "")


def test_a_lost_job_of_an_array_is_placed_again_under_its_own_number(world: World) -> None:
    array = world.submit(array_file(2)).id
    world.settle()
    assert sorted(orders(world)) == ["0", "1"]
    world.clock.advance(90_001)
    world.perform(SYSTEM, ReconcileAttempts())
    world.hear()
    world.settle()
    again = orders(world)
    assert sorted(again) == ["0", "1"]
    assert {order.token for order in again.values()} == {2}
    assert [member.attempts for member in world.show(array).members] == [2, 2]


def test_a_long_name_is_cut_so_that_the_number_fits(world: World) -> None:
    array = world.submit(array_file(11, name="n" * 63)).id
    names = [member.name for member in world.show(array).members]
    assert {len(name) for name in names} == {63}
    assert (names[0][-3:], names[10][-3:]) == ("n-0", "-10")


def test_an_array_whose_files_would_fill_the_database_is_refused(world: World) -> None:
    long = array_file(1000) + f"setup: {'x' * 12_000}\n"
    assert code_of(lambda: world.submit(long)) == "compute.file.invalid"
    assert code_of(lambda: world.perform(world.engineer, PlanJob(file=long))) == "compute.file.invalid"
    assert world.perform(world.engineer, ListJobs()).items == []


def test_a_look_at_an_array_costs_as_many_queries_however_many_jobs_it_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real, here = Tx._run, threading.get_ident()

    def counted(tx: Tx, sql: str, params: dict[str, Any]) -> Any:
        """Only of this thread: a world of other tests may be at work in this process."""
        if threading.get_ident() == here:
            asked.append(sql)
        return real(tx, sql, params)

    arrays = [world.submit(array_file(size, name=f"of-{size}")).id for size in (1, 3)]
    world.settle()
    for order in world.home.offers():
        world.home.say(order, Accept(), Staged(), started())
        world.home.say(order, messages.Progress(line={"step": 7}), lane="log")
    monkeypatch.setattr(Tx, "_run", counted)
    costs = list[int]()
    for array in arrays:
        asked.clear()
        members = world.show(array).members
        assert {member.progress.get("step") for member in members if member.attempts} == {7}
        costs.append(len(asked))
    assert costs[0] == costs[1] > 0


def test_strangers_see_neither_the_array_nor_its_jobs(world: World) -> None:
    array = world.submit(array_file(2)).id
    member = world.show(array).members[0].id
    for job in (array, member):
        assert code_of(functools.partial(world.show, job, by=world.stranger)) == "not_found"


def service_file(replicas: int, more: str = "") -> str:
    return job_file("api", f"kind: service\nservice: {{replicas: {replicas}{more}}}\n")


def test_a_replica_is_begun_again_whenever_it_ends(world: World) -> None:
    health = "health: {run: ./well, every: 5s, after: 1m, failures: 2}"
    service = world.submit(service_file(1, f", drain: 15s, {health}")).id
    world.settle()
    for attempt, ending in enumerate((FINISHED, FAILED, FINISHED), start=1):
        (order,) = orders(world).values()
        assert isinstance(order.body, Offer)
        assert (order.token, order.body.limits.grace_s) == (attempt, 15)
        assert order.body.health == messages.HealthPlan(run="./well", every_s=5, after_s=60, failures=2)
        world.home.say(order, Accept(), Staged(), started())
        world.clock.advance(rules.SHORT_RUN_MS)
        world.home.say(order, ending)
        world.home.poll()
        world.settle()
    assert world.reason(service) == ("running", "")


def test_a_replica_that_cannot_stay_up_is_left_alone_for_a_while(world: World) -> None:
    service = world.submit(service_file(1)).id
    world.settle()
    for pause_ms in (5_000, 10_000, 20_000):
        (order,) = orders(world).values()
        world.home.say(order, Accept(), Staged(), started(), FAILED)
        world.clock.advance(pause_ms - 1)
        world.home.poll()
        world.settle()
        assert states(world, service) == ["waiting"]
        world.clock.advance(1)
        world.settle()
        assert states(world, service) == ["staging"]
    assert world.check().findings == []


def test_a_service_that_is_asked_goes_only_where_somebody_can_ask(world: World) -> None:
    world.home.poll(asks_health=False)
    world.work()
    asked = world.submit(service_file(1, ", health: {run: ./well}")).id
    other = world.submit(service_file(1).replace("name: api", "name: other")).id
    world.settle()
    assert [(one.state.value, one.reason) for one in world.show(asked).members] == [
        ("waiting", "NoSuchShape")
    ]
    assert states(world, other) == ["staging"]
    world.hear()
    world.clock.advance(5_000)
    world.settle()
    assert states(world, asked) == ["staging"]


def test_the_pause_of_a_replica_outlives_a_round_that_goes_on_behind_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = world.submit(service_file(1)).id
    monkeypatch.setattr(rounds, "ROUND_MAX", 1)
    assert world.gate.do_work(), "the round places it, and another one waits to go on behind it"
    world.seal_log()
    (order,) = orders(world).values()
    world.home.say(order, Accept(), Staged(), started(), FAILED)
    world.clock.advance(5_000)
    world.home.poll()
    world.settle()
    assert states(world, service) == ["staging"]


def test_cancelling_a_service_lets_its_replicas_finish_and_ends_it(world: World) -> None:
    service = world.submit(service_file(2, ", drain: 5s")).id
    world.settle()
    taken = list(orders(world).values())
    for order in taken:
        world.home.say(order, Accept(), Staged(), started())
    world.perform(world.engineer, CancelJob(job=service))
    for order in taken:
        lease = world.home.renew(order)
        assert (lease.cancel, lease.grace_s) == (True, 5)
        world.home.say(order, FINISHED)
    world.settle()
    assert world.show(service).job.state.ended
    assert set(states(world, service)) <= {"succeeded", "cancelled"}
    assert world.check().findings == []
