"""Handlers of sites' agents and of people whom an identity provider vouches for."""

from __future__ import annotations

import base64
import binascii
import functools
import secrets
from collections.abc import Callable
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sekisho.identity import model_agents as m
from sekisho.identity import rules, tables, tables_access
from sekisho.identity.errors import CODE_REFUSED, DISABLED, EXISTS, TWO_PEOPLE
from sekisho.identity.issue import SECRET_BYTES
from sekisho.identity.targets import Sites, find_organisation, on_owned, row_id
from sekisho.kernel.clock import Clock
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Row, Tx
from sekisho_wire.messages import RegistrationCode, parse_registration_code

AGENTS_MAX = 10_000

AgentsChanged: TypeAlias = Callable[[Ctx, str], None]
"""Told, in the same transaction, that an agent of a site (by id) came or went; what was shown of another one falls."""


def find_agent(tx: Tx, agent: str) -> m.AgentView | None:
    """An agent that may speak now: registered and not disabled. For the agents' own door."""
    row = tables_access.agent(tx, agent)
    return _view(row) if row is not None and row["state"] == "active" else None


def newest_agent(tx: Tx, site: str) -> m.AgentView | None:
    """The agent of a site that registered last, of those that may speak now."""
    active = [row for row in tables_access.agents(tx, site, "", AGENTS_MAX) if row["state"] == "active"]
    return _view(active[-1]) if active else None


def _on_site(site: Entity) -> Target:
    return Target(resource=site, stream=_operator(site))


def _operator(site: Entity) -> str:
    operator = site.attributes.get("operator")
    if not isinstance(operator, Ref):
        raise NotFoundError(id=site.ref.id)
    return operator.id


def _site_target(tx: Tx, principal: Entity, command: m.InviteAgent | m.ListAgents, *, sites: Sites) -> Target:
    del principal
    return _on_site(sites(tx, command.site))


def invite(ctx: Ctx, command: m.InviteAgent, *, control_key: str) -> m.NewInvitation:
    """The code is the proof of the agent towards us, and carries our key as the proof of us towards the agent."""
    del command
    site, operator = ctx.target.resource.ref.id, ctx.target.stream
    find_organisation(ctx.tx, operator)
    secret, expires_ms = secrets.token_urlsafe(SECRET_BYTES), ctx.now_ms + rules.INVITATION_MS
    tables_access.insert_invitation(ctx.tx, rules.digest(secret), site, (operator, ctx.now_ms, expires_ms))
    return m.NewInvitation(RegistrationCode(secret, control_key, site).text(), site, expires_ms)


def _register_target(tx: Tx, principal: Entity, command: m.RegisterAgent, *, sites: Sites) -> Target:
    """Refuses here, before there is a decision: strangers' guesses leave no records."""
    del principal
    return _on_site(sites(tx, _usable_invitation(tx, command.code)["site"]))


def _usable_invitation(tx: Tx, code: str) -> Row:
    parsed = parse_registration_code(code)
    row = tables_access.invitation(tx, rules.digest(parsed.secret)) if parsed else None
    if parsed is None or row is None or row["site"] != parsed.site:
        raise SekishoError(CODE_REFUSED)
    return row


def register(ctx: Ctx, command: m.RegisterAgent, *, agents_changed: AgentsChanged) -> m.AgentView:
    """Use the code up and bind the key to the site."""
    invitation = _usable_invitation(ctx.tx, command.code)
    if invitation["expires_ms"] <= ctx.now_ms:
        raise SekishoError(CODE_REFUSED)
    _check_key(command.public_key)
    if tables_access.agent_with_key(ctx.tx, command.public_key) is not None:
        raise SekishoError(EXISTS, what="public_key")
    agent = ctx.new_id("agt")
    tables.insert_account(ctx.tx, agent, ("Agent", invitation["organisation"], ctx.now_ms))
    name = rules.clean_text("name", command.name)
    tables_access.insert_agent(ctx.tx, agent, invitation["site"], (name, command.public_key))
    tables_access.drop_invitation(ctx.tx, invitation["digest"])
    agents_changed(ctx, invitation["site"])
    ctx.detail(agent=agent, agent_key=command.public_key)
    return _view(tables_access.agent(ctx.tx, agent) or {})


def _check_key(public_key: str) -> None:
    try:
        raw = base64.urlsafe_b64decode(public_key + "=")
        Ed25519PublicKey.from_public_bytes(raw)
    except (binascii.Error, ValueError):
        raw = b""
    # 43 characters carry two spare bits: without this one key would have four spellings.
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != public_key:
        raise InvalidInputError(field="public_key", what="not an Ed25519 key in base64url")


def _disable_target(tx: Tx, principal: Entity, command: m.DisableAgent, *, sites: Sites) -> Target:
    del principal
    row = tables_access.agent(tx, command.agent)
    if row is None:
        raise NotFoundError(id=command.agent)
    return _on_site(sites(tx, row["site"]))


def disable(ctx: Ctx, command: m.DisableAgent, *, agents_changed: AgentsChanged) -> m.AgentView:
    """For good: a key that was refused once does not come back."""
    tables.set_state(ctx.tx, command.agent, "disabled")
    ctx.detail(agent=command.agent)
    found = _view(tables_access.agent(ctx.tx, command.agent) or {})
    agents_changed(ctx, found.site)
    return found


def list_agents(ctx: Ctx, command: m.ListAgents) -> m.AgentPage:
    """Agents of one site; who may see the site's agents sees all of them."""
    rows, following = ctx.page(
        functools.partial(tables_access.agents, ctx.tx, ctx.target.resource.ref.id),
        start=command.cursor,
        limit=command.limit,
        key=row_id,
        seen=lambda _row: True,
    )
    return m.AgentPage([_view(row) for row in rows], following)


def _view(row: Row) -> m.AgentView:
    return m.AgentView(
        id=row["id"],
        name=row["name"],
        site=row["site"],
        organisation=row["organisation"],
        state=row["state"],
        public_key=row["public_key"],
        created_ms=row["created_ms"],
    )


def _admit_target(tx: Tx, principal: Entity, command: m.AdmitLogin, *, clock: Clock) -> Target:
    del principal
    if rules.ADMINISTRATOR in command.roles:
        raise SekishoError(TWO_PEOPLE, role=rules.ADMINISTRATOR)
    account = tables_access.login(tx, command.issuer, command.subject)
    if not account:
        find_organisation(tx, command.organisation)
        return on_owned("Account", new_id("usr", clock.now_ms()), command.organisation)
    row = tables.account(tx, account)
    if row is None or row["state"] != "active":
        raise SekishoError(DISABLED)
    return on_owned("Account", account, row["organisation"])


def admit(ctx: Ctx, command: m.AdmitLogin) -> str:
    """First sign-in makes the person; later ones bring name, roles and second factor up to date.

    Sign-ins that change nothing write nothing, so the record says when an account changed, not when it was used.
    """
    account, now_ms = ctx.target.resource.ref.id, ctx.now_ms
    known = tables_access.login(ctx.tx, command.issuer, command.subject)
    if not known:
        tables.insert_account(ctx.tx, account, ("User", command.organisation, now_ms))
        tables.insert_person(
            ctx.tx, account, rules.clean_text("display_name", command.display_name), command.email
        )
        tables.set_joined(ctx.tx, account, now_ms)
        tables_access.insert_login(ctx.tx, command.issuer, command.subject, account)
    changes = [
        _sync_person(ctx, account, command),
        _sync_roles(ctx, account, command),
        _sync_mfa(ctx, account, command),
    ]
    if not known or any(changes):
        tables.touch(ctx.tx, account)
        ctx.tx.move_facts()
    return account


def _sync_person(ctx: Ctx, account: str, command: m.AdmitLogin) -> bool:
    row = tables.person(ctx.tx, account) or {}
    name = rules.clean_text("display_name", command.display_name)
    if (row["display_name"], row["email"]) == (name, command.email):
        return False
    tables.update_person(ctx.tx, account, name, command.email)
    return True


def _sync_roles(ctx: Ctx, account: str, command: m.AdmitLogin) -> bool:
    """Only roles that came from this issuer: what was granted by hand stays."""
    before, after = set(tables.roles(ctx.tx, account, command.issuer)), set(command.roles)
    for role in before - after:
        tables.remove_role(ctx.tx, account, role, command.issuer)
    for role in sorted(after - before):
        tables.add_role(ctx.tx, account, role, (command.issuer, ctx.now_ms))
    return before != after


def _sync_mfa(ctx: Ctx, account: str, command: m.AdmitLogin) -> bool:
    """Grade S: the issuer signed it."""
    known = tables.facts(ctx.tx, account).get("mfa")
    if (known is not None and known.value is True) == command.mfa:
        return False
    fact = rules.Fact(command.mfa, "S", command.issuer, "id_token amr", ctx.now_ms)
    tables.put_fact(ctx.tx, account, "mfa", ("User", fact))
    return True


def handlers(
    *, clock: Clock, sites: Sites, control_key: str, agents_changed: AgentsChanged
) -> tuple[Handler[Any], ...]:
    """Commands about agents and outside sign-in."""
    bind = functools.partial
    return (
        Handler(m.InviteAgent, bind(_site_target, sites=sites), bind(invite, control_key=control_key)),
        Handler(
            m.RegisterAgent,
            bind(_register_target, sites=sites),
            bind(register, agents_changed=agents_changed),
        ),
        Handler(
            m.DisableAgent, bind(_disable_target, sites=sites), bind(disable, agents_changed=agents_changed)
        ),
        Handler(m.ListAgents, bind(_site_target, sites=sites), list_agents),
        Handler(
            m.AdmitLogin, bind(_admit_target, clock=clock), admit, lambda c: f"login:{c.issuer}:{c.subject}"
        ),
    )
