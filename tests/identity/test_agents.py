"""Sites' agents: invited with a one-time code, registered with a key, refused once disabled."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho import identity
from sekisho.identity import rules
from sekisho.kernel.errors import InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import ANONYMOUS, Actor, Ref
from sekisho_wire.messages import parse_registration_code
from tests.identity.conftest import CONTROL_KEY, SITE, House


def key() -> str:
    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def refused(code: str, attempt: Callable[[], Any]) -> None:
    with pytest.raises(SekishoError) as error:
        attempt()
    assert error.value.code == code


def invite(house: House) -> str:
    return house.perform(house.administrator(), identity.InviteAgent(site=SITE)).code


def register(house: House, code: str, **changes: Any) -> identity.AgentView:
    given: dict[str, Any] = {"code": code, "name": "agent-1", "public_key": key()} | changes
    return house.perform(ANONYMOUS, identity.RegisterAgent(**given))


def find(house: House, agent: str) -> identity.AgentView | None:
    return house.database.read(lambda tx: identity.find_agent(tx, agent))


def test_an_agent_registers_with_a_code_that_carries_our_key(house: House) -> None:
    code = invite(house)
    parsed = parse_registration_code(code)
    assert parsed is not None
    assert (parsed.control_key, parsed.site) == (CONTROL_KEY, SITE)
    assert parsed.secret not in house.everything()
    agent = register(house, code)
    assert (agent.site, agent.organisation, agent.state) == (SITE, house.organisation, "active")
    assert find(house, agent.id) == agent
    entity = house.entity(Actor(Ref("Agent", agent.id)))
    assert entity is not None
    assert entity.attributes == {"org": Ref("Org", house.organisation), "site": Ref("Site", SITE)}
    assert house.recorder.last.detail == {"agent": agent.id, "agent_key": agent.public_key}
    assert house.changed == [SITE]


def test_a_code_works_once(house: House) -> None:
    code = invite(house)
    register(house, code)
    refused("identity.code_refused", lambda: register(house, code))


def test_a_code_lives_a_day(house: House) -> None:
    code = invite(house)
    house.clock.advance(rules.INVITATION_MS)
    refused("identity.code_refused", lambda: register(house, code))


def test_a_code_is_for_its_own_site(house: House) -> None:
    house.sites["site_other"] = house.organisation
    code = invite(house)
    refused("identity.code_refused", lambda: register(house, code.replace(SITE, "site_other")))


@pytest.mark.parametrize(
    "code", ["", "x", "sekisho-reg1.A.B.c", "sekisho-reg1." + "A" * 43 + "." + "B" * 43 + ".site_home"]
)
def test_a_made_up_code_is_refused_and_leaves_no_record(house: House, code: str) -> None:
    before = len(house.recorder.drafts)
    refused("identity.code_refused", lambda: register(house, code))
    assert len(house.recorder.drafts) == before


@pytest.mark.parametrize("public_key", ["", "A" * 42, "A" * 44, "é" * 43, "!" * 43, "A" * 42 + "B"])
def test_a_key_has_one_spelling(house: House, public_key: str) -> None:
    code = invite(house)
    with pytest.raises(InvalidInputError):
        register(house, code, public_key=public_key)
    register(house, code)


def test_a_key_is_taken_once(house: House) -> None:
    agent = register(house, invite(house))
    house.perform(house.administrator(), identity.DisableAgent(agent=agent.id))
    refused("identity.exists", lambda: register(house, invite(house), public_key=agent.public_key))


def test_a_disabled_agent_is_refused_at_once(house: House) -> None:
    agent = register(house, invite(house))
    actor = Actor(Ref("Agent", agent.id))
    assert house.entity(actor) is not None
    view = house.perform(house.administrator(), identity.DisableAgent(agent=agent.id))
    assert view.state == "disabled"
    assert house.changed == [SITE, SITE], "what was shown of the site was shown of an agent that is gone"
    assert find(house, agent.id) is None
    assert house.entity(actor) is None
    listed = house.perform(house.administrator(), identity.ListAgents(site=SITE))
    assert [(one.id, one.state) for one in listed.items] == [(agent.id, "disabled")]


def test_unknown_sites_and_agents_do_not_exist(house: House) -> None:
    for command in (
        identity.InviteAgent(site="site_none"),
        identity.DisableAgent(agent="agt_none"),
        identity.ListAgents(site="site_none"),
    ):
        with pytest.raises(NotFoundError):
            house.perform(house.administrator(), command)
    assert find(house, "agt_none") is None


def test_an_agent_is_neither_person_nor_role(house: House) -> None:
    agent = register(house, invite(house))
    assert house.entity(Actor(Ref("User", agent.id))) is None
    with pytest.raises(NotFoundError):
        house.perform(house.administrator(), identity.GrantRole(account=agent.id, role="engineer"))
    with pytest.raises(NotFoundError):
        house.perform(house.administrator(), identity.GrantAdministrator(person=agent.id))
