"""Principals are remembered, and never for longer than they hold: whatever happens in between."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho import identity
from sekisho.identity import principals, tables
from sekisho.kernel.errors import ConflictError, NotFoundError
from sekisho.kernel.facts import ANONYMOUS, SYSTEM, Actor, Entity, Ref
from tests.identity.conftest import House

ROLES = ("engineer", "analyst", "auditor")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), st.sampled_from(ROLES)),
        st.tuples(st.just("revoke"), st.sampled_from(ROLES)),
        st.tuples(st.sampled_from(["disable", "enable", "join", "leave"]), st.just("")),
        st.tuples(st.just("live_in"), st.sampled_from(["JP", "US", ""])),
        st.tuples(st.just("clear"), st.sampled_from(["c1", "c2"])),
        st.tuples(st.just("wait"), st.just("")),
    ),
    max_size=12,
)


def fresh(house: House, actor: Actor) -> Entity | None:
    new = identity.IdentityPrincipals(house.clock)
    return house.database.read(lambda tx: new.principal(tx, actor))


def step(house: House, person: Actor, team: str, what: tuple[str, str]) -> None:
    ann, (verb, value), account = house.administrator(), what, person.ref.id
    if verb == "wait":
        house.clock.advance(700)
        return
    command: Any = {
        "grant": lambda: identity.GrantRole(account=account, role=value),  # type: ignore[arg-type] - one of ROLES
        "revoke": lambda: identity.RevokeRole(account=account, role=value),  # type: ignore[arg-type] - one of ROLES
        "disable": lambda: identity.DisablePerson(person=account),
        "enable": lambda: identity.EnablePerson(person=account),
        "join": lambda: identity.AddMember(team=team, person=account),
        "leave": lambda: identity.RemoveMember(team=team, person=account),
        "live_in": lambda: identity.UpdatePerson(person=account, residence=value),
        "clear": lambda: identity.UpdatePerson(
            person=account, clearances=(value,), clearance_until_ms=house.clock.now_ms() + 1000
        ),
    }[verb]()
    # A role that is not there or a state that does not fit is refused, and then nothing may change either.
    with contextlib.suppress(NotFoundError, ConflictError):
        house.perform(ann, command)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_remembered_equals_read_anew_after_anything(house: House, steps: list[tuple[str, str]]) -> None:
    person = house.person()
    team = house.perform(
        house.administrator(), identity.CreateTeam(organisation=house.organisation, name=person.ref.id)
    ).id
    assert house.entity(person) == fresh(house, person)
    for what in steps:
        step(house, person, team, what)
        assert house.entity(person) == fresh(house, person)


def test_an_unchanged_principal_is_not_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    person = house.person()
    assert house.entity(person) is not None
    monkeypatch.setattr(principals, "load", None)
    assert house.entity(person) is not None


def test_a_change_that_failed_is_not_remembered(house: House) -> None:
    person = house.person()
    before = house.entity(person)

    def half_done(tx: Any) -> None:
        with tx.claimed_by("rec_x"):
            tables.add_role(tx, person.ref.id, "engineer", ("hand", 0))
            tables.touch(tx, person.ref.id)
        seen = house.principals.principal(tx, person)
        assert seen is not None
        assert seen.attributes["roles"] == frozenset({"engineer"})
        raise RuntimeError("told to fail")

    with pytest.raises(RuntimeError, match="told to fail"):
        house.database.write(half_done)
    assert house.entity(person) == before


@pytest.mark.parametrize(
    "actor",
    [
        Actor(Ref("User", "usr_none")),
        Actor(Ref("System", "somebody")),
        Actor(Ref("Anonymous", "somebody")),
        Actor(Ref("Org", "org_none")),
    ],
)
def test_nobody_else_is_a_principal(house: House, actor: Actor) -> None:
    assert house.entity(actor) is None


def test_an_account_has_one_kind(house: House) -> None:
    assert house.entity(Actor(Ref("Service", house.administrator().ref.id))) is None
    assert house.entity(Actor(Ref("User", house.service().ref.id))) is None


def test_the_system_and_strangers_are_bare(house: House) -> None:
    assert house.entity(SYSTEM) == Entity(SYSTEM.ref)
    assert house.entity(ANONYMOUS) == Entity(ANONYMOUS.ref)


def test_memory_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principals, "REMEMBERED_MAX", 2)
    people = [house.person() for _ in range(4)]
    for person in [*people, *people]:
        assert house.entity(person) == fresh(house, person)
    assert len(house.principals._remembered) <= 2


def test_many_threads_see_every_change(house: House) -> None:
    person, stop = house.person(), threading.Event()
    wrong: list[Entity | None] = []
    changes = 0  # odd while the role is known to be there; only this thread counts

    def look() -> None:
        while not stop.is_set():
            before = changes
            entity = house.entity(person)
            if before % 2 and before == changes and (entity is None or not entity.attributes["roles"]):
                wrong.append(entity)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            house.perform(house.administrator(), identity.GrantRole(account=person.ref.id, role="engineer"))
            changes += 1
            assert house.entity(person) == fresh(house, person)
            changes += 1
            house.perform(house.administrator(), identity.RevokeRole(account=person.ref.id, role="engineer"))
            entity = house.entity(person)
            assert entity is not None
            assert entity.attributes["roles"] == frozenset()
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert wrong == []


def test_teams_and_organisations_are_the_charters_slow_entities(house: House) -> None:
    team = house.perform(
        house.administrator(), identity.CreateTeam(organisation=house.organisation, name="vision")
    )
    source = identity.OrganisationEntities(house.clock)
    found = {e.ref: e for e in house.database.read(lambda tx: list(source.entities(tx)))}
    assert found[Ref("Team", team.id)].attributes == {"owner": Ref("Org", house.organisation)}
    organisation = found[Ref("Org", house.organisation)]
    assert organisation.attributes["jurisdiction"] == "JP"
    assert organisation.attributes["certs"] == frozenset({"ismap"})


def test_only_who_may_approve_is_a_slow_entity(house: House) -> None:
    house.person()
    releaser = house.joined()
    house.grant_releaser(releaser)
    source = identity.ApproverEntities(house.clock)

    def found() -> set[str]:
        return {entity.ref.id for entity in house.database.read(lambda tx: list(source.entities(tx)))}

    administrators = {house.administrator(number).ref.id for number in (0, 1)}
    assert found() == administrators | {releaser.ref.id}
    house.perform(house.administrator(), identity.DisablePerson(person=releaser.ref.id))
    assert found() == administrators
