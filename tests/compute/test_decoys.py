"""A site with a second agent elsewhere: what was measured of one agent is worth nothing to the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sekisho.data import ConfirmRelease
from sekisho.identity import DisableAgent
from sekisho.kernel.facts import SYSTEM
from sekisho.sites import ShowProof
from sekisho_wire import messages
from sekisho_wire.keying import KeyGranted, KeyPending, KeyRefused
from tests.compute.sealed_world import READS, SealedWorld, want
from tests.compute.world import Agent, code_of, job_file, started
from tests.sites.yard import LANDMARKS

UNPROVEN = KeyRefused(reason="place.unproven")


@pytest.fixture
def sealed(tmp_path: Path, db_url: str) -> Iterator[SealedWorld]:
    world = SealedWorld(tmp_path, db_url)
    yield world.begin()
    world.close()


def another(sealed: SealedWorld, name: str) -> Agent:
    """A further agent of the site at home, some time after the first."""
    sealed.clock.advance(1000)
    return Agent(sealed, sealed.home.site, name)


def measured(sealed: SealedWorld, name: str) -> Agent:
    """A further agent of the site at home, which is the one that landmarks measure from now on."""
    second = another(sealed, name)
    sealed.yard.agent = name
    sealed.yard.prove()
    return second


def standing(sealed: SealedWorld) -> bool:
    return sealed.perform(sealed.administrator, ShowProof(site=sealed.home.site.id)).standing is not None


def test_an_offer_goes_to_the_agent_that_was_measured_and_no_other_can_take_it(sealed: SealedWorld) -> None:
    decoy = measured(sealed, "decoy")
    sealed.submit(job_file(more=READS))
    sealed.settle()
    assert sealed.home.offers() == [], "its place is what nobody has measured"
    (order,) = decoy.offers()
    assert code_of(lambda: sealed.home.say(order, messages.Accept())) == "attempt.fenced"
    assert decoy.say(order, messages.Accept()) == messages.Ok()


def test_below_level_two_every_agent_of_a_site_is_as_good(sealed: SealedWorld) -> None:
    measured(sealed, "decoy")
    _, order = sealed.offered()
    assert sealed.home.say(order, messages.Accept()) == messages.Ok()


def test_a_key_that_was_decided_leaves_only_to_the_agent_that_was_measured_last(sealed: SealedWorld) -> None:
    job, order = sealed.staging()
    question = want()
    assert isinstance(sealed.home.say(order, question), KeyPending)
    sealed.seal_log()
    measured(sealed, "decoy")
    assert sealed.home.say(order, question) == UNPROVEN
    assert sealed.home.say(order, want()) == UNPROVEN
    (refused,) = [
        record
        for record in sealed.records(job, "data.key.release")
        if record["outcome"] == "failed" and "order" in record["detail"]
    ]
    assert (refused["decision"], refused["effects"]) == ("allow", []), "the charter was not what said no"


def test_a_run_begins_only_where_it_was_measured_and_keeps_its_keys_only_there(sealed: SealedWorld) -> None:
    _, order = sealed.staging()
    assert isinstance(sealed.ask(order), KeyGranted)
    assert sealed.perform(SYSTEM, ConfirmRelease(attempt=order.attempt))
    measured(sealed, "decoy")
    assert not sealed.perform(SYSTEM, ConfirmRelease(attempt=order.attempt))
    lease = sealed.home.renew(order)
    assert (lease.cancel, lease.reason) == (True, "place.unproven")
    sealed.home.say(order, messages.Staged(), started())
    assert sealed.reason(order.body.job if isinstance(order.body, messages.Offer) else "") == (
        "waiting",
        "place.unproven",
    )


def test_a_proof_falls_with_every_agent_that_comes_or_goes(sealed: SealedWorld) -> None:
    assert standing(sealed)
    second = another(sealed, "second")
    assert not standing(sealed)
    sealed.yard.agent = "second"
    sealed.yard.prove()
    assert standing(sealed)
    sealed.perform(sealed.administrator, DisableAgent(agent=second.id))
    assert not standing(sealed)
    job = sealed.submit(job_file(more=READS)).id
    sealed.settle()
    assert sealed.reason(job) == ("waiting", "CharterForbids")
    assert [found for found in sealed.check().findings if found.seen != "rec_of_a_test"] == []


def test_what_was_measured_of_an_agent_that_is_not_the_newest_any_more_does_not_stand(
    sealed: SealedWorld,
) -> None:
    sealed.later(1)
    sealed.yard.ask()
    tasks = {name: sealed.yard.task(name) for name in LANDMARKS}
    another(sealed, "second")
    for name, task in tasks.items():
        held = replace(sealed.yard.held(name, task), site_key="agent-ishikari")
        assert sealed.yard.hand_in(name, held.write(), task=task).standing is None
    assert not standing(sealed)
    assert sealed.yard.ask() != tasks["north"].request, "who is there now is asked about at once"
