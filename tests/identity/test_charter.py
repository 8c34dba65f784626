"""Identity's commands under the charter this program ships with: who may what, with the real engine."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho import charter, identity
from sekisho.kernel import proposals
from sekisho.kernel.clock import ManualClock
from sekisho.kernel.db import open_database
from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import ANONYMOUS, SYSTEM, Actor, Entity, Moment, Ref
from sekisho.kernel.gate import Gate
from sekisho.kernel.tx import Tx
from tests.identity.conftest import CONTROL_KEY, first
from tests.support import toy


class Sites:
    """Sites of the test, complete in the charter's eyes."""

    def __init__(self) -> None:
        self.operators: dict[str, str] = {}

    def __call__(self, tx: Tx, site: str, /) -> Entity:
        del tx
        if site not in self.operators:
            raise NotFoundError(id=site)
        proof = {
            "checked_at": Moment(0),
            "bound_km": 0,
            "foreign_margin_km": 0,
            "landmarks": 0,
            "bound_to_tee": False,
        }
        attributes = {
            "country": "JP",
            "operator": Ref("Org", self.operators[site]),
            "proof": proof,
            "tee": False,
            "disconnected": False,
            "certs": frozenset[str](),
            "stand_in": True,
            "wall": "none",
            "grades": {"country": 0, "operator": 0},
        }
        return Entity(Ref("Site", site), attributes)

    def entities(self, tx: Tx) -> Iterable[Entity]:
        return [self(tx, site) for site in self.operators]


class Nation:
    """Two organisations, one administrator each side of the fence, under the real charter."""

    def __init__(self, url: str) -> None:
        self.clock, self.sites, self.recorder = ManualClock(toy.START_MS), Sites(), toy.Memory()
        self.database = open_database(url)
        sources = [
            identity.OrganisationEntities(self.clock),
            identity.ApproverEntities(self.clock),
            self.sites,
        ]
        engine = charter.CharterEngine(sources)
        office = charter.Office(engine)
        self.gate = Gate(
            self.database,
            clock=self.clock,
            decider=engine,
            principals=identity.IdentityPrincipals(self.clock),
            recorder=self.recorder,
            handlers=(
                *identity.handlers(
                    clock=self.clock,
                    sites=self.sites,
                    control_key=CONTROL_KEY,
                    install_charter=office.install,
                    agents_changed=lambda _ctx, _site: None,
                ),
                *charter.handlers(office),
            ),
        )
        self.perform = self.gate.perform
        genesis = self.perform(SYSTEM, first(charter=charter.default_policies()))
        self.home = genesis.organisation
        self.ann, self.ben = (Actor(Ref("User", one.account)) for one in genesis.administrators)
        self.away = self.perform(
            self.ann,
            identity.CreateOrganisation(
                name="Away", jurisdiction="JP", parent_jurisdiction="US", foreign_control_pct=100
            ),
        ).id
        self.sites.operators |= {"site_home": self.home, "site_away": self.away}

    def person(self, organisation: str, *roles: Any) -> Actor:
        made = self.perform(self.ann, identity.CreatePerson(organisation=organisation, display_name="x"))
        link = self.perform(self.ann, identity.InvitePerson(person=made.id))
        identity.SignIn(self.perform).open_with_link(link.secret, "127.0.0.1")
        for role in roles:
            if role in {"compliance", "releaser"}:
                self.approve(identity.GrantApprover(person=made.id, role=role))
            else:
                self.perform(self.ann, identity.GrantRole(account=made.id, role=role))
        return Actor(Ref("User", made.id))

    def approve(self, command: Any) -> None:
        proposed = self.perform(self.ann, command)
        self.perform(self.ben, proposals.ApproveProposal(proposal=proposed.proposal))

    def may(self, actor: Actor, command: Any) -> bool:
        try:
            self.perform(actor, command)
        except (DeniedError, NotFoundError):
            return False
        return True


@pytest.fixture
def nation(db_url: str) -> Iterator[Nation]:
    found = Nation(db_url)
    yield found
    found.database.close()


def test_who_has_no_role_sees_only_themselves(nation: Nation) -> None:
    nobody, other = nation.person(nation.home), nation.person(nation.home)
    assert nation.perform(nobody, identity.ShowMe()).roles == []
    token = nation.perform(nobody, identity.CreateToken(label="mine"))
    assert [one.id for one in nation.perform(nobody, identity.ListTokens()).items] == [token.id]
    assert nation.may(nobody, identity.CreateLink())
    for command in (
        identity.ShowPerson(person=other.ref.id),
        identity.ListPeople(),
        identity.ShowOrganisation(organisation=nation.home),
        identity.ListTeams(),
    ):
        assert not nation.may(nobody, command)


def administration(nation: Nation, person: str) -> list[Callable[[], Any]]:
    return [
        lambda: identity.CreateOrganisation(
            name="N", jurisdiction="JP", parent_jurisdiction="JP", foreign_control_pct=0
        ),
        lambda: identity.UpdateOrganisation(organisation=nation.home, certs=("ismap",)),
        lambda: identity.CreatePerson(organisation=nation.home, display_name="N"),
        lambda: identity.UpdatePerson(person=person, display_name="M"),
        lambda: identity.GrantRole(account=person, role="engineer"),
        lambda: identity.RevokeRole(account=person, role="engineer"),
        lambda: identity.GrantAdministrator(person=person),
        lambda: identity.CreateService(organisation=nation.home, name="N"),
        lambda: identity.CreateTeam(organisation=nation.home, name="N"),
        lambda: identity.GrantApprover(person=person, role="releaser"),
        lambda: identity.DisablePerson(person=person),
        lambda: identity.EnablePerson(person=person),
        lambda: identity.ErasePerson(person=person),
        lambda: identity.InviteAgent(site="site_away"),
    ]


def test_only_administrators_administer(nation: Nation) -> None:
    engineer = nation.person(nation.home, "engineer", "auditor", "compliance", "releaser", "analyst")
    person = nation.person(nation.home).ref.id
    commands = administration(nation, person)
    assert [nation.may(engineer, make()) for make in commands] == [False] * len(commands)
    assert [nation.may(nation.ann, make()) for make in commands] == [True] * len(commands)


def test_people_of_other_organisations_are_not_there(nation: Nation) -> None:
    engineer, stranger = nation.person(nation.home, "engineer"), nation.person(nation.away, "engineer")
    assert nation.may(engineer, identity.ListPeople())
    assert not nation.may(engineer, identity.ListPeople(organisation=nation.away))
    assert not nation.may(engineer, identity.ShowPerson(person=stranger.ref.id))
    assert nation.may(nation.ann, identity.ShowPerson(person=stranger.ref.id))
    assert nation.may(engineer, identity.ShowOrganisation(organisation=nation.away))
    assert {one.id for one in nation.perform(engineer, identity.ListOrganisations()).items} == {
        nation.home,
        nation.away,
    }


def test_operators_invite_agents_to_their_own_site(nation: Nation) -> None:
    operator = nation.person(nation.away, "site_operator")
    assert not nation.may(operator, identity.InviteAgent(site="site_home"))
    code = nation.perform(operator, identity.InviteAgent(site="site_away")).code
    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    agent = nation.perform(
        ANONYMOUS,
        identity.RegisterAgent(
            code=code, name="a", public_key=base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        ),
    )
    assert [one.id for one in nation.perform(operator, identity.ListAgents(site="site_away")).items] == [
        agent.id
    ]
    other = nation.person(nation.home, "site_operator")
    assert not nation.may(other, identity.DisableAgent(agent=agent.id))
    assert nation.may(operator, identity.DisableAgent(agent=agent.id))


def test_administration_is_granted_by_two_administrators(nation: Nation) -> None:
    person, officer = nation.person(nation.home), nation.person(nation.home, "compliance")
    proposed: Any = nation.perform(nation.ann, identity.GrantAdministrator(person=person.ref.id))
    with pytest.raises(SekishoError):
        nation.perform(officer, proposals.ApproveProposal(proposal=proposed.proposal))
    nation.perform(nation.ben, proposals.ApproveProposal(proposal=proposed.proposal))
    assert nation.perform(person, identity.ShowMe()).roles == ["administrator"]


def test_the_systems_own_commands_are_permitted(nation: Nation) -> None:
    end_ms = nation.clock.now_ms() + 10
    nation.perform(
        nation.ann, identity.UpdateOrganisation(organisation=nation.away, certs=("x",), expires_ms=end_ms)
    )
    nation.clock.advance(10)
    while nation.gate.do_work():
        pass
    view = nation.perform(nation.ann, identity.ShowOrganisation(organisation=nation.away))
    assert "certs" not in view.facts
    nation.perform(SYSTEM, identity.RemoveExpired())
    account = nation.perform(
        SYSTEM,
        identity.AdmitLogin(
            issuer="https://idp", subject="s", organisation=nation.home, display_name="x", roles=("engineer",)
        ),
    )
    assert nation.perform(Actor(Ref("User", account)), identity.ShowMe()).roles == ["engineer"]
    link = nation.perform(SYSTEM, identity.CreateLink(account=account))
    sign_in = identity.SignIn(nation.perform)
    opened = sign_in.open_with_link(link.secret, "127.0.0.1")
    assert sign_in.session(opened.secret).actor.ref.id == account
