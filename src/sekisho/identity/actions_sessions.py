"""Handlers of authentication and console sessions: plumbing, so that a request is not a record.

They answer a verdict instead of raising, because raising would roll back the count of failures.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.identity import model_sessions as m
from sekisho.identity import rules, tables, tables_access
from sekisho.identity.errors import DISABLED, EXPIRED, PEOPLE_ONLY, RATE_LIMITED
from sekisho.identity.issue import ID_PREFIX, open_session
from sekisho.kernel.clock import rfc3339
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.facts import Actor, Entity, Ref, Target
from sekisho.kernel.gate import NOT_FOR_YOU
from sekisho.kernel.ids import is_id
from sekisho.kernel.tx import Row, Tx
from sekisho_wire.problems import Problem

BATCH = 500
"""Rows that one round of clearing away takes; what is left waits for the next round."""


class _Found(msgspec.Struct, frozen=True):
    """A good token's row, or the problem with a bad one."""

    row: Row | None = None
    problem: Problem = NOT_FOR_YOU
    params: dict[str, str | int] = {}


def _nobody(tx: Tx, principal: Entity, command: object) -> Target:
    del tx, command
    return Target(resource=Entity(principal.ref), stream="")


def _look_up(ctx: Ctx, text: str, source: str) -> _Found:
    """Whom a token stands for. Only who does not know the secret counts as a failure, and only they have to wait.

    Whoever guesses, or goes on with an expired token, must not lock out the neighbours behind the same address.
    """
    parsed = rules.parse_token(text)
    row = (
        tables_access.token(ctx.tx, f"{ID_PREFIX}_{parsed.id}")
        if parsed and parsed.purpose == "pat"
        else None
    )
    if not rules.matches(text, row["digest"] if row else None) or row is None:
        return _guessed(ctx, source)
    problem, params = _standing(row, ctx.now_ms)
    if problem is not None:
        return _Found(problem=problem, params=params)
    tables_access.token_used(ctx.tx, row["id"], ctx.now_ms, row["expires_ms"])
    return _Found(row=row)


def _guessed(ctx: Ctx, source: str) -> _Found:
    """Count a wrong token; after too many the source is told to wait, and waiting is not counted."""
    wait = _seconds_to_wait(ctx, source)
    if wait:
        return _Found(problem=RATE_LIMITED, params={"seconds": wait})
    tables_access.count_failure(ctx.tx, rules.source_key(source), ctx.now_ms)
    return _Found()


def _standing(row: Row, now_ms: int) -> tuple[Problem | None, dict[str, str | int]]:
    """Whether a token whose secret is right still counts. Revoked and disabled look like unknown."""
    if row["revoked_ms"] is not None or row["state"] != "active":
        return NOT_FOR_YOU, {}
    if row["expires_ms"] <= now_ms:
        return EXPIRED, {"time": rfc3339(row["expires_ms"])}
    return None, {}


def _seconds_to_wait(ctx: Ctx, source: str) -> int:
    count, window_ms = tables_access.failures(ctx.tx, rules.source_key(source))
    return rules.seconds_to_wait(count, window_ms, ctx.now_ms)


def _actor(row: Row, via: str) -> Actor:
    scopes = tables_access.scopes_of(row)
    return Actor(Ref(row["kind"], row["account"]), frozenset(scopes) if scopes else None, via)


def authenticate(ctx: Ctx, command: m.Authenticate) -> m.Verdict:
    """The actor behind a bearer token."""
    found = _look_up(ctx, command.token, command.source)
    if found.row is None:
        return m.Verdict(problem=found.problem.code, params=found.params)
    return m.Verdict(actor=_actor(found.row, "token"))


def check_source(ctx: Ctx, command: m.CheckSource) -> m.Verdict:
    """For doors whose secrets are not tokens: look before, count after."""
    if command.failed:
        tables_access.count_failure(ctx.tx, rules.source_key(command.source), ctx.now_ms)
    wait = _seconds_to_wait(ctx, command.source)
    return m.Verdict(problem=RATE_LIMITED.code, params={"seconds": wait}) if wait else m.Verdict()


def open_with_token(ctx: Ctx, command: m.OpenSession) -> m.OpenVerdict:
    """The session hangs on the token: it has its scopes and ends with it."""
    found = _look_up(ctx, command.token, command.source)
    if found.row is None:
        return m.OpenVerdict(problem=found.problem.code, params=found.params)
    if found.row["kind"] != "User":
        return m.OpenVerdict(problem=PEOPLE_ONLY.code)
    end_ms = min(rules.session_end_ms(ctx.now_ms, ctx.now_ms), found.row["expires_ms"])
    secret, csrf = open_session(ctx, found.row["id"], end_ms)
    return m.OpenVerdict(m.Opened(secret, csrf, found.row["account"], end_ms))


def start(ctx: Ctx, command: m.StartSession) -> m.OpenVerdict:
    """For a person whom somebody else's sign-in has just identified."""
    del command
    row = tables.account(ctx.tx, ctx.actor.ref.id)
    if row is None or row["state"] != "active" or row["kind"] != "User" or ctx.actor.scopes is not None:
        return m.OpenVerdict(problem=DISABLED.code)
    end_ms = rules.session_end_ms(ctx.now_ms, ctx.now_ms)
    secret, csrf = open_session(ctx, row["id"], end_ms)
    return m.OpenVerdict(m.Opened(secret, csrf, row["id"], end_ms))


def read(ctx: Ctx, command: m.ReadSession) -> m.SessionView | None:
    """The session, if it and what it hangs on still hold; its end slides at most once a minute."""
    digest = rules.digest(command.session)
    row = tables_access.session(ctx.tx, digest)
    if row is None or row["expires_ms"] <= ctx.now_ms:
        return None
    actor, latest_ms = _holder(ctx, row["account"])
    if actor is None:
        return None
    end_ms = row["expires_ms"]
    if ctx.now_ms - row["seen_ms"] >= rules.TOUCH_MS:
        end_ms = min(rules.session_end_ms(row["created_ms"], ctx.now_ms), latest_ms)
        tables_access.session_seen(ctx.tx, digest, ctx.now_ms, end_ms)
    return m.SessionView(actor, row["csrf"], row["language"] or "", row["theme"] or "", end_ms)


def _holder(ctx: Ctx, holder: str) -> tuple[Actor | None, int]:
    """Whom a session is for, and until when at the latest. A session holds an account, or the token it came from."""
    if is_id(holder, ID_PREFIX):
        token = tables_access.token(ctx.tx, holder)
        if token is None or _standing(token, ctx.now_ms)[0] is not None:
            return None, 0
        return _actor(token, "session"), token["expires_ms"]
    account = tables.account(ctx.tx, holder)
    if account is None or account["state"] != "active":
        return None, 0
    return Actor(Ref(account["kind"], holder), via="session"), 1 << 62


def change(ctx: Ctx, command: m.ChangeSession) -> bool:
    """Whether there was such a session."""
    digest = rules.digest(command.session)
    return tables_access.change_session(ctx.tx, digest, command.language, command.theme) == 1


def close(ctx: Ctx, command: m.CloseSession) -> bool:
    """Whether there was such a session."""
    return tables_access.drop_session(ctx.tx, rules.digest(command.session)) == 1


def remove_expired(ctx: Ctx, command: m.RemoveExpired) -> int:
    """One record for each token or code that goes, in its own organisation's stream."""
    del command
    tables_access.drop_old_plumbing(ctx.tx, ctx.now_ms)
    action, removed = "identity.expired.remove", 0
    for row in tables_access.old_tokens(ctx.tx, ctx.now_ms, BATCH):
        with ctx.row(action=action, resource=Ref("Token", row["id"]), stream=row["organisation"]):
            tables_access.drop_token(ctx.tx, row["id"])
        removed += 1
    for row in tables_access.old_invitations(ctx.tx, ctx.now_ms, BATCH):
        with ctx.row(action=action, resource=Ref("Site", row["site"]), stream=row["organisation"]):
            tables_access.drop_invitation(ctx.tx, row["digest"])
        removed += 1
    return removed


def _expired_target(tx: Tx, principal: Entity, command: m.RemoveExpired) -> Target:
    del tx, principal, command
    return Target(resource=Entity(Ref("Record", "expired")), stream="system")


def handlers() -> tuple[Handler[Any], ...]:
    """Commands about authentication and sessions."""
    return (
        Handler(m.Authenticate, _nobody, authenticate),
        Handler(m.CheckSource, _nobody, check_source),
        Handler(m.OpenSession, _nobody, open_with_token),
        Handler(m.StartSession, _nobody, start),
        Handler(m.ReadSession, _nobody, read),
        Handler(m.ChangeSession, _nobody, change),
        Handler(m.CloseSession, _nobody, close),
        Handler(m.RemoveExpired, _expired_target, remove_expired),
    )
