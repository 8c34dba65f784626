"""Handlers of tokens and one-time links, and of the question who one is."""

from __future__ import annotations

import functools
from typing import Any

from sekisho.identity import model_access as m
from sekisho.identity import rules, tables, tables_access
from sekisho.identity.errors import ALREADY_JOINED, LINK_SPENT, PEOPLE_ONLY
from sekisho.identity.issue import ID_PREFIX, issue, open_session
from sekisho.identity.model_sessions import Opened
from sekisho.identity.targets import (
    find_organisation,
    find_person,
    find_service,
    home,
    on_owned,
    on_token,
    row_id,
)
from sekisho.kernel.clock import Clock
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Target
from sekisho.kernel.gate import OUT_OF_SCOPE
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Row, Tx

TOKEN_MS = 90 * rules.DAY_MS


def _me_target(tx: Tx, principal: Entity, command: m.ShowMe) -> Target:
    del tx, command
    return on_owned("Account", principal.ref.id, home(principal))


def show_me(ctx: Ctx, command: m.ShowMe) -> m.Me:
    """The account as it stands now, and what this sign-in may do with it."""
    del command
    account = ctx.actor.ref.id
    person, service = tables.person(ctx.tx, account), tables.service(ctx.tx, account)
    return m.Me(
        account=account,
        kind=ctx.actor.ref.type,
        display_name=person["display_name"] if person else service["name"] if service else "",
        organisation=home(ctx.principal),
        organisation_name=find_organisation(ctx.tx, home(ctx.principal))["name"],
        roles=tables.roles(ctx.tx, account),
        teams=tables.teams_of(ctx.tx, account),
        scopes=None if ctx.actor.scopes is None else sorted(ctx.actor.scopes),
        via=ctx.actor.via,
    )


def _create_target(tx: Tx, principal: Entity, command: m.CreateToken, *, clock: Clock) -> Target:
    del tx, command
    return on_token(new_id(ID_PREFIX, clock.now_ms()), principal.ref.id, home(principal))


def create_token(ctx: Ctx, command: m.CreateToken) -> m.NewToken:
    """A token can make only tokens that are no wider than itself."""
    return _make(ctx, ctx.actor.ref.id, command)


def _service_token_target(
    tx: Tx, principal: Entity, command: m.CreateServiceToken, *, clock: Clock
) -> Target:
    del principal
    row = find_service(tx, command.service)
    return on_token(new_id(ID_PREFIX, clock.now_ms()), command.service, row["organisation"])


def create_service_token(ctx: Ctx, command: m.CreateServiceToken) -> m.NewToken:
    """The same for a program, which cannot sign in to ask for one."""
    return _make(ctx, command.service, command)


def _make(ctx: Ctx, account: str, command: m.CreateToken | m.CreateServiceToken) -> m.NewToken:
    scopes = rules.clean_scopes(command.scopes)
    if not rules.scopes_within(scopes, ctx.actor.scopes):
        raise SekishoError(OUT_OF_SCOPE, action=", ".join(scopes) or "*")
    expires_ms = command.expires_ms or ctx.now_ms + TOKEN_MS
    if not ctx.now_ms < expires_ms <= ctx.now_ms + rules.TOKEN_MS_MAX:
        raise InvalidInputError(field="expires_ms", what="lies in the past or more than 366 days ahead")
    label = rules.clean_text("label", command.label)
    ctx.detail(holder=account, scopes=list(scopes))
    token = ctx.target.resource.ref.id
    return issue(ctx, "pat", account, label=label, expires_ms=expires_ms, scopes=scopes, token=token)


def _list_target(tx: Tx, principal: Entity, command: m.ListTokens) -> Target:
    del tx, command
    return on_token("all", principal.ref.id, home(principal))


def list_tokens(ctx: Ctx, command: m.ListTokens) -> m.TokenPage:
    """One's own tokens."""
    account = ctx.actor.ref.id
    rows, following = ctx.page(
        functools.partial(tables_access.tokens, ctx.tx, account),
        start=command.cursor,
        limit=command.limit,
        key=row_id,
        seen=lambda row: ctx.allows(m.ListTokens, on_token(row["id"], account, row["organisation"]).resource),
    )
    return m.TokenPage([_view(ctx, row) for row in rows], following)


def _view(ctx: Ctx, row: Row) -> m.TokenView:
    return m.TokenView(
        id=row["id"],
        label=row["label"],
        scopes=tables_access.scopes_of(row),
        created_ms=row["created_ms"],
        expires_ms=row["expires_ms"],
        revoked_ms=row["revoked_ms"] or 0,
        used_ms=tables_access.token_used_ms(ctx.tx, row["id"]),
    )


def _find_token(tx: Tx, token: str) -> Row:
    row = tables_access.token(tx, token)
    if row is None or row["purpose"] != "pat":
        raise NotFoundError(id=token)
    return row


def _own_token_target(tx: Tx, principal: Entity, command: m.RevokeToken) -> Target:
    row = _find_token(tx, command.token)
    if row["account"] != principal.ref.id:
        raise NotFoundError(id=command.token)
    return on_token(command.token, row["account"], row["organisation"])


def _any_token_target(tx: Tx, principal: Entity, command: m.WithdrawToken) -> Target:
    del principal
    row = _find_token(tx, command.token)
    return on_token(command.token, row["account"], row["organisation"])


def revoke_token(ctx: Ctx, command: m.RevokeToken | m.WithdrawToken) -> m.TokenView:
    """Revoking again changes nothing."""
    tables_access.revoke_token(ctx.tx, command.token, ctx.now_ms)
    tables_access.drop_sessions(ctx.tx, command.token)
    return _view(ctx, _find_token(ctx.tx, command.token))


def _invite_target(tx: Tx, principal: Entity, command: m.InvitePerson) -> Target:
    del principal
    return on_owned("Account", command.person, find_person(tx, command.person)["organisation"])


def invite(ctx: Ctx, command: m.InvitePerson) -> m.NewLink:
    """Only before the first sign-in: afterwards such a link would be a way to act in somebody's name."""
    row = find_person(ctx.tx, command.person)
    if row["joined_ms"] is not None:
        raise SekishoError(ALREADY_JOINED)
    return _link(ctx, command.person, ctx.now_ms + rules.INVITED_LINK_MS, ctx.new_id(ID_PREFIX))


def _link_target(tx: Tx, principal: Entity, command: m.CreateLink, *, clock: Clock) -> Target:
    account = _link_for(principal, command)
    row = find_person(tx, account)
    return on_token(new_id(ID_PREFIX, clock.now_ms()), account, row["organisation"])


def _link_for(principal: Entity, command: m.CreateLink) -> str:
    if principal.ref.type == "System":
        return command.account
    if command.account not in {"", principal.ref.id}:
        raise NotFoundError(id=command.account)
    return principal.ref.id


def create_link(ctx: Ctx, command: m.CreateLink) -> m.NewLink:
    """For oneself; `sekishod` makes one for an administrator of the machine it runs on.

    A link opens a session without limits of scope, so a narrowed token cannot make one.
    """
    if ctx.actor.scopes is not None:
        raise SekishoError(OUT_OF_SCOPE, action="identity.session.open")
    account = _link_for(ctx.principal, command)
    return _link(ctx, account, ctx.now_ms + rules.LINK_MS, ctx.target.resource.ref.id)


def _link(ctx: Ctx, account: str, expires_ms: int, token: str) -> m.NewLink:
    made = issue(ctx, "lnk", account, label="link", expires_ms=expires_ms, token=token)
    ctx.detail(holder=account)
    return m.NewLink(made.secret, account, expires_ms)


def _redeem_target(tx: Tx, principal: Entity, command: m.RedeemLink) -> Target:
    """Refuses here, before there is a decision: strangers' guesses leave no records."""
    del principal
    row = _usable_link(tx, command.secret)
    return on_token(row["id"], row["account"], row["organisation"])


def _usable_link(tx: Tx, text: str) -> Row:
    parsed = rules.parse_token(text)
    row = tables_access.token(tx, f"{ID_PREFIX}_{parsed.id}") if parsed and parsed.purpose == "lnk" else None
    if not rules.matches(text, row["digest"] if row else None) or row is None or row["state"] != "active":
        raise SekishoError(LINK_SPENT)
    return row


def redeem(ctx: Ctx, command: m.RedeemLink) -> Opened:
    """Use the link up and open a session, in one transaction."""
    row = _usable_link(ctx.tx, command.secret)
    if row["expires_ms"] <= ctx.now_ms:
        raise SekishoError(LINK_SPENT)
    if row["kind"] != "User":
        raise SekishoError(PEOPLE_ONLY)
    tables_access.drop_token(ctx.tx, row["id"])
    tables.set_joined(ctx.tx, row["account"], ctx.now_ms)
    end_ms = rules.session_end_ms(ctx.now_ms, ctx.now_ms)
    secret, csrf = open_session(ctx, row["account"], end_ms)
    ctx.detail(holder=row["account"])
    return Opened(secret, csrf, row["account"], end_ms)


def handlers(*, clock: Clock) -> tuple[Handler[Any], ...]:
    """Commands about tokens and links."""
    bind = functools.partial
    return (
        Handler(m.ShowMe, _me_target, show_me),
        Handler(m.CreateToken, bind(_create_target, clock=clock), create_token),
        Handler(m.CreateServiceToken, bind(_service_token_target, clock=clock), create_service_token),
        Handler(m.ListTokens, _list_target, list_tokens),
        Handler(m.RevokeToken, _own_token_target, revoke_token),
        Handler(m.WithdrawToken, _any_token_target, revoke_token),
        Handler(m.InvitePerson, _invite_target, invite),
        Handler(m.CreateLink, bind(_link_target, clock=clock), create_link),
        Handler(m.RedeemLink, _redeem_target, redeem),
    )
