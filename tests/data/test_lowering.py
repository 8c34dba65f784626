"""Lower levels through the gate: two people, a reason, never below the floor, and outputs made before keep theirs."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.data import LowerArtefact, LowerDataset, ShowArtefact, ShowDataset, rules
from sekisho.kernel.errors import DeniedError, SekishoError
from sekisho.kernel.facts import Actor
from tests.data.test_actions import put_artefact
from tests.data.test_releases import last, refused, sound
from tests.data.world import World


class People:
    def __init__(self, world: World) -> None:
        self.asks = world.releaser("asks", world.office)
        self.agrees = world.releaser("agrees", world.office)
        self.other = world.releaser("other", world.laboratory)


@pytest.fixture
def people(world: World) -> People:
    return People(world)


def lower(kind: type[Any], thing: str, level: int, *approvers: Actor) -> Any:
    field = "artefact" if kind is LowerArtefact else "dataset"
    named = [one.ref.id for one in approvers]
    return kind(**{field: thing}, level=level, approvers=named, reason="names were taken out")


def test_an_artefact_is_lowered_by_two_people_and_the_old_level_stays_on_record(
    world: World, people: People
) -> None:
    artefact = put_artefact(world, level=3, kind="output")
    made_before = put_artefact(world, level=3, name="tuned")
    command = lower(LowerArtefact, artefact.id, 2, people.agrees)
    proposal = world.asked(people.asks, command).proposal
    assert world.perform(world.engineer, ShowArtefact(artefact=artefact.id)).level == 3
    assert world.approve(people.agrees, proposal)["level"] == 2
    assert world.perform(world.engineer, ShowArtefact(artefact=artefact.id)).level == 2
    assert world.perform(world.engineer, ShowArtefact(artefact=made_before.id)).level == 3
    done = last(world, "data.artefact.lower", world.office)
    assert done["approvers"] == [people.asks.ref.id, people.agrees.ref.id]
    assert (done["detail"]["from"], done["detail"]["to"]) == (3, 2)
    assert done["detail"]["reason"] == "names were taken out"
    assert sound(world)


def test_a_dataset_is_lowered_and_what_is_read_of_it_from_now_on_is_lower(
    world: World, people: People
) -> None:
    dataset = world.dataset("corpus", level=1)
    proposal = world.asked(people.asks, lower(LowerDataset, dataset.id, 0, people.agrees)).proposal
    assert world.approve(people.agrees, proposal)["level"] == 0
    assert world.perform(world.engineer, ShowDataset(dataset="corpus")).level == 0
    done = last(world, "data.dataset.lower", world.office)
    assert (done["detail"]["from"], done["detail"]["to"]) == (1, 0)
    assert world.check().findings == []


def test_every_owner_has_a_say(world: World, people: People) -> None:
    shared = put_artefact(world, level=3, owners=[world.office, world.laboratory])
    alone = lower(LowerArtefact, shared.id, 2, people.agrees)
    assert refused(functools.partial(world.perform, people.asks, alone)) == "data.approver.missing"
    both = lower(LowerArtefact, shared.id, 2, people.agrees, people.other)
    proposal = world.asked(people.asks, both).proposal
    world.approve(people.agrees, proposal)
    assert world.approve(people.other, proposal)["level"] == 2
    assert last(world, "data.artefact.lower", world.laboratory)["detail"]["from"] == 3


def test_nobody_lowers_alone_or_what_is_not_theirs(world: World, people: People) -> None:
    artefact, dataset = put_artefact(world, level=3), world.dataset("corpus")
    for kind, thing in ((LowerArtefact, artefact.id), (LowerDataset, dataset.id)):
        level = 2 if kind is LowerArtefact else 0
        mine = lower(kind, thing, level, people.asks)
        assert refused(functools.partial(world.perform, people.asks, mine)) == "data.approver.requester"
        theirs = lower(kind, thing, level, people.agrees)
        assert refused(functools.partial(world.perform, people.other, theirs)) == "not_found"
        with pytest.raises(DeniedError):
            world.perform(world.person(f"no-{kind.__name__}", world.office, "engineer"), theirs)
    assert world.rows("select * from kernel_proposals") == []


def test_what_became_lower_meanwhile_is_not_lowered_twice(world: World, people: People) -> None:
    artefact = put_artefact(world, level=3)
    command = lower(LowerArtefact, artefact.id, 2, people.agrees)
    first, second = (world.asked(people.asks, command).proposal for _ in range(2))
    world.approve(people.agrees, first)
    assert refused(functools.partial(world.approve, people.agrees, second)) == "proposal.changed"


@given(level=st.integers(0, 5), wanted=st.integers(0, 5))
def test_never_up_never_below_the_floor_and_never_from_four(level: int, wanted: int) -> None:
    allowed = (level, wanted) in {(1, 0), (3, 2)}
    if allowed:
        rules.check_lower(level, wanted)
        return
    with pytest.raises(SekishoError) as caught:
        rules.check_lower(level, wanted)
    assert caught.value.code == ("data.lower_not" if wanted >= level else "data.lower_floor")
