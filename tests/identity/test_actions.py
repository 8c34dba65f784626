"""Organisations, people, teams, roles: through the gate, permitted and denied."""

from __future__ import annotations

from typing import Any

import pytest

from sekisho import identity
from sekisho.kernel import proposals
from sekisho.kernel.errors import DeniedError, InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import SYSTEM, Actor, Ref
from tests.identity.conftest import CHARTER, House, first


def code(error: pytest.ExceptionInfo[SekishoError]) -> str:
    return error.value.code


# --------------------------------------------------------------------------------------------------- genesis
def test_genesis_makes_organisation_two_administrators_and_charter(empty: House) -> None:
    made = empty.begin()
    assert empty.charters[-1] == CHARTER
    assert len({one.account for one in made.administrators}) == 2
    for number, one in enumerate(made.administrators):
        assert empty.sign_in.authenticate(one.token, "127.0.0.1").ref == empty.administrator(number).ref
    draft = next(d for d in empty.recorder.drafts.values() if d.action == "identity.genesis")
    assert (draft.actor, draft.resource.type, draft.resource.id) == ("system", "Org", made.organisation)
    assert {table for table, _, _ in draft.effects} == {
        "identity_organisations",
        "identity_facts",
        "identity_accounts",
        "identity_people",
        "identity_roles",
        "identity_tokens",
    }


def test_genesis_happens_once(house: House) -> None:
    with pytest.raises(SekishoError) as error:
        house.perform(SYSTEM, first())
    assert code(error) == "identity.genesis_done"
    assert len(house.rows("select id from identity_organisations")) == 1


def test_genesis_with_a_broken_charter_leaves_nothing(empty: House) -> None:
    with pytest.raises(ValueError, match="does not parse"):
        empty.perform(SYSTEM, first(charter="broken"))
    assert empty.rows("select id from identity_organisations") == []
    assert empty.rows("select id from identity_accounts") == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_genesis_takes_exactly_two_administrators(empty: House, count: int) -> None:
    person = identity.NewPerson(display_name="x")
    with pytest.raises(InvalidInputError):
        empty.perform(SYSTEM, first(administrators=[person] * count))
    assert empty.rows("select id from identity_organisations") == []


def test_nobody_but_the_system_begins(empty: House) -> None:
    with pytest.raises(NotFoundError):
        empty.perform(Actor(Ref("User", "usr_x")), first())


def test_records_name_no_person_and_no_secret(house: House) -> None:
    house.person("山田 太郎", email="taro@example.jp")
    text = house.records()
    for secret in ("山田", "taro", "青木", "aiko", house.first_token(), house.first_token(1)):
        assert secret not in text


# --------------------------------------------------------------------------------------------- organisations
def test_an_organisation_is_declared_changed_and_shown(house: House) -> None:
    ann = house.administrator()
    made = house.perform(
        ann,
        identity.CreateOrganisation(
            name="Overseas K.K.",
            jurisdiction="JP",
            parent_jurisdiction="US",
            foreign_control_pct=80,
            parent="Overseas Inc.",
            legal_exposure=("US-CLOUD-ACT",),
            source="registry extract",
        ),
    )
    assert made.facts["foreign_control_pct"].value == 80
    fact = made.facts["jurisdiction"]
    assert (fact.grade, fact.issuer, fact.source) == ("D", ann.ref.id, "registry extract")
    changed = house.perform(ann, identity.UpdateOrganisation(organisation=made.id, foreign_control_pct=20))
    assert changed.facts["foreign_control_pct"].value == 20
    assert changed.facts["parent_jurisdiction"].value == "US"
    assert house.perform(ann, identity.ShowOrganisation(organisation=made.id)) == changed
    listed = house.perform(ann, identity.ListOrganisations())
    assert [one.id for one in listed.items] == sorted([house.organisation, made.id])


def test_a_fact_ends_at_its_time_and_the_worst_is_assumed(house: House) -> None:
    ann, end_ms = house.administrator(), house.clock.now_ms() + 1000
    house.perform(
        ann,
        identity.UpdateOrganisation(
            organisation=house.organisation, foreign_control_pct=3, expires_ms=end_ms
        ),
    )
    source = identity.OrganisationEntities(house.clock)

    def control() -> Any:
        entities = house.database.read(lambda tx: list(source.entities(tx)))
        return next(e for e in entities if e.ref.id == house.organisation).attributes["foreign_control_pct"]

    assert control() == 3
    before = house.database.read(lambda tx: tx.facts_version())
    house.clock.advance(1000)
    assert control() == 100
    assert house.gate.do_work()
    assert house.rows("select * from identity_facts where name = 'foreign_control_pct'") == []
    assert house.database.read(lambda tx: tx.facts_version()) != before


def test_a_fact_stated_anew_outlives_the_old_end(house: House) -> None:
    ann, now_ms = house.administrator(), house.clock.now_ms()
    for end_ms in (now_ms + 1000, now_ms + 9000):
        house.perform(
            ann,
            identity.UpdateOrganisation(
                organisation=house.organisation, jurisdiction="JP", expires_ms=end_ms
            ),
        )
    house.clock.advance(1000)
    while house.gate.do_work():
        pass
    assert len(house.rows("select * from identity_facts where name = 'jurisdiction'")) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"jurisdiction": "jp"},
        {"jurisdiction": "JP\n"},
        {"foreign_control_pct": 101},
        {"foreign_control_pct": -1},
        {"certs": ("has space",)},
        {"name": ""},
        {"name": " \u3000 "},
        {"name": "a\u202eb"},
        {"name": "a\x00b"},
        {"name": "x" * 121},
        {"expires_ms": 1},
    ],
)
def test_bad_declarations_change_nothing(house: House, change: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "name": "Acme",
        "jurisdiction": "JP",
        "parent_jurisdiction": "JP",
        "foreign_control_pct": 0,
    }
    with pytest.raises(InvalidInputError):
        house.perform(house.administrator(), identity.CreateOrganisation(**(given | change)))
    assert len(house.rows("select id from identity_organisations")) == 1


def test_lists_hold_exactly_what_may_be_shown_and_page(house: House) -> None:
    ann = house.administrator()
    for number in range(7):
        house.person(f"人{number}")
    pages: list[list[str]] = []
    cursor = ""
    while True:
        page = house.perform(ann, identity.ListPeople(cursor=cursor, limit=3))
        pages.append([one.id for one in page.items])
        if page.next is None:
            break
        cursor = page.next
    everyone = [
        row["id"] for row in house.rows("select id from identity_accounts where kind = 'User' order by id")
    ]
    assert [one for page in pages for one in page] == everyone
    assert max(map(len, pages)) == 3
    house.decider.denied.add((ann.ref.id, "identity.person.show"))
    assert house.perform(ann, identity.ListPeople()).items == []


def test_what_one_may_not_see_does_not_exist(house: House) -> None:
    person = house.person()
    house.decider.denied.add((person.ref.id, "identity.organisation.show"))
    with pytest.raises(NotFoundError):
        house.perform(person, identity.ShowOrganisation(organisation=house.organisation))
    with pytest.raises(NotFoundError):
        house.perform(house.administrator(), identity.ShowOrganisation(organisation="org_none"))


# --------------------------------------------------------------------------------------------------- people
def test_a_person_has_no_role_until_somebody_grants_one(house: House) -> None:
    person = house.person(residence="JP")
    entity = house.entity(person)
    assert entity is not None
    assert entity.attributes == {
        "org": Ref("Org", house.organisation),
        "roles": frozenset(),
        "residence": "JP",
        "mfa": False,
        "clearances": frozenset(),
    }
    house.perform(house.administrator(), identity.GrantRole(account=person.ref.id, role="engineer"))
    entity = house.entity(person)
    assert entity is not None
    assert entity.attributes["roles"] == frozenset({"engineer"})
    house.perform(house.administrator(), identity.RevokeRole(account=person.ref.id, role="engineer"))
    entity = house.entity(person)
    assert entity is not None
    assert entity.attributes["roles"] == frozenset()


def test_clearances_come_with_their_end(house: House) -> None:
    ann, person = house.administrator(), house.person()
    with pytest.raises(InvalidInputError, match="clearance"):
        house.perform(ann, identity.UpdatePerson(person=person.ref.id, clearances=("secret",)))
    end_ms = house.clock.now_ms() + 5000
    house.perform(
        ann,
        identity.UpdatePerson(person=person.ref.id, clearances=("secret",), clearance_until_ms=end_ms),
    )
    entity = house.entity(person)
    assert entity is not None
    assert entity.attributes["clearances"] == frozenset({"secret"})
    house.clock.advance(5000)
    entity = house.entity(person)
    assert entity is not None
    assert entity.attributes["clearances"] == frozenset()


def test_a_disabled_person_is_out_at_once_and_can_come_back(house: House) -> None:
    person = house.person()
    token = house.token(person)
    opened = house.sign_in.open_with_token(token.secret, "127.0.0.1")
    house.perform(house.administrator(), identity.DisablePerson(person=person.ref.id))
    assert house.entity(person) is None
    for attempt in (
        lambda: house.sign_in.authenticate(token.secret, "127.0.0.1"),
        lambda: house.sign_in.session(opened.secret),
        lambda: house.perform(person, identity.ShowMe()),
    ):
        with pytest.raises(SekishoError) as error:
            attempt()
        assert code(error) == "auth.required"
    house.perform(house.administrator(), identity.EnablePerson(person=person.ref.id))
    assert house.sign_in.authenticate(token.secret, "127.0.0.1").ref == person.ref


def test_erasure_leaves_only_the_pseudonym(house: House) -> None:
    ann = house.administrator()
    person = house.person("山田 太郎", email="taro@example.jp", residence="JP")
    house.perform(ann, identity.GrantRole(account=person.ref.id, role="engineer"))
    team = house.perform(ann, identity.CreateTeam(organisation=house.organisation, name="vision"))
    house.perform(ann, identity.AddMember(team=team.id, person=person.ref.id))
    token = house.token(person)
    opened = house.sign_in.open_with_token(token.secret, "127.0.0.1")
    house.perform(
        SYSTEM,
        identity.AdmitLogin(
            issuer="https://idp.example", subject="other", organisation=house.organisation, display_name="x"
        ),
    )
    view = house.perform(ann, identity.ErasePerson(person=person.ref.id))
    assert (view.state, view.display_name, view.email, view.facts) == ("erased", "", "", {})
    for needle in ("山田", "taro", token.id):
        assert needle not in house.everything()
    assert house.rows("select state from identity_accounts where id = :id", id=person.ref.id) == [
        {"state": "erased"}
    ]
    with pytest.raises(SekishoError) as error:
        house.sign_in.session(opened.secret)
    assert code(error) == "auth.required"
    with pytest.raises(NotFoundError):
        house.perform(ann, identity.ShowPerson(person=person.ref.id))
    with pytest.raises(NotFoundError):
        house.perform(ann, identity.EnablePerson(person=person.ref.id))
    assert person.ref.id not in [one.id for one in house.perform(ann, identity.ListPeople()).items]


def test_addresses_are_for_the_person_and_who_may_change_them(house: House) -> None:
    person = house.person("次郎", email="jiro@example.jp")
    other = house.person()
    assert house.perform(person, identity.ShowPerson(person=person.ref.id)).email == "jiro@example.jp"
    house.decider.denied.add((other.ref.id, "identity.person.update"))
    seen = house.perform(other, identity.ShowPerson(person=person.ref.id))
    assert (seen.display_name, seen.email, seen.facts) == ("次郎", "", {})


# ------------------------------------------------------------------------------------------------- two people
def test_administration_takes_two_people(house: House) -> None:
    ann, ben, person = house.administrator(0), house.administrator(1), house.joined()
    proposed: Any = house.perform(ann, identity.GrantAdministrator(person=person.ref.id))
    assert isinstance(proposed, proposals.Proposed)
    assert house.rows("select role from identity_roles where account = :a", a=person.ref.id) == []
    with pytest.raises(SekishoError) as error:
        house.perform(ann, proposals.ApproveProposal(proposal=proposed.proposal))
    assert code(error) == "proposal.same_person"
    house.perform(ben, proposals.ApproveProposal(proposal=proposed.proposal))
    assert house.rows("select role from identity_roles where account = :a", a=person.ref.id) == [
        {"role": "administrator"}
    ]
    assert house.recorder.last.approvers == (ann.ref.id, ben.ref.id)


def test_a_proposal_of_somebody_disabled_meanwhile_is_void(house: House) -> None:
    ann, ben, person = house.administrator(0), house.administrator(1), house.joined()
    proposed: Any = house.perform(ann, identity.GrantAdministrator(person=person.ref.id))
    house.perform(ben, identity.DisablePerson(person=ann.ref.id))
    with pytest.raises(SekishoError):
        house.perform(ben, proposals.ApproveProposal(proposal=proposed.proposal))
    assert house.rows("select role from identity_roles where account = :a", a=person.ref.id) == []


@pytest.mark.parametrize("role", ["administrator", "compliance", "releaser"])
def test_one_administrator_makes_no_second_person(house: House, role: Any) -> None:
    person = house.joined()
    with pytest.raises(SekishoError) as error:
        house.perform(house.administrator(), identity.GrantRole(account=person.ref.id, role=role))
    assert code(error) == "identity.needs_two_people"
    assert house.rows("select role from identity_roles where account = :a", a=person.ref.id) == []


def test_a_second_person_is_none_the_more_for_another_such_role(house: House) -> None:
    person = house.joined()
    house.grant_releaser(person)
    view = house.perform(house.administrator(), identity.GrantRole(account=person.ref.id, role="compliance"))
    assert view.roles == ["compliance", "releaser"]
    assert house.recorder.last.approvers == ()
    with pytest.raises(SekishoError) as error:
        house.perform(house.administrator(), identity.GrantRole(account=person.ref.id, role="administrator"))
    assert code(error) == "identity.needs_two_people"


def test_nobody_becomes_a_second_person_before_they_have_signed_in(house: House) -> None:
    person = house.person().ref.id
    for command in (
        identity.GrantAdministrator(person=person),
        identity.GrantApprover(person=person, role="compliance"),
    ):
        with pytest.raises(SekishoError) as error:
            house.perform(house.administrator(), command)
        assert code(error) == "identity.not_joined"


def test_one_administrator_cannot_sign_in_as_the_other(house: House) -> None:
    with pytest.raises(SekishoError) as error:
        house.perform(house.administrator(0), identity.InvitePerson(person=house.administrator(1).ref.id))
    assert code(error) == "identity.already_joined"


@pytest.mark.parametrize(
    "people",
    [
        (("A", "a@example.jp"), ("B", "A@example.jp")),
        (("A", ""), (" A", "")),
    ],
)
def test_genesis_takes_two_different_people(empty: House, people: tuple[tuple[str, str], ...]) -> None:
    administrators = [identity.NewPerson(display_name=name, email=email) for name, email in people]
    with pytest.raises(InvalidInputError, match="different"):
        empty.perform(SYSTEM, first(administrators=administrators))
    assert empty.rows("select id from identity_organisations") == []


def test_two_administrators_always_remain(house: House) -> None:
    ann, ben = house.administrator(0), house.administrator(1)
    for command in (
        identity.RevokeRole(account=ben.ref.id, role="administrator"),
        identity.ErasePerson(person=ben.ref.id),
    ):
        with pytest.raises(SekishoError) as error:
            house.perform(ann, command)
        assert code(error) == "identity.last_administrators"
    house.perform(ann, identity.DisablePerson(person=ben.ref.id))
    with pytest.raises(SekishoError) as error:
        house.perform(ann, identity.DisablePerson(person=ann.ref.id))
    assert code(error) == "identity.last_administrators"


def test_programs_get_no_role_of_people(house: House) -> None:
    service = house.service()
    for role in ("compliance", "releaser", "auditor", "training_manager"):
        with pytest.raises(SekishoError):
            house.perform(house.administrator(), identity.GrantRole(account=service.ref.id, role=role))
    house.perform(house.administrator(), identity.GrantRole(account=service.ref.id, role="engineer"))
    entity = house.entity(service)
    assert entity is not None
    assert entity.attributes["roles"] == frozenset({"engineer"})
    with pytest.raises(NotFoundError):
        house.perform(house.administrator(), identity.GrantAdministrator(person=service.ref.id))


def test_a_denied_grant_changes_nothing_and_stays_on_record(house: House) -> None:
    person, other = house.person(), house.person()
    house.decider.denied.add((person.ref.id, "identity.role.grant"))
    with pytest.raises(DeniedError):
        house.perform(person, identity.GrantRole(account=other.ref.id, role="engineer"))
    assert house.rows("select role from identity_roles where account = :a", a=other.ref.id) == []
    assert house.recorder.last.outcome == "denied"


# ----------------------------------------------------------------------------------------- teams and services
def test_teams_take_people_of_their_own_organisation(house: House) -> None:
    ann, person = house.administrator(), house.person()
    team = house.perform(ann, identity.CreateTeam(organisation=house.organisation, name="vision"))
    with pytest.raises(SekishoError) as error:
        house.perform(ann, identity.CreateTeam(organisation=house.organisation, name="vision"))
    assert code(error) == "identity.exists"
    assert house.perform(ann, identity.AddMember(team=team.id, person=person.ref.id)).members == [
        person.ref.id
    ]
    entity = house.entity(person)
    assert entity is not None
    assert entity.parents == (Ref("Team", team.id),)
    other = house.perform(
        ann,
        identity.CreateOrganisation(
            name="Other", jurisdiction="US", parent_jurisdiction="US", foreign_control_pct=100
        ),
    )
    stranger = house.perform(ann, identity.CreatePerson(organisation=other.id, display_name="S"))
    with pytest.raises(NotFoundError):
        house.perform(ann, identity.AddMember(team=team.id, person=stranger.id))
    assert house.perform(ann, identity.RemoveMember(team=team.id, person=person.ref.id)).members == []
    with pytest.raises(NotFoundError):
        house.perform(ann, identity.RemoveMember(team=team.id, person=person.ref.id))
    entity = house.entity(person)
    assert entity is not None
    assert entity.parents == ()
    assert [one.name for one in house.perform(ann, identity.ListTeams()).items] == ["vision"]


def test_a_service_acts_with_its_token_until_disabled(house: House) -> None:
    ann, service = house.administrator(), house.service()
    token = house.perform(ann, identity.CreateServiceToken(service=service.ref.id, label="nightly"))
    assert house.sign_in.authenticate(token.secret, "10.0.0.1").ref == service.ref
    with pytest.raises(SekishoError) as error:
        house.sign_in.open_with_token(token.secret, "10.0.0.1")
    assert code(error) == "auth.people_only"
    view = house.perform(ann, identity.DisableService(service=service.ref.id))
    assert view.state == "disabled"
    with pytest.raises(SekishoError) as error:
        house.sign_in.authenticate(token.secret, "10.0.0.1")
    assert code(error) == "auth.required"
    assert [one.state for one in house.perform(ann, identity.ListServices()).items] == ["disabled"]


def test_who_am_i(house: House) -> None:
    me = house.perform(house.administrator(), identity.ShowMe())
    assert (me.display_name, me.organisation_name, me.roles) == (
        "青木 愛子",
        "国立計算機構",
        ["administrator"],
    )
    assert (me.kind, me.scopes, me.account) == ("User", None, house.administrator().ref.id)


# ---------------------------------------------------------------------------------------------- facts version
def test_what_the_charter_caches_is_told_to_read_again(house: House) -> None:
    person = house.joined()

    def version() -> int:
        return house.database.read(lambda tx: tx.facts_version())

    before = version()
    house.grant_releaser(person)
    assert version() != before
    approvers = identity.ApproverEntities(house.clock)
    found = house.database.read(lambda tx: list(approvers.entities(tx)))
    assert {entity.ref.id for entity in found} == {
        person.ref.id,
        house.administrator(0).ref.id,
        house.administrator(1).ref.id,
    }
