"""Handlers of people, and of the moment when an installation begins."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sekisho.identity import model_people as m
from sekisho.identity import rules, tables, tables_access
from sekisho.identity.declarations import declare, declare_person
from sekisho.identity.errors import GENESIS_DONE, LAST_ADMINISTRATORS
from sekisho.identity.issue import issue
from sekisho.identity.principals import organisation_entity
from sekisho.identity.targets import (
    fact_views,
    find_organisation,
    find_person,
    on_listing,
    on_owned,
    owned,
    row_id,
)
from sekisho.kernel.clock import Clock
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import ConflictError, InvalidInputError, SekishoError
from sekisho.kernel.facts import Entity, Target
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Row, Tx

FIRST_TOKEN_MS = 30 * rules.DAY_MS


def _genesis_target(tx: Tx, principal: Entity, command: m.Begin, *, clock: Clock) -> Target:
    del principal
    if tables.anything(tx):
        raise SekishoError(GENESIS_DONE)
    _two_different_people(command.administrators)
    organisation = new_id("org", clock.now_ms())
    return Target(resource=organisation_entity(organisation, {}), stream=organisation)


def _two_different_people(administrators: list[m.NewPerson]) -> None:
    """As far as a program can tell."""
    one, other = ((person.display_name.strip(), person.email.lower()) for person in administrators)
    if one == other or (one[1] and one[1] == other[1]):
        raise InvalidInputError(field="administrators", what="must be two different people")


def begin(ctx: Ctx, command: m.Begin, *, install_charter: Callable[[Ctx, str], object]) -> m.Genesis:
    """Organisation, two administrators with a first token each, first charter: all of it or nothing."""
    organisation = ctx.target.resource.ref.id
    name = rules.clean_text("name", command.organisation.name)
    tables.insert_organisation(ctx.tx, organisation, name, ctx.now_ms)
    declare(ctx, organisation, command.organisation, ("", 0))
    administrators = [_first_administrator(ctx, organisation, person) for person in command.administrators]
    install_charter(ctx, command.charter)
    ctx.detail(organisation=organisation, administrators=[one.account for one in administrators])
    return m.Genesis(organisation, administrators)


def _first_administrator(ctx: Ctx, organisation: str, person: m.NewPerson) -> m.FirstAdministrator:
    account = _add_person(ctx, ctx.new_id("usr"), organisation, person)
    tables.add_role(ctx.tx, account, rules.ADMINISTRATOR, ("hand", ctx.now_ms))
    # Nobody may invite a first administrator: such a link would make one person the other.
    tables.set_joined(ctx.tx, account, ctx.now_ms)
    token = issue(ctx, "pat", account, label="first sign-in", expires_ms=ctx.now_ms + FIRST_TOKEN_MS)
    return m.FirstAdministrator(account, token.secret, token.expires_ms)


def _add_person(ctx: Ctx, account: str, organisation: str, person: m.CreatePerson | m.NewPerson) -> str:
    tables.insert_account(ctx.tx, account, ("User", organisation, ctx.now_ms))
    tables.insert_person(ctx.tx, account, rules.clean_text("display_name", person.display_name), person.email)
    declare_person(ctx, account, person)
    return account


def _create_target(tx: Tx, principal: Entity, command: m.CreatePerson, *, clock: Clock) -> Target:
    del principal
    find_organisation(tx, command.organisation)
    return on_owned("Account", new_id("usr", clock.now_ms()), command.organisation)


def create(ctx: Ctx, command: m.CreatePerson) -> m.PersonView:
    """A person starts without a role: nothing is allowed until somebody grants one."""
    account = _add_person(ctx, ctx.target.resource.ref.id, command.organisation, command)
    return _view(ctx, find_person(ctx.tx, account))


def _person_target(
    tx: Tx,
    principal: Entity,
    command: m.UpdatePerson | m.DisablePerson | m.EnablePerson | m.ErasePerson | m.ShowPerson,
) -> Target:
    del principal
    return on_owned("Account", command.person, find_person(tx, command.person)["organisation"])


def update(ctx: Ctx, command: m.UpdatePerson) -> m.PersonView:
    """Correct what is given."""
    row = find_person(ctx.tx, command.person)
    name = row["display_name"] if command.display_name is None else command.display_name
    email = row["email"] if command.email is None else command.email
    tables.update_person(ctx.tx, command.person, rules.clean_text("display_name", name), email)
    declare_person(ctx, command.person, command)
    tables.touch(ctx.tx, command.person)
    return _view(ctx, find_person(ctx.tx, command.person))


def disable(ctx: Ctx, command: m.DisablePerson) -> m.PersonView:
    """The emergency brake: one other active administrator is enough, because it can be undone by one."""
    keep_administrators(ctx, command.person, 1)
    tables.set_state(ctx.tx, command.person, "disabled")
    tables_access.drop_sessions(ctx.tx, command.person)
    return _view(ctx, find_person(ctx.tx, command.person))


def enable(ctx: Ctx, command: m.EnablePerson) -> m.PersonView:
    """Tokens that were not revoked work again."""
    row = find_person(ctx.tx, command.person)
    if row["state"] != "disabled":
        raise ConflictError(what=command.person)
    tables.set_state(ctx.tx, command.person, "active")
    return _view(ctx, find_person(ctx.tx, command.person))


def erase(ctx: Ctx, command: m.ErasePerson) -> m.PersonView:
    """What stays is the account id, its organisation and the fact that it is erased."""
    keep_administrators(ctx, command.person, rules.ADMINISTRATORS_NEEDED)
    for token in tables_access.tokens(ctx.tx, command.person, "", 1 << 31):
        tables_access.drop_sessions(ctx.tx, token["id"])
        tables_access.forget_token_use(ctx.tx, token["id"])
    tables_access.drop_sessions(ctx.tx, command.person)
    tables.erase_person(ctx.tx, command.person)
    return _view(ctx, tables.person(ctx.tx, command.person) or {})


def show(ctx: Ctx, command: m.ShowPerson) -> m.PersonView:
    """One person."""
    return _view(ctx, find_person(ctx.tx, command.person))


def list_people(ctx: Ctx, command: m.ListPeople) -> m.PersonPage:
    """Exactly the people of one organisation for whom the charter allows showing; erased ones are left out."""
    rows, following = ctx.page(
        functools.partial(tables.people, ctx.tx, ctx.target.stream),
        start=command.cursor,
        limit=command.limit,
        key=row_id,
        seen=lambda row: row["state"] != "erased" and ctx.allows(m.ShowPerson, _entity(row)),
    )
    return m.PersonPage([_view(ctx, row) for row in rows], following)


def keep_administrators(ctx: Ctx, leaving: str, needed: int) -> None:
    """Refuse to lose `leaving` when fewer than `needed` other active administrators would remain."""
    active = tables.administrators(ctx.tx)
    left = len([account for account in active if account != leaving])
    if leaving in active and left < needed:
        raise SekishoError(LAST_ADMINISTRATORS, left=left, needed=needed)


def _entity(row: Row) -> Entity:
    return owned("Account", row["id"], row["organisation"])


def _view(ctx: Ctx, row: Row) -> m.PersonView:
    """Address and facts are for the person and for whoever may change them."""
    account = row["id"]
    full = account == ctx.actor.ref.id or ctx.allows(m.UpdatePerson, _entity(row))
    return m.PersonView(
        id=account,
        display_name=row["display_name"] or "",
        email=(row["email"] or "") if full else "",
        organisation=row["organisation"],
        state=row["state"],
        roles=tables.roles(ctx.tx, account),
        teams=tables.teams_of(ctx.tx, account),
        facts=fact_views(tables.facts(ctx.tx, account), ctx.now_ms) if full else {},
        created_ms=row["created_ms"],
    )


def handlers(*, clock: Clock, install_charter: Callable[[Ctx, str], object]) -> tuple[Handler[Any], ...]:
    """Commands about people, and genesis."""
    bind = functools.partial
    return (
        Handler(m.Begin, bind(_genesis_target, clock=clock), bind(begin, install_charter=install_charter)),
        Handler(m.CreatePerson, bind(_create_target, clock=clock), create),
        Handler(m.UpdatePerson, _person_target, update),
        Handler(m.DisablePerson, _person_target, disable),
        Handler(m.EnablePerson, _person_target, enable),
        Handler(m.ErasePerson, _person_target, erase),
        Handler(m.ShowPerson, _person_target, show),
        Handler(m.ListPeople, bind(on_listing, kind="Account"), list_people),
    )
