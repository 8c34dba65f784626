"""An attempt from offer to end, told by real sealed messages through the real door."""

from __future__ import annotations

import msgspec
import pytest

from sekisho.compute import CancelJob, JobState, ReconcileAttempts, orders, rules
from sekisho.data import ListArtefacts
from sekisho.identity import DisableAgent
from sekisho.kernel.facts import SYSTEM
from sekisho_verify import canonical
from sekisho_wire import messages
from sekisho_wire.messages import Accept, Body, Envelope, Ok, Refused, Renew, Staged
from sekisho_wire.signing import seal
from tests.compute.world import CLOSED, FAILED, FINISHED, MODEL, Agent, World, code_of, job_file, started
from tests.data.world import digest_of

LEASE_MS = 60_000
SILENCE_MS = 90_000


def attempts(world: World, job: str) -> list[tuple[int, str, str]]:
    return [(item.number, item.state.value, item.reason) for item in world.show(job).attempts]


def test_from_offer_to_success(world: World) -> None:
    job, order = world.offered(job_file(more="data:\n  - {to: model, mount: /out}\n"))
    offer = order.body
    assert isinstance(offer, messages.Offer)
    assert (offer.job, offer.level, offer.run, offer.egress) == (job, 0, "python train.py", "none")
    assert (offer.limits.cpus, offer.limits.memory_bytes, offer.limits.wall_s) == (1, 1 << 30, 3600)
    assert offer.env["SEKISHO_ATTEMPT"] == order.attempt
    assert [(output.name, output.mount, output.upload) for output in offer.outputs] == [
        ("model", "/out", True)
    ]
    steps = [(Accept(), "staging"), (Staged(), "starting"), (started(), "running"), (FINISHED, "succeeded")]
    for body, state in steps:
        assert world.home.say(order, body) == Ok()
        shown = world.show(job)
        assert (shown.job.state.value, shown.attempts[0].state.value) == (state, state)
    attempt = world.show(job).attempts[0]
    assert (attempt.agent, attempt.site_name, attempt.exit_status) == (world.home.id, "ishikari", 0)
    assert (attempt.wall, attempt.canaries, attempt.usage["seconds"]) == ("bubblewrap", CLOSED, 72)
    whats = [event.what for event in world.show(job).events]
    assert whats == ["accepted", "placed", "starting", "running", "wall", "succeeded"]
    world.settle()
    actions = [record["action"] for record in world.records(stream=job)]
    assert actions == [
        "compute.job.submit",
        "compute.job.place",
        *["compute.attempt.report"] * 4,
        "ledger.stream.close",
    ]
    assert world.check().findings == []


def test_each_message_is_kept_as_it_was_signed(world: World) -> None:
    job, order = world.running()
    world.home.say(order, FINISHED)
    details = [record["detail"] for record in world.records(stream=job, action="compute.attempt.report")]
    assert [detail["event"] for detail in details] == ["accept", "staged", "started", "ended"]
    for detail in details:
        sealed = canonical.from_base64url(detail["message"])
        opened = world.home.door._open(sealed)
        assert (opened[0].attempt, opened[2]) == (order.attempt, detail["agent_key"])
    assert details[2]["canaries"] == CLOSED
    assert details[3]["outputs"] == {"model": MODEL.object}


def test_an_offer_leaves_only_once_its_record_is_under_a_checkpoint(world: World) -> None:
    job = world.submit().id
    world.work()
    assert attempts(world, job) == [(1, "offered", "")]
    assert world.home.poll() == []
    world.seal_log()
    assert [order.token for order in world.home.poll()] == [1]


def test_a_site_that_was_not_chosen_is_told_nothing(world: World) -> None:
    job, order = world.offered()
    assert world.abroad.poll() == []
    for body in (Accept(), FINISHED, Refused("engine.full")):
        assert code_of(lambda body=body: world.abroad.say(order, body)) == "attempt.fenced"
    assert code_of(lambda: world.abroad.renew(order)) == "attempt.fenced"
    assert code_of(lambda: world.abroad.log(order, 0, b"x")) == "attempt.fenced"
    assert attempts(world, job) == [(1, "offered", "")]


def test_an_order_is_asked_for_again_until_it_is_taken_each_with_its_own_number(world: World) -> None:
    _, first = world.offered()
    assert world.home.poll() == [], "an agent that cannot read it must not poll in circles"
    world.clock.advance(orders.OFFERED_MS)
    (second,) = world.home.poll()
    assert (second.attempt, second.lane) == (first.attempt, messages.LANE_ORDER)
    assert second.seq > first.seq
    world.home.say(second, Accept())
    assert world.home.poll() == []


def test_no_other_agent_of_the_site_may_take_over(world: World) -> None:
    job, order = world.offered()
    world.home.say(order, Accept())
    second = Agent(world, world.home.site, "another")
    assert second.id != world.home.id
    assert code_of(lambda: second.say(order, Staged())) == "attempt.fenced"
    assert attempts(world, job) == [(1, "staging", "")]


def test_the_same_bytes_again_get_the_same_answer(world: World) -> None:
    job, order = world.offered()
    sealed = seal(world.home.key, world.home.envelope("main", order, Accept()))
    first = bytes(world.home.door._message(sealed).body)
    records = len(world.records(stream=job))
    world.clock.advance(1000)
    assert bytes(world.home.door._message(sealed).body) == first
    assert len(world.records(stream=job)) == records
    assert attempts(world, job) == [(1, "staging", "")]


def test_an_older_number_or_other_bytes_are_a_replay(world: World) -> None:
    job, order = world.offered()
    world.home.say(order, Accept(), Staged())
    old = world.home.envelope("main", order, Accept(), 1)
    other = world.home.envelope("main", order, FAILED, 2)
    for envelope in (old, other):
        sealed = seal(world.home.key, envelope)
        assert code_of(lambda sealed=sealed: world.home.deliver(sealed)) == "agent.message.replayed"
    assert attempts(world, job) == [(1, "starting", "")]


def test_lanes_count_by_themselves(world: World) -> None:
    _, order = world.offered()
    world.home.say(order, Accept(), Staged(), started())
    assert world.home.seq["main"] == 3
    assert world.home.renew(order).lease_s == 60
    sealed = seal(world.home.key, world.home.envelope("lease", order, Renew(), 1))
    assert world.home.deliver(sealed).body == messages.Lease(lease_s=60)
    assert (
        code_of(
            lambda: world.home.deliver(seal(world.home.key, world.home.envelope("lease", order, Renew(), 0)))
        )
        == "agent.message.replayed"
    )


@pytest.mark.parametrize(
    ("said", "event"),
    [
        ([], Staged()),
        ([], started()),
        ([], FINISHED),
        ([Accept()], Accept()),
        ([Accept()], started()),
        ([Accept(), Staged()], Refused("engine.full")),
        ([Accept(), Staged(), started()], Accept()),
        ([Accept(), Staged(), started()], Staged()),
        ([Accept(), Staged(), started()], Refused("engine.full")),
    ],
)
def test_a_step_that_is_not_drawn_changes_nothing(world: World, said: list[Body], event: Body) -> None:
    job, order = world.offered()
    world.home.say(order, *said)
    before = world.show(job)
    assert code_of(lambda: world.home.say(order, event)) == "attempt.order"
    assert world.show(job) == before
    assert world.perform(world.engineer, ListArtefacts(job=job)).items == []
    failed = [record for record in world.records(stream=job) if record["outcome"] == "failed"]
    assert [record["detail"]["code"] for record in failed] == ["attempt.order"]
    assert world.check().findings == []


def test_success_is_not_claimed_for_what_never_ran(world: World) -> None:
    job, order = world.offered()
    world.home.say(order, Accept(), FINISHED)
    assert world.show(job).job.state is JobState.FAILED
    assert attempts(world, job) == [(1, "failed", "finished")]


def test_after_the_end_every_message_is_fenced(world: World) -> None:
    job, order = world.running()
    world.home.say(order, FINISHED)
    for body in (Accept(), Staged(), started(), FAILED, FINISHED, Refused("x")):
        assert code_of(lambda body=body: world.home.say(order, body)) == "attempt.fenced"
    assert code_of(lambda: world.home.renew(order)) == "attempt.fenced"
    assert world.show(job).job.state is JobState.SUCCEEDED
    assert len(world.perform(world.engineer, ListArtefacts(job=job)).items) == 1


def test_a_failure_of_the_payload_ends_the_job(world: World) -> None:
    job, order = world.running()
    world.home.say(order, FAILED)
    shown = world.show(job)
    assert (shown.job.state, shown.job.reason, shown.attempts[0].exit_status) == (
        JobState.FAILED,
        "failed",
        1,
    )
    world.settle()
    assert attempts(world, job) == [(1, "failed", "failed")]


@pytest.mark.parametrize("reason", sorted(rules.AGAIN - {"lost", "refused"}))
def test_what_says_nothing_against_the_job_is_tried_again_under_a_new_token(
    world: World, reason: str
) -> None:
    job, order = world.running()
    world.home.say(order, messages.Ended(reason=reason))
    assert world.show(job).job.state is JobState.WAITING
    world.settle()
    (again,) = world.home.offers()
    assert (again.token, again.attempt != order.attempt) == (2, True)
    assert code_of(lambda: world.home.say(order, FINISHED)) == "attempt.fenced"
    stale = msgspec.structs.replace(again, token=1)
    assert code_of(lambda: world.home.say(stale, Accept())) == "attempt.fenced"
    world.home.say(again, Accept(), Staged(), started(), FINISHED)
    assert attempts(world, job) == [(1, "failed", reason), (2, "succeeded", "finished")]
    world.settle()
    assert world.check().findings == []


def test_five_attempts_are_enough(world: World) -> None:
    job, order = world.offered()
    for number in range(1, rules.ATTEMPTS_MAX + 1):
        world.home.say(order, Refused("engine.full", "no room"))
        world.settle()
        offers = world.home.offers()
        assert len(offers) == (0 if number == rules.ATTEMPTS_MAX else 1)
        order = offers[0] if offers else order
    assert world.show(job).job.state is JobState.FAILED
    assert attempts(world, job) == [(n, "refused", "engine.full") for n in range(1, rules.ATTEMPTS_MAX + 1)]
    assert world.records(stream=job)[-1]["action"] == "ledger.stream.close"


def test_a_refused_offer_keeps_the_sites_words(world: World) -> None:
    job, order = world.offered()
    world.home.say(order, Refused("engine.full", "all cores are taken"))
    attempt = world.show(job).attempts[0]
    assert (attempt.state.value, attempt.reason, attempt.detail) == (
        "refused",
        "engine.full",
        "all cores are taken",
    )


def test_silence_loses_an_attempt_and_only_after_its_lease(world: World) -> None:
    job, order = world.running()
    world.clock.advance(SILENCE_MS)
    assert world.perform(SYSTEM, ReconcileAttempts()) == 0
    assert attempts(world, job) == [(1, "running", "")]
    world.clock.advance(1)
    world.hear()
    assert world.perform(SYSTEM, ReconcileAttempts()) == 1
    assert attempts(world, job) == [(1, "lost", "lost")]
    world.settle()
    (again,) = world.home.offers()
    assert again.token == 2
    for body in (FINISHED, messages.CheckpointSaved(digest_of(b"c"), 1)):
        assert code_of(lambda body=body: world.home.say(order, body)) == "attempt.fenced"
    assert code_of(lambda: world.home.renew(order)) == "attempt.fenced"
    assert attempts(world, job) == [(1, "lost", "lost"), (2, "offered", "")]
    lost = world.records(stream=job, action="compute.attempt.reconcile")
    assert [record["detail"] for record in lost] == [{"attempt": order.attempt, "token": 1}]
    assert world.check().findings == []


def test_renewals_keep_an_attempt_alive(world: World) -> None:
    job, order = world.running()
    for _ in range(6):
        world.clock.advance(LEASE_MS // 2)
        assert world.home.renew(order).lease_s == 60
        assert world.perform(SYSTEM, ReconcileAttempts()) == 0
    assert attempts(world, job) == [(1, "running", "")]
    before = len(world.records(stream=job))
    world.home.renew(order)
    assert len(world.records(stream=job)) == before, "a renewal changes no state and leaves no record"


def test_an_offer_nobody_takes_is_lost_too(world: World) -> None:
    job = world.submit().id
    world.settle()
    world.clock.advance(SILENCE_MS + 1)
    assert world.perform(SYSTEM, ReconcileAttempts()) == 1
    assert world.show(job).job.state is JobState.WAITING


def test_reconciling_puts_itself_back_into_the_queue(world: World) -> None:
    world.perform(SYSTEM, ReconcileAttempts())
    due_ms = world.gate.next_work_ms()
    assert due_ms == world.clock.now_ms() + LEASE_MS // 4


def test_room_is_given_back_by_whatever_ends_an_attempt(world: World) -> None:
    whole = "name: {}\nrun: x\nresources: {{cpus: 4, memory: 8}}\ncharter: {{residency: [JP]}}\n"
    _, order = world.offered(whole.format("first"))
    second = world.submit(whole.format("second")).id
    world.settle()
    assert (world.show(second).job.state.value, world.show(second).job.reason) == (
        "waiting",
        "WaitingCapacity",
    )
    world.home.say(order, Accept(), Staged(), started(), FINISHED)
    world.settle()
    assert world.show(second).job.state is JobState.STAGING


def test_a_cancel_reaches_the_agent_with_its_next_renewal_and_poll(world: World) -> None:
    job, order = world.running(job_file(more="checkpoint: {grace: 17s}\n"))
    assert not world.home.renew(order).cancel
    view = world.perform(world.engineer, CancelJob(job=job))
    assert (view.state, view.cancelling) == (JobState.RUNNING, True)
    assert world.perform(world.engineer, CancelJob(job=job)).cancelling
    lease = world.home.renew(order)
    assert (lease.cancel, lease.grace_s) == (True, 17)
    assert [type(item.body) for item in world.home.poll()] == [messages.Cancel]
    assert world.abroad.poll() == []
    world.home.say(order, messages.Ended(reason="job.cancelled", exit_status=-15))
    shown = world.show(job)
    assert (shown.job.state, shown.attempts[0].state.value) == (JobState.CANCELLED, "cancelled")
    world.settle()
    assert world.home.poll() == []
    assert world.records(stream=job)[-1]["detail"] == {"count": len(world.records(stream=job))}
    assert world.check().findings == []


def test_a_job_that_was_done_before_the_cancel_arrived_has_succeeded(world: World) -> None:
    job, order = world.running()
    world.perform(world.engineer, CancelJob(job=job))
    world.home.say(order, FINISHED)
    assert world.show(job).job.state is JobState.SUCCEEDED


def test_a_cancelled_job_whose_agent_falls_silent_is_not_placed_again(world: World) -> None:
    job, _ = world.running()
    world.perform(world.engineer, CancelJob(job=job))
    world.clock.advance(SILENCE_MS + 1)
    world.perform(SYSTEM, ReconcileAttempts())
    world.settle()
    assert world.show(job).job.state is JobState.CANCELLED
    assert attempts(world, job) == [(1, "lost", "lost")]


def test_an_offer_cancelled_while_it_is_on_its_way_is_fenced(world: World) -> None:
    job, order = world.offered()
    assert world.perform(world.engineer, CancelJob(job=job)).state is JobState.CANCELLED
    assert code_of(lambda: world.home.say(order, Accept())) == "attempt.fenced"
    assert world.home.poll() == []


def test_a_disabled_agent_is_nobody(world: World) -> None:
    job, order = world.running()
    world.perform(world.administrator, DisableAgent(agent=world.home.id))
    assert code_of(lambda: world.home.say(order, FINISHED)) == "agent.unknown"
    assert code_of(world.home.poll) == "agent.unknown"
    assert world.show(job).job.state is JobState.RUNNING


def test_a_message_sealed_by_another_key_is_from_nobody(world: World) -> None:
    _, order = world.offered()
    forged = seal(world.abroad.key, world.home.envelope("main", order, Accept()))
    assert code_of(lambda: world.home.door._message(forged)) == "agent.unknown"


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        ("att_" + "0" * 26, "attempt.fenced"),
        ("", "agent.seal"),
        ("x" * 64, "agent.seal"),
        ("att_\0", "agent.seal"),
    ],
)
def test_an_attempt_that_is_not_there_is_fenced(world: World, attempt: str, code: str) -> None:
    _, order = world.offered()
    strange: Envelope = msgspec.structs.replace(order, attempt=attempt)
    assert code_of(lambda: world.home.say(strange, Accept())) == code


@pytest.mark.parametrize("lane", [messages.LANE_ORDER, messages.LANE_POLL, "x", ""])
def test_only_the_lanes_of_messages_take_messages(world: World, lane: str) -> None:
    _, order = world.offered()
    assert code_of(lambda: world.home.say(order, Accept(), lane=lane)) == "agent.seal"
    world.clock.advance(orders.OFFERED_MS)
    assert len(world.home.poll()) == 1


def test_an_offer_nobody_took_has_no_lease_and_no_tickets(world: World) -> None:
    _, order = world.offered()
    assert code_of(lambda: world.home.renew(order)) == "attempt.fenced"
    ticket = messages.WantTicket("put", MODEL.object, 12)
    assert code_of(lambda: world.home.say(order, ticket)) == "attempt.fenced"


def test_a_payload_behind_another_wall_than_the_judged_one_is_ended(world: World) -> None:
    world.dataset("corpus")
    job, order = world.offered(job_file(more="data: [{from: corpus, mount: /data}]\n"))
    assert world.show(job).job.level == 1
    world.home.say(order, Accept(), Staged(), started(wall="none"))
    assert attempts(world, job) == [(1, "failed", messages.REASON_WALL_MISSING)]
    world.settle()
    assert world.check().findings == []
