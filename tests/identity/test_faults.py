"""Many at once, and evidence afterwards: what must happen once happens once, and every row has its record."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho import identity
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import ANONYMOUS, SYSTEM
from sekisho.kernel.tx import DELETED, canonical_key, row_digest
from tests.identity.conftest import SITE, House, first

AT_ONCE = 8
WAIT_SECONDS = 60
KEYS = {
    "identity_accounts": ("id",),
    "identity_agents": ("account",),
    "identity_facts": ("subject", "name"),
    "identity_invitations": ("digest",),
    "identity_logins": ("issuer", "subject"),
    "identity_members": ("team", "account"),
    "identity_organisations": ("id",),
    "identity_people": ("account",),
    "identity_roles": ("account", "role", "origin"),
    "identity_services": ("account",),
    "identity_teams": ("id",),
    "identity_tokens": ("id",),
}


def together(*attempts: Callable[[], Any]) -> tuple[list[Any], list[str]]:
    """Run all at the same moment; answers results and the codes of those refused. Anything else fails the test."""
    start = threading.Barrier(len(attempts))
    results: list[Any] = []
    codes: list[str] = []
    broken: list[Exception] = []

    def run(attempt: Callable[[], Any]) -> None:
        start.wait(WAIT_SECONDS)
        try:
            results.append(attempt())
        except SekishoError as error:
            codes.append(error.code)
        except Exception as error:  # noqa: BLE001 - handed to the test's own thread below
            broken.append(error)

    threads = [threading.Thread(target=run, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert broken == []
    assert len(results) + len(codes) == len(attempts)
    return results, codes


def test_genesis_at_the_same_moment_happens_once(empty: House) -> None:
    results, codes = together(*[lambda: empty.perform(SYSTEM, first())] * 4)
    assert len(results) == 1
    assert set(codes) <= {"identity.genesis_done", "busy"}
    assert len(empty.rows("select id from identity_organisations")) == 1
    assert len(empty.rows("select id from identity_accounts")) == 2


def test_a_link_opens_one_session_however_many_use_it(house: House) -> None:
    link = house.perform(house.administrator(), identity.CreateLink())
    results, codes = together(*[lambda: house.sign_in.open_with_link(link.secret, "192.0.2.9")] * AT_ONCE)
    assert len(results) == 1
    assert set(codes) <= {"auth.link_spent", "auth.rate_limited", "busy"}
    assert len(house.rows("select * from kernel_sessions")) == 1


def test_a_code_registers_one_agent(house: House) -> None:
    code = house.perform(house.administrator(), identity.InviteAgent(site=SITE)).code

    def register() -> identity.AgentView:
        raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        key = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        return house.perform(ANONYMOUS, identity.RegisterAgent(code=code, name="a", public_key=key))

    results, codes = together(*[register] * AT_ONCE)
    assert len(results) == 1
    assert set(codes) <= {"identity.code_refused", "busy"}
    assert len(house.rows("select * from identity_agents")) == 1


def test_two_administrators_cannot_shut_each_other_out(house: House) -> None:
    ann, ben = house.administrator(0), house.administrator(1)
    together(
        lambda: house.perform(ann, identity.DisablePerson(person=ben.ref.id)),
        lambda: house.perform(ben, identity.DisablePerson(person=ann.ref.id)),
    )
    active = house.rows("select id from identity_accounts where state = 'active'")
    assert len(active) == 1


def test_a_first_sign_in_from_outside_makes_one_account(house: House) -> None:
    command = identity.AdmitLogin(
        issuer="https://idp.example", subject="s1", organisation=house.organisation, display_name="x"
    )
    results, codes = together(*[lambda: house.perform(SYSTEM, command)] * AT_ONCE)
    assert len(set(results)) == 1
    assert set(codes) <= {"busy"}
    assert len(house.rows("select * from identity_logins")) == 1


def test_one_token_serves_many_at_once(house: House) -> None:
    token = house.first_token()
    results, codes = together(*[lambda: house.sign_in.authenticate(token, "192.0.2.9")] * AT_ONCE)
    assert (len(results), codes) == (AT_ONCE, [])


def test_every_row_is_claimed_by_the_record_it_names(house: House) -> None:
    live_through_everything(house)
    claims: dict[tuple[str, str], str] = {}
    owners: dict[tuple[str, str], str] = {}
    for draft in house.recorder.drafts.values():
        for table, key, digest in draft.effects:
            claims[table, key], owners[table, key] = digest, draft.id
    present: set[tuple[str, str]] = set()
    for table, columns in KEYS.items():
        for row in house.rows(f"select * from {table}"):
            place = table, canonical_key([row[column] for column in columns])
            present.add(place)
            assert claims[place] == row_digest(row), place
            assert owners[place] == row["record_id"], place
    mine = {place for place in claims if place[0] in KEYS}
    assert {place for place in mine if claims[place] != DELETED} == present
    assert {table for table, _ in present} == set(KEYS) - {"identity_invitations"}


def live_through_everything(house: House) -> None:
    ann, person, service = house.administrator(), house.joined(residence="JP"), house.service()
    house.grant_releaser(person)
    house.perform(ann, identity.GrantRole(account=service.ref.id, role="engineer"))
    team = house.perform(ann, identity.CreateTeam(organisation=house.organisation, name="T")).id
    house.perform(ann, identity.AddMember(team=team, person=person.ref.id))
    house.perform(ann, identity.CreateServiceToken(service=service.ref.id, label="x"))
    code = house.perform(ann, identity.InviteAgent(site=SITE)).code
    raw = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    key = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    house.perform(ANONYMOUS, identity.RegisterAgent(code=code, name="a", public_key=key))
    for roles in (("engineer",), ("analyst",)):
        house.perform(
            SYSTEM,
            identity.AdmitLogin(
                issuer="https://idp.example",
                subject="s1",
                organisation=house.organisation,
                display_name="y",
                roles=roles,
                mfa=True,
            ),
        )
    house.perform(
        ann, identity.UpdateOrganisation(organisation=house.organisation, name="新しい名前", certs=())
    )
    token = house.token(person)
    house.perform(person, identity.RevokeToken(token=token.id))
    house.perform(ann, identity.ErasePerson(person=person.ref.id))
    house.perform(ann, identity.AddMember(team=team, person=house.person().ref.id))
    house.perform(ann, identity.InviteAgent(site=SITE))
    house.clock.advance(25 * 3600 * 1000)
    house.perform(SYSTEM, identity.RemoveExpired())
