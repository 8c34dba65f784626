"""Handlers of organisations, services, teams and roles, and the list of all handlers of identity."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sekisho.identity import actions_access, actions_agents, actions_people, actions_sessions, rules, tables
from sekisho.identity import model as m
from sekisho.identity.actions_people import keep_administrators
from sekisho.identity.declarations import ORGANISATION_FACTS, declare
from sekisho.identity.errors import EXISTS, NOT_JOINED, TWO_PEOPLE
from sekisho.identity.principals import organisation_entity
from sekisho.identity.targets import (
    Sites,
    checked,
    fact_views,
    find_organisation,
    find_person,
    find_service,
    find_team,
    home,
    on_listing,
    on_organisation,
    on_owned,
    owned,
    row_id,
)
from sekisho.kernel.clock import Clock
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Target
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Row, Tx


def _draft_facts(command: m.CreateOrganisation) -> rules.Facts:
    return {
        name: rules.Fact(value=getattr(command, name), grade="D", issuer="", source="", observed_ms=0)
        for name in ORGANISATION_FACTS
    }


def _create_organisation_target(
    tx: Tx, principal: Entity, command: m.CreateOrganisation, *, clock: Clock
) -> Target:
    del tx, principal
    organisation = new_id("org", clock.now_ms())
    return Target(resource=organisation_entity(organisation, _draft_facts(command)), stream=organisation)


def _organisation_target(
    tx: Tx, principal: Entity, command: m.UpdateOrganisation | m.ShowOrganisation
) -> Target:
    del principal
    return on_organisation(tx, command.organisation)


def _own_organisation_target(tx: Tx, principal: Entity, command: m.ListOrganisations) -> Target:
    del command
    return on_organisation(tx, home(principal))


def create_organisation(ctx: Ctx, command: m.CreateOrganisation) -> m.OrganisationView:
    """Add the organisation with its declarations."""
    organisation = ctx.target.resource.ref.id
    tables.insert_organisation(ctx.tx, organisation, rules.clean_text("name", command.name), ctx.now_ms)
    declare(ctx, organisation, command, (command.source, command.expires_ms))
    return _view_organisation(ctx, find_organisation(ctx.tx, organisation))


def update_organisation(ctx: Ctx, command: m.UpdateOrganisation) -> m.OrganisationView:
    """Replace the declarations that are given."""
    if command.name is not None:
        name = rules.clean_text("name", command.name)
        tables.rename_organisation(ctx.tx, command.organisation, name)
    declare(ctx, command.organisation, command, (command.source, command.expires_ms))
    return _view_organisation(ctx, find_organisation(ctx.tx, command.organisation))


def show_organisation(ctx: Ctx, command: m.ShowOrganisation) -> m.OrganisationView:
    """One organisation."""
    return _view_organisation(ctx, find_organisation(ctx.tx, command.organisation))


def list_organisations(ctx: Ctx, command: m.ListOrganisations) -> m.OrganisationPage:
    """Exactly the organisations for which the charter allows showing."""
    stated: dict[str, dict[str, rules.Fact]] = {}

    def fetch(after: str, count: int) -> list[Row]:
        rows = tables.organisations(ctx.tx, after, count)
        stated.update(tables.facts_of_each(ctx.tx, [row["id"] for row in rows]))
        return rows

    def seen(row: Row) -> bool:
        return ctx.allows(
            m.ShowOrganisation, organisation_entity(row["id"], rules.standing(stated[row["id"]], ctx.now_ms))
        )

    rows, following = ctx.page(fetch, start=command.cursor, limit=command.limit, key=row_id, seen=seen)
    return m.OrganisationPage([_organisation(ctx, row, stated[row["id"]]) for row in rows], following)


def _view_organisation(ctx: Ctx, row: Row) -> m.OrganisationView:
    return _organisation(ctx, row, tables.facts(ctx.tx, row["id"]))


def _organisation(ctx: Ctx, row: Row, stated: dict[str, rules.Fact]) -> m.OrganisationView:
    return m.OrganisationView(row["id"], row["name"], fact_views(stated, ctx.now_ms), row["created_ms"])


def _expire_target(tx: Tx, principal: Entity, command: m.ExpireFact) -> Target:
    del principal
    account = tables.account(tx, command.subject)
    organisation = account["organisation"] if account else command.subject
    return on_organisation(tx, organisation)


def expire_fact(ctx: Ctx, command: m.ExpireFact) -> bool:
    """Whether the fact was over; one that was stated anew meanwhile stays."""
    subject_type = tables.drop_expired_fact(ctx.tx, command.subject, command.name, ctx.now_ms)
    if subject_type == "User":
        tables.touch(ctx.tx, command.subject)
    return bool(subject_type)


def _create_service_target(tx: Tx, principal: Entity, command: m.CreateService, *, clock: Clock) -> Target:
    del principal
    find_organisation(tx, command.organisation)
    return on_owned("Account", new_id("svc", clock.now_ms()), command.organisation)


def create_service(ctx: Ctx, command: m.CreateService) -> m.ServiceView:
    """A service account starts without a role and without a token."""
    service = ctx.target.resource.ref.id
    tables.insert_account(ctx.tx, service, ("Service", command.organisation, ctx.now_ms))
    tables.insert_service(ctx.tx, service, rules.clean_text("name", command.name))
    return _view_service(ctx, find_service(ctx.tx, service))


def _service_target(tx: Tx, principal: Entity, command: m.DisableService) -> Target:
    del principal
    return on_owned("Account", command.service, find_service(tx, command.service)["organisation"])


def disable_service(ctx: Ctx, command: m.DisableService) -> m.ServiceView:
    """Tokens of a disabled account are refused like unknown ones."""
    tables.set_state(ctx.tx, command.service, "disabled")
    return _view_service(ctx, find_service(ctx.tx, command.service))


def list_services(ctx: Ctx, command: m.ListServices) -> m.ServicePage:
    """Service accounts of one organisation."""
    rows, following = ctx.page(
        functools.partial(tables.services, ctx.tx, ctx.target.stream),
        start=command.cursor,
        limit=command.limit,
        key=row_id,
        seen=lambda row: ctx.allows(m.ListServices, owned("Account", row["id"], row["organisation"])),
    )
    return m.ServicePage([_view_service(ctx, row) for row in rows], following)


def _view_service(ctx: Ctx, row: Row) -> m.ServiceView:
    roles = tables.roles(ctx.tx, row["id"])
    return m.ServiceView(row["id"], row["name"], row["organisation"], row["state"], roles, row["created_ms"])


def _create_team_target(tx: Tx, principal: Entity, command: m.CreateTeam, *, clock: Clock) -> Target:
    del principal
    find_organisation(tx, command.organisation)
    return on_owned("Team", new_id("team", clock.now_ms()), command.organisation)


def create_team(ctx: Ctx, command: m.CreateTeam) -> m.TeamView:
    """An empty team; its name is unique within its organisation."""
    team, name = ctx.target.resource.ref.id, rules.clean_text("name", command.name)
    if tables.team_named(ctx.tx, command.organisation, name):
        raise SekishoError(EXISTS, what=name)
    tables.insert_team(ctx.tx, team, command.organisation, (name, ctx.now_ms))
    return _view_team(ctx, find_team(ctx.tx, team))


def _team_target(tx: Tx, principal: Entity, command: m.AddMember | m.RemoveMember) -> Target:
    del principal
    return on_owned("Team", command.team, find_team(tx, command.team)["organisation"])


def add_member(ctx: Ctx, command: m.AddMember) -> m.TeamView:
    """Only people of the team's own organisation: a team inherits its organisation's reach."""
    team, person = find_team(ctx.tx, command.team), find_person(ctx.tx, command.person)
    if person["organisation"] != team["organisation"]:
        raise NotFoundError(id=command.person)
    tables.add_member(ctx.tx, command.team, command.person)
    tables.touch(ctx.tx, command.person)
    return _view_team(ctx, team)


def remove_member(ctx: Ctx, command: m.RemoveMember) -> m.TeamView:
    """NotFoundError when the person was not in the team."""
    if not tables.remove_member(ctx.tx, command.team, command.person):
        raise NotFoundError(id=command.person)
    tables.touch(ctx.tx, command.person)
    return _view_team(ctx, find_team(ctx.tx, command.team))


def list_teams(ctx: Ctx, command: m.ListTeams) -> m.TeamPage:
    """Teams of one organisation."""
    rows, following = ctx.page(
        functools.partial(tables.teams, ctx.tx, ctx.target.stream),
        start=command.cursor,
        limit=command.limit,
        key=row_id,
        seen=lambda row: ctx.allows(m.ListTeams, owned("Team", row["id"], row["organisation"])),
    )
    return m.TeamPage([_view_team(ctx, row) for row in rows], following)


def _view_team(ctx: Ctx, row: Row) -> m.TeamView:
    members = tables.members(ctx.tx, row["id"])
    return m.TeamView(row["id"], row["name"], row["organisation"], members, row["created_ms"])


def _role_target(tx: Tx, principal: Entity, command: m.GrantRole | m.RevokeRole) -> Target:
    del principal
    row = tables.account(tx, command.account)
    if row is None or row["state"] == "erased" or row["kind"] == "Agent":
        raise NotFoundError(id=command.account)
    return on_owned("Account", command.account, row["organisation"])


def grant_role(ctx: Ctx, command: m.GrantRole) -> m.RolesView:
    """Roles of a second person need the commands for two people; programs get only what programs may do.

    Who is a second person already is none the more for another such role, except for administration.
    """
    held = rules.SECOND_PERSON_ROLES.intersection(tables.roles(ctx.tx, command.account))
    if command.role == rules.ADMINISTRATOR or (command.role in rules.SECOND_PERSON_ROLES and not held):
        raise SekishoError(TWO_PEOPLE, role=command.role)
    if tables.service(ctx.tx, command.account) and command.role not in rules.SERVICE_ROLES:
        raise InvalidInputError(field="role", what=f"{command.role} is for people only")
    return _give(ctx, command.account, command.role)


def _joined_target(tx: Tx, principal: Entity, command: m.GrantAdministrator | m.GrantApprover) -> Target:
    """Only for people who have signed in: before, an administrator could still invite themselves in their name."""
    del principal
    row = find_person(tx, command.person)
    if row["joined_ms"] is None:
        raise SekishoError(NOT_JOINED)
    return on_owned("Account", command.person, row["organisation"])


def grant_administrator(ctx: Ctx, command: m.GrantAdministrator) -> m.RolesView:
    """Runs only when the second administrator approved."""
    return _give(ctx, command.person, rules.ADMINISTRATOR)


def grant_approver(ctx: Ctx, command: m.GrantApprover) -> m.RolesView:
    """Runs only when the second administrator approved."""
    return _give(ctx, command.person, command.role)


def _give(ctx: Ctx, account: str, role: str) -> m.RolesView:
    tables.add_role(ctx.tx, account, role, ("hand", ctx.now_ms))
    tables.touch(ctx.tx, account)
    ctx.detail(role=role)
    return m.RolesView(account, tables.roles(ctx.tx, account))


def revoke_role(ctx: Ctx, command: m.RevokeRole) -> m.RolesView:
    """Take away every grant of the role. A role that a group gives comes back with the next outside sign-in."""
    if command.role == rules.ADMINISTRATOR:
        keep_administrators(ctx, command.account, rules.ADMINISTRATORS_NEEDED)
    if not tables.remove_role(ctx.tx, command.account, command.role):
        raise NotFoundError(id=command.role)
    tables.touch(ctx.tx, command.account)
    ctx.detail(role=command.role)
    return m.RolesView(command.account, tables.roles(ctx.tx, command.account))


def handlers(
    *,
    clock: Clock,
    sites: Sites,
    control_key: str,
    install_charter: Callable[[Ctx, str], object],
    agents_changed: actions_agents.AgentsChanged,
) -> tuple[Handler[Any], ...]:
    """Every command of identity.

    `sites` loads a site's entity; `control_key` is the control plane's Ed25519 public key in base64url, which
    registration codes carry; `install_charter` activates the first charter inside genesis; `agents_changed` is told
    when an agent of a site came or went.
    """
    bind = functools.partial
    own = (
        Handler(m.CreateOrganisation, bind(_create_organisation_target, clock=clock), create_organisation),
        Handler(m.UpdateOrganisation, _organisation_target, update_organisation),
        Handler(m.ShowOrganisation, _organisation_target, show_organisation),
        Handler(m.ListOrganisations, _own_organisation_target, list_organisations),
        Handler(m.ExpireFact, _expire_target, expire_fact),
        Handler(m.CreateService, bind(_create_service_target, clock=clock), create_service),
        Handler(m.DisableService, _service_target, disable_service),
        Handler(m.ListServices, bind(on_listing, kind="Account"), list_services),
        Handler(m.CreateTeam, bind(_create_team_target, clock=clock), create_team),
        Handler(m.AddMember, _team_target, add_member),
        Handler(m.RemoveMember, _team_target, remove_member),
        Handler(m.ListTeams, bind(on_listing, kind="Team"), list_teams),
        Handler(m.GrantRole, _role_target, grant_role),
        Handler(m.RevokeRole, _role_target, revoke_role),
        Handler(m.GrantAdministrator, _joined_target, grant_administrator),
        Handler(m.GrantApprover, _joined_target, grant_approver),
    )
    found = (
        *own,
        *actions_people.handlers(clock=clock, install_charter=install_charter),
        *actions_access.handlers(clock=clock),
        *actions_sessions.handlers(),
        *actions_agents.handlers(
            clock=clock, sites=sites, control_key=control_key, agents_changed=agents_changed
        ),
    )
    return tuple(Handler(one.command, checked(one.target), one.run, one.contention) for one in found)
