"""Tokens, invitations, outside logins and agents; sessions, failures and signs of life (kernel tables)."""

from __future__ import annotations

import secrets

import msgspec

from sekisho.identity.rules import FAILURE_WINDOW_MS, FAILURES_MAX, KEPT_EXPIRED_MS, TOUCH_MS
from sekisho.kernel import denials, heartbeats, repeats
from sekisho.kernel.tx import Row, Tx


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A token or link to store: `purpose` is `pat` or `lnk`, `digest` is all that is kept of its text."""

    id: str
    account: str
    purpose: str
    label: str
    digest: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int


def insert_token(tx: Tx, token: TokenRow) -> None:
    """Keep a token's hash."""
    tx.run(
        "insert into identity_tokens (id, account, purpose, label, digest, scopes, created_ms, expires_ms, record_id)"
        " values (:id, :account, :purpose, :label, :digest, :scopes, :created, :expires, :record_id)",
        id=token.id,
        account=token.account,
        purpose=token.purpose,
        label=token.label,
        digest=token.digest,
        scopes=msgspec.json.encode(list(token.scopes)).decode(),
        created=token.created_ms,
        expires=token.expires_ms,
    )


_WITH_ACCOUNT = "select t.*, a.kind, a.organisation, a.state from identity_tokens t join identity_accounts a on a.id = t.account"


def token(tx: Tx, token: str) -> Row | None:
    """A token's row with `kind`, `organisation` and `state` of its account."""
    return tx.one(_WITH_ACCOUNT + " where t.id = :id", id=token)


def tokens(tx: Tx, account: str, after: str, limit: int) -> list[Row]:
    """An account's tokens by id; links are not among them."""
    return tx.all(
        _WITH_ACCOUNT
        + " where t.account = :account and t.purpose = 'pat' and t.id > :after order by t.id limit :limit",
        account=account,
        after=after,
        limit=limit,
    )


def scopes_of(row: Row) -> list[str]:
    """The scopes of a token's row; empty means no narrowing."""
    return msgspec.json.decode(row["scopes"], type=list[str])


def revoke_token(tx: Tx, token: str, now_ms: int) -> None:
    """Mark a token revoked; the first revocation's time stays."""
    tx.run(
        "update identity_tokens set revoked_ms = :now, record_id = :record_id where id = :id and revoked_ms is null",
        id=token,
        now=now_ms,
    )


def drop_token(tx: Tx, token: str) -> None:
    """Remove a one-time link that was used."""
    tx.run("delete from identity_tokens where id = :id", id=token)


def old_tokens(tx: Tx, now_ms: int, limit: int) -> list[Row]:
    """Links that are over and tokens that have been over for a month (id, account, organisation)."""
    return tx.all(
        "select t.id, t.account, a.organisation from identity_tokens t join identity_accounts a on a.id = t.account"
        " where t.expires_ms <= :kept or (t.purpose = 'lnk' and t.expires_ms <= :now) order by t.id limit :limit",
        now=now_ms,
        kept=now_ms - KEPT_EXPIRED_MS,
        limit=limit,
    )


def old_invitations(tx: Tx, now_ms: int, limit: int) -> list[Row]:
    """Registration codes that nobody used in time."""
    return tx.all(
        "select * from identity_invitations where expires_ms <= :now order by digest limit :limit",
        now=now_ms,
        limit=limit,
    )


def token_used_ms(tx: Tx, token: str) -> int:
    """When a token was last used, to the minute; 0 for never."""
    row = heartbeats.last(tx, f"token:{token}")
    return row["at_ms"] if row else 0


def token_used(tx: Tx, token: str, now_ms: int, until_ms: int) -> None:
    """Note a token's use, at most once a minute, so that a busy program does not write at every request."""
    if now_ms - token_used_ms(tx, token) >= TOUCH_MS:
        heartbeats.beat(tx, f"token:{token}", at_ms=now_ms, until_ms=until_ms)


def forget_token_use(tx: Tx, token: str) -> None:
    """Remove the sign of a token's last use."""
    heartbeats.forget(tx, f"token:{token}")


def failures(tx: Tx, source: str) -> tuple[int, int]:
    """Failed sign-ins of a source and when their window began."""
    row = tx.one("select failures, window_ms from kernel_logins where source = :source", source=source)
    return (row["failures"], row["window_ms"]) if row else (0, 0)


def count_failure(tx: Tx, source: str, now_ms: int) -> None:
    """One more failure; the first after a window opens the next one, and a full window is not prolonged."""
    tx.run(
        "insert into kernel_logins (source, failures, window_ms) values (:source, 1, :now)"
        " on conflict (source) do update set"
        " failures = case when kernel_logins.window_ms <= :old then 1"
        " when kernel_logins.failures < :most then kernel_logins.failures + 1 else kernel_logins.failures end,"
        " window_ms = case when kernel_logins.window_ms <= :old then :now else kernel_logins.window_ms end",
        source=source,
        now=now_ms,
        old=now_ms - FAILURE_WINDOW_MS,
        most=FAILURES_MAX,
    )


def insert_session(tx: Tx, digest: str, holder: str, about: tuple[str, int, int]) -> None:
    """Keep a session. `holder` is an account, or the token it was opened with; `about`: csrf, now, end."""
    csrf, now_ms, expires_ms = about
    tx.run(
        "insert into kernel_sessions (token_digest, account, csrf, created_ms, seen_ms, expires_ms)"
        " values (:digest, :holder, :csrf, :now, :now, :expires)",
        digest=digest,
        holder=holder,
        csrf=csrf,
        now=now_ms,
        expires=expires_ms,
    )


def session(tx: Tx, digest: str) -> Row | None:
    """A session's row."""
    return tx.one("select * from kernel_sessions where token_digest = :digest", digest=digest)


def session_seen(tx: Tx, digest: str, now_ms: int, expires_ms: int) -> None:
    """Slide a session's end."""
    tx.run(
        "update kernel_sessions set seen_ms = :now, expires_ms = :expires where token_digest = :digest",
        digest=digest,
        now=now_ms,
        expires=expires_ms,
    )


def change_session(tx: Tx, digest: str, language: str, theme: str) -> int:
    """Set what is not empty; 0 when there is no such session."""
    return tx.run(
        "update kernel_sessions set language = case when :language = '' then language else :language end,"
        " theme = case when :theme = '' then theme else :theme end where token_digest = :digest",
        digest=digest,
        language=language,
        theme=theme,
    )


def drop_session(tx: Tx, digest: str) -> int:
    """End one session."""
    return tx.run("delete from kernel_sessions where token_digest = :digest", digest=digest)


def drop_sessions(tx: Tx, holder: str) -> None:
    """End every session of an account, or every session opened with a token."""
    tx.run("delete from kernel_sessions where account = :holder", holder=holder)


def drop_old_plumbing(tx: Tx, now_ms: int) -> None:
    """Remove ended sessions, closed windows of failures, last uses of dead tokens, old answers and denials."""
    tx.run("delete from kernel_sessions where expires_ms <= :now", now=now_ms)
    repeats.drop_expired(tx, now_ms)
    denials.drop_old(tx, now_ms)
    tx.run("delete from kernel_logins where window_ms <= :old", old=now_ms - FAILURE_WINDOW_MS)
    tx.run(
        "delete from kernel_heartbeats where subject like 'token:%' and until_ms <= :kept",
        kept=now_ms - KEPT_EXPIRED_MS,
    )


def insert_invitation(tx: Tx, digest: str, site: str, about: tuple[str, int, int]) -> None:
    """Keep a registration code's hash; `about`: the site's operator, now, end."""
    organisation, now_ms, expires_ms = about
    tx.run(
        "insert into identity_invitations (digest, site, organisation, created_ms, expires_ms, record_id)"
        " values (:digest, :site, :organisation, :now, :expires, :record_id)",
        digest=digest,
        site=site,
        organisation=organisation,
        now=now_ms,
        expires=expires_ms,
    )


def invitation(tx: Tx, digest: str) -> Row | None:
    """An unused invitation by the hash of its secret."""
    return tx.one("select * from identity_invitations where digest = :digest", digest=digest)


def drop_invitation(tx: Tx, digest: str) -> None:
    """Use an invitation up."""
    tx.run("delete from identity_invitations where digest = :digest", digest=digest)


def insert_agent(tx: Tx, account: str, site: str, about: tuple[str, str]) -> None:
    """Keep an agent's site, and in `about` its name and public key."""
    name, public_key = about
    tx.run(
        "insert into identity_agents (account, site, name, public_key, record_id)"
        " values (:account, :site, :name, :public_key, :record_id)",
        account=account,
        site=site,
        name=name,
        public_key=public_key,
    )


_AGENT = (
    "select a.id, a.organisation, a.state, a.created_ms, g.site, g.name, g.public_key"
    " from identity_accounts a join identity_agents g on g.account = a.id"
)


def agent(tx: Tx, account: str) -> Row | None:
    """One agent's row."""
    return tx.one(_AGENT + " where a.id = :id", id=account)


def agent_with_key(tx: Tx, public_key: str) -> Row | None:
    """The agent that registered a key, active or not: a key is never taken twice."""
    return tx.one(_AGENT + " where g.public_key = :public_key", public_key=public_key)


def agents(tx: Tx, site: str, after: str, limit: int) -> list[Row]:
    """A site's agents by id."""
    return tx.all(
        _AGENT + " where g.site = :site and a.id > :after order by a.id limit :limit",
        site=site,
        after=after,
        limit=limit,
    )


def login(tx: Tx, issuer: str, subject: str) -> str:
    """The account bound to a subject of an issuer, or nothing."""
    row = tx.one(
        "select account from identity_logins where issuer = :issuer and subject = :subject",
        issuer=issuer,
        subject=subject,
    )
    return row["account"] if row else ""


def insert_login(tx: Tx, issuer: str, subject: str, account: str) -> None:
    """Bind a subject of an issuer to an account."""
    tx.run(
        "insert into identity_logins (issuer, subject, account, salt, record_id)"
        " values (:issuer, :subject, :account, :salt, :record_id)",
        issuer=issuer,
        subject=subject,
        account=account,
        salt=secrets.token_hex(16),
    )
