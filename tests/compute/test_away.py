"""Sites that are out of touch for hours, and gangs of nodes: what the control plane takes from what a site says."""

from __future__ import annotations

import pytest

from sekisho.compute import JobState, ReconcileAttempts
from sekisho.kernel.facts import SYSTEM
from sekisho_wire import messages
from sekisho_wire.messages import Accept, Offer, Staged
from tests.compute.world import FINISHED, Agent, World, code_of, job_file, started

HOUR_MS = 3_600_000
FOUR_HOURS = 4 * 3600
FACTORY = "  sites: [factory]\n"


@pytest.fixture
def factory(world: World) -> Agent:
    """A box in a factory that may be away for four hours."""
    operator = world.organisation("Example Works")
    return Agent(world, world.site("factory", operator, away_seconds=FOUR_HOURS))


def offer(agent: Agent) -> messages.Envelope:
    (order,) = agent.offers()
    assert isinstance(order.body, Offer)
    return order


def test_an_offer_waits_for_a_site_that_is_away(world: World, factory: Agent) -> None:
    factory.poll()
    world.work()
    job = world.submitted(FACTORY)
    world.settle()
    assert world.reason(job) == ("staging", "")
    world.clock.advance(5 * HOUR_MS)
    assert world.perform(SYSTEM, ReconcileAttempts()) == 0
    order = offer(factory)
    assert order.token == 1
    assert isinstance(order.body, Offer)
    assert order.body.lease_s == FOUR_HOURS


def test_a_transfer_can_be_begun_again_for_as_long_as_the_site_may_be_away(
    world: World, factory: Agent
) -> None:
    factory.poll()
    world.work()
    world.submit(job_file(more=FACTORY), workdir=world.workdir())
    world.settle()
    order = offer(factory)
    assert isinstance(order.body, Offer)
    assert order.body.workdir is not None
    world.clock.advance(6 * HOUR_MS - 1)
    assert world.control.tickets.open(order.body.workdir.ticket).want == "get"
    world.clock.advance(1)
    assert code_of(lambda: world.control.tickets.open(order.body.workdir.ticket)) == "data.ticket"


def test_a_site_that_is_away_still_counts_as_one_that_answers(world: World, factory: Agent) -> None:
    factory.poll()
    world.work()
    world.clock.advance(3 * HOUR_MS)
    assert world.reason(world.submitted(FACTORY)) == ("staging", "")
    world.clock.advance(4 * HOUR_MS)
    assert world.reason(world.submitted(FACTORY)) == ("waiting", "SiteUnavailable")


def test_a_result_that_comes_late_counts_and_counts_once(world: World, factory: Agent) -> None:
    factory.poll()
    world.work()
    job = world.submitted(FACTORY)
    world.settle()
    order = offer(factory)
    factory.say(order, Accept(), Staged(), started())
    assert factory.renew(order).lease_s == FOUR_HOURS
    world.clock.advance(5 * HOUR_MS)
    assert world.perform(SYSTEM, ReconcileAttempts()) == 0
    factory.say(order, FINISHED)
    assert code_of(lambda: factory.say(order, FINISHED)) == "attempt.fenced"
    shown = world.show(job)
    assert (shown.job.state, shown.job.attempts) == (JobState.SUCCEEDED, 1)


def test_a_site_that_stays_away_for_too_long_loses_its_attempt(world: World, factory: Agent) -> None:
    factory.poll()
    world.work()
    job = world.submitted(FACTORY)
    world.settle()
    order = offer(factory)
    factory.say(order, Accept(), Staged(), started())
    world.clock.advance(6 * HOUR_MS + 1)
    assert world.perform(SYSTEM, ReconcileAttempts()) == 1
    assert world.reason(job) == ("waiting", "lost")
    assert code_of(lambda: factory.say(order, FINISHED)) == "attempt.fenced"


def test_the_other_sites_are_as_short_of_patience_as_before(world: World, factory: Agent) -> None:
    job, order = world.running()
    assert isinstance(order.body, Offer)
    assert (order.body.lease_s, world.home.renew(order).lease_s) == (60, 60)
    world.clock.advance(90_001)
    assert world.perform(SYSTEM, ReconcileAttempts()) == 1
    assert world.reason(job)[1] == "lost"
    assert factory.offers() == []


@pytest.mark.parametrize(("hours", "lost"), [(2, 0), (4, 1)])
def test_where_no_lease_holds_a_job_is_placed_again_only_after_its_time_limit(
    world: World, hours: int, lost: int
) -> None:
    job, order = world.running(job_file(more="time_limit: 2h\n"))
    world.home.poll(holds_leases=False)
    world.work()
    assert world.home.renew(order).lease_s == 60, "an agent that is there still ends what it cannot renew"
    world.clock.advance(hours * HOUR_MS)
    assert world.perform(SYSTEM, ReconcileAttempts()) == lost
    if lost:
        assert world.reason(job) == ("waiting", "lost")
    else:
        world.home.say(order, FINISHED)
        assert world.reason(job)[0] == "succeeded"


def test_an_offer_that_nobody_accepted_is_given_up_soon_where_no_lease_holds(world: World) -> None:
    world.home.poll(holds_leases=False)
    world.work()
    job, order = world.offered(job_file(more="time_limit: 48h\n"))
    world.clock.advance(90_001)
    assert world.perform(SYSTEM, ReconcileAttempts()) == 1
    assert world.reason(job) == ("waiting", "lost")
    assert code_of(lambda: world.home.say(order, Accept())) == "attempt.fenced"


def test_a_gang_goes_only_where_gangs_are_started(world: World) -> None:
    text = job_file(more="num_nodes: 2\n").replace("cpus: 1", "cpus: 2")
    job = world.submit(text).id
    world.work()
    assert world.reason(job) == ("waiting", "NoSuchShape")
    world.home.poll(nodes=4)
    world.clock.advance(5_000)
    world.settle()
    (order,) = world.home.offers()
    assert isinstance(order.body, Offer)
    assert (order.body.nodes, order.body.limits.cpus) == (2, 2)
    other = world.submit(job_file("b")).id
    world.work()
    assert world.reason(other) == ("waiting", "WaitingCapacity"), "both nodes of the gang hold the site"
