"""The one place where secrets of tokens and links are made."""

from __future__ import annotations

import secrets

from sekisho.identity import rules, tables_access
from sekisho.identity.model_access import NewToken
from sekisho.kernel.context import Ctx

SECRET_BYTES = 32
ID_PREFIX = "tok"


def issue(
    ctx: Ctx,
    purpose: str,
    account: str,
    *,
    label: str,
    expires_ms: int,
    scopes: tuple[str, ...] = (),
    token: str = "",
) -> NewToken:
    """Make a token (`pat`) or one-time link (`lnk`), keep its hash, answer its text: nobody can read it again."""
    token = token or ctx.new_id(ID_PREFIX)
    text = rules.TokenText(
        purpose, token.removeprefix(ID_PREFIX + "_"), secrets.token_urlsafe(SECRET_BYTES)
    ).text
    tables_access.insert_token(
        ctx.tx,
        tables_access.TokenRow(
            id=token,
            account=account,
            purpose=purpose,
            label=label,
            digest=rules.digest(text),
            scopes=scopes,
            created_ms=ctx.now_ms,
            expires_ms=expires_ms,
        ),
    )
    return NewToken(token, text, list(scopes), expires_ms)


def open_session(ctx: Ctx, holder: str, end_ms: int) -> tuple[str, str]:
    """Make a console session for an account or token; answers cookie secret and form secret.

    Always new: a value that a browser brought along never becomes a session.
    """
    secret, csrf = secrets.token_urlsafe(SECRET_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    tables_access.insert_session(ctx.tx, rules.digest(secret), holder, (csrf, ctx.now_ms, end_ms))
    return secret, csrf
