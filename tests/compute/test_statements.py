"""What the often used commands ask of the database: on PostgreSQL each statement is a way there and back."""

from __future__ import annotations

from collections.abc import Callable

from tests.compute.world import FINISHED, World, job_file
from tests.support.statements import counted

SUBMIT_MAX, IDLE_POLL_MAX, RENEW_MAX, END_MAX = 10, 10, 9, 20
"""For jobs without data, the agents' door included; more is to be decided, not to happen."""


def sent(work: Callable[[], object]) -> list[str]:
    """The statements of one command."""
    with counted() as seen:
        work()
    return seen


def test_what_is_asked_often_is_asked_in_few_statements(world: World) -> None:
    job, order = world.running(job_file("b"))
    renewed = sent(lambda: world.home.renew(order))
    ended = sent(lambda: world.home.say(order, FINISHED))
    assert world.reason(job)[0] == "succeeded"
    world.home.poll()
    idle = sent(world.home.poll)
    submitted = sent(world.submit)
    assert len(set(renewed)) == len(renewed), "nothing is asked twice"
    assert len(set(submitted)) == len(submitted) - 1, (
        "who submits, in the look for its bytes and in the decision"
    )
    assert len(submitted) <= SUBMIT_MAX
    assert len(idle) <= IDLE_POLL_MAX
    assert len(renewed) <= RENEW_MAX
    assert len(ended) <= END_MAX


def test_several_orders_of_one_poll_are_numbered_one_after_the_other(world: World) -> None:
    for name in "abc":
        world.submit(job_file(name))
        world.settle()
    with counted() as seen:
        orders = world.home.poll()
    assert len(orders) > 1
    assert [order.seq for order in orders] == [*range(orders[0].seq, orders[0].seq + len(orders))]
    assert len([text for text in seen if "kernel_lanes" in text]) == 2, "read once, written once"
    world.clock.advance(60_000)
    later = world.home.poll()
    assert later[0].seq == orders[-1].seq + 1
