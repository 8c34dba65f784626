"""What can be asked about tokens, one-time links and oneself.

Commands that answer a secret say so; the secret is shown in that answer and nowhere else.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sekisho.identity.model import Cursor, Id, Limit, Moment, Name, Secret
from sekisho.identity.model_sessions import Opened
from sekisho.kernel.command import Command, Kind, command

Scopes = Annotated[tuple[Annotated[str, Meta(max_length=80)], ...], Meta(max_length=50)]


class TokenView(msgspec.Struct, frozen=True):
    """A token without its secret. `scopes` empty: all the account may do. `used_ms` 0: never, as far as known."""

    id: str
    label: str
    scopes: list[str]
    created_ms: int
    expires_ms: int
    revoked_ms: int
    used_ms: int


class TokenPage(msgspec.Struct, frozen=True):
    """One page of tokens; `next` continues it."""

    items: list[TokenView]
    next: str | None = None


class NewToken(msgspec.Struct, frozen=True):
    """A token as it is shown once. `secret` is the whole text to send as bearer token."""

    id: str
    secret: str
    scopes: list[str]
    expires_ms: int


class NewLink(msgspec.Struct, frozen=True):
    """A one-time sign-in link's secret, shown once."""

    secret: str
    account: str
    expires_ms: int


class Me(msgspec.Struct, frozen=True):
    """Who is asking, as identity and charter see them."""

    account: str
    kind: str
    display_name: str
    organisation: str
    organisation_name: str
    roles: list[str]
    teams: list[str]
    scopes: list[str] | None
    via: str


@command(
    "identity.me", kind=Kind.READ, resource="Account", groups=("self",), ja="自分のアカウントを表示します。"
)
class ShowMe(Command[Me]):
    """Show who you are here: account, organisation, roles."""


@command(
    "identity.token.create",
    kind=Kind.RECORDED,
    resource="Token",
    groups=("self",),
    shows_secret=True,
    ja="自分のトークンを発行します。",
)
class CreateToken(Command[NewToken]):
    """Make a token for yourself; its text is shown once."""

    label: Name
    scopes: Scopes = ()
    expires_ms: Moment = 0


@command(
    "identity.token.list",
    kind=Kind.READ,
    resource="Token",
    groups=("self",),
    ja="自分のトークンを一覧します。",
)
class ListTokens(Command[TokenPage]):
    """List your own tokens, without their secrets."""

    cursor: Cursor = ""
    limit: Limit = 50


@command(
    "identity.token.revoke",
    kind=Kind.RECORDED,
    resource="Token",
    groups=("self",),
    ja="自分のトークンを失効させます。",
)
class RevokeToken(Command[TokenView]):
    """Revoke one of your tokens; sessions opened with it end."""

    token: Id


@command(
    "identity.token.withdraw",
    kind=Kind.RECORDED,
    resource="Token",
    groups=("administer",),
    ja="他の利用者やサービスのトークンを失効させます。",
)
class WithdrawToken(Command[TokenView]):
    """Revoke anybody's token, when it leaked or its holder left."""

    token: Id


@command(
    "identity.service.token.create",
    kind=Kind.RECORDED,
    resource="Token",
    groups=("administer",),
    shows_secret=True,
    ja="サービスアカウントのトークンを発行します。",
)
class CreateServiceToken(Command[NewToken]):
    """Make a token for a service account; its text is shown once."""

    service: Id
    label: Name
    scopes: Scopes = ()
    expires_ms: Moment = 0


@command(
    "identity.person.invite",
    kind=Kind.RECORDED,
    resource="Account",
    groups=("administer",),
    shows_secret=True,
    ja="まだサインインしていない利用者に、1回限りのリンクを発行します。",
)
class InvitePerson(Command[NewLink]):
    """Make a one-time sign-in link for a person who has never signed in."""

    person: Id


@command(
    "identity.link.create",
    kind=Kind.RECORDED,
    resource="Token",
    principals=("User", "System"),
    groups=("self", "system"),
    shows_secret=True,
    ja="1回限りのサインイン用リンクを発行します。",
)
class CreateLink(Command[NewLink]):
    """Make a one-time sign-in link for yourself, good for ten minutes."""

    account: Annotated[str, Meta(max_length=64)] = ""


@command(
    "identity.link.redeem",
    kind=Kind.RECORDED,
    resource="Token",
    principals=("Anonymous",),
    groups=("public",),
    shows_secret=True,
    ja="1回限りのリンクでサインインします。",
)
class RedeemLink(Command[Opened]):
    """Sign in to the console with a one-time link."""

    secret: Secret
