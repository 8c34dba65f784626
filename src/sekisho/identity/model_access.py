"""What can be asked about ways in: tokens, one-time links, sessions, agents' registration, outside sign-in.

Commands that answer a secret say so; the secret is shown in that answer and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho.identity.model import Cursor, Email, Id, Limit, Moment, Name, Role, State
from sekisho.kernel.command import Command, Kind, command
from sekisho.kernel.facts import Actor

Secret = Annotated[str, Meta(max_length=512)]
Source = Annotated[str, Meta(max_length=64)]
Scopes = Annotated[tuple[Annotated[str, Meta(max_length=80)], ...], Meta(max_length=50)]
PublicKey = Annotated[str, Meta(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]{43}$")]


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


class AgentView(msgspec.Struct, frozen=True):
    """A site's agent. `public_key` is Ed25519 in base64url; `organisation` is the site's operator."""

    id: str
    name: str
    site: str
    organisation: str
    state: State
    public_key: str
    created_ms: int


class AgentPage(msgspec.Struct, frozen=True):
    """One page of agents; `next` continues it."""

    items: list[AgentView]
    next: str | None = None


class NewInvitation(msgspec.Struct, frozen=True):
    """A one-time registration code, shown once; it carries the control plane's public key."""

    code: str
    site: str
    expires_ms: int


class Verdict(msgspec.Struct, frozen=True):
    """Either who a secret stands for, or the code of the problem and its parameters.

    An answer and not an exception, because an exception would roll back the count of failures.
    """

    actor: Actor | None = None
    problem: str = ""
    params: dict[str, str | int] = {}


class Opened(msgspec.Struct, frozen=True):
    """A new console session. `secret` goes into the cookie and is stored as a hash only."""

    secret: str
    csrf: str
    account: str
    expires_ms: int


class OpenVerdict(msgspec.Struct, frozen=True):
    """A new session, or why there is none."""

    opened: Opened | None = None
    problem: str = ""
    params: dict[str, str | int] = {}


class SessionView(msgspec.Struct, frozen=True):
    """A session in use: who it is for and what its pages need."""

    actor: Actor
    csrf: str
    language: str
    theme: str
    expires_ms: int


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
    ja="1回限りのリンクでサインインします。",
)
class RedeemLink(Command[Opened]):
    """Sign in to the console with a one-time link."""

    secret: Secret


@command(
    "identity.authenticate",
    kind=Kind.PLUMBING,
    resource="Token",
    principals=("Anonymous",),
    ja="トークンの持ち主を確かめます。",
)
class Authenticate(Command[Verdict]):
    """Find out whom a token stands for; failures count against the source."""

    token: Secret
    source: Source


@command(
    "identity.session.open",
    kind=Kind.PLUMBING,
    resource="Token",
    principals=("Anonymous",),
    ja="トークンでコンソールにサインインします。",
)
class OpenSession(Command[OpenVerdict]):
    """Sign in to the console with a token; the session is never worth more than the token."""

    token: Secret
    source: Source


@command(
    "identity.session.start",
    kind=Kind.PLUMBING,
    resource="Account",
    principals=("User",),
    ja="本人確認済みの利用者のセッションを開始します。",
)
class StartSession(Command[OpenVerdict]):
    """Open a session for a person whom an identity provider has just vouched for."""


@command(
    "identity.session.read",
    kind=Kind.PLUMBING,
    resource="Account",
    principals=("Anonymous",),
    ja="セッションの持ち主を確かめます。",
)
class ReadSession(Command[SessionView | None]):
    """Find out whose session a cookie stands for, and keep it alive."""

    session: Secret


@command(
    "identity.session.change",
    kind=Kind.PLUMBING,
    resource="Account",
    principals=("Anonymous",),
    ja="セッションの言語と配色を変更します。",
)
class ChangeSession(Command[bool]):
    """Set the language and theme of a session; empty leaves one as it is."""

    session: Secret
    language: Literal["", "ja", "en"] = ""
    theme: Literal["", "light", "dark", "auto"] = ""


@command(
    "identity.session.close",
    kind=Kind.PLUMBING,
    resource="Account",
    principals=("Anonymous",),
    ja="サインアウトします。",
)
class CloseSession(Command[bool]):
    """Sign out."""

    session: Secret


@command(
    "identity.source.check",
    kind=Kind.PLUMBING,
    resource="Account",
    principals=("Anonymous",),
    ja="接続元がサインインを試みてよいかを確かめます。",
)
class CheckSource(Command[Verdict]):
    """Whether a source may try to sign in; with `failed`, count one more failure first."""

    source: Source
    failed: bool = False


@command(
    "identity.expired.remove",
    kind=Kind.RECORDED,
    resource="Record",
    principals=("System",),
    groups=("system",),
    ja="古くなったトークン、登録コード、セッションを取り除きます。",
)
class RemoveExpired(Command[int]):
    """Remove sessions, codes and tokens that have been over for long."""


@command(
    "identity.login.admit",
    kind=Kind.RECORDED,
    resource="Account",
    principals=("System",),
    groups=("system",),
    ja="認証プロバイダーが確認した利用者を受け入れます。",
)
class AdmitLogin(Command[str]):
    """Take in a person whom an identity provider vouches for, and answer their account."""

    issuer: Annotated[str, Meta(min_length=1, max_length=500)]
    subject: Annotated[str, Meta(min_length=1, max_length=255)]
    organisation: Id
    display_name: Name
    email: Email = ""
    roles: Annotated[tuple[Role, ...], Meta(max_length=16)] = ()
    mfa: bool = False


@command(
    "identity.agent.invite",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("administer", "operate"),
    ja="拠点エージェントの登録コードを発行します。",
)
class InviteAgent(Command[NewInvitation]):
    """Make a one-time code with which a site's agent registers."""

    site: Id


@command(
    "identity.agent.register",
    kind=Kind.RECORDED,
    resource="Site",
    principals=("Anonymous",),
    groups=("public",),
    ja="登録コードを使って拠点エージェントを登録します。",
)
class RegisterAgent(Command[AgentView]):
    """Register a site's agent and its key with a one-time code."""

    code: Secret
    name: Name
    public_key: PublicKey


@command(
    "identity.agent.disable",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("administer", "operate"),
    changes_facts=True,
    ja="拠点エージェントを無効にします。",
)
class DisableAgent(Command[AgentView]):
    """Refuse an agent from now on; its site needs a new registration."""

    agent: Id


@command(
    "identity.agent.list",
    kind=Kind.READ,
    resource="Site",
    groups=("administer", "operate", "view"),
    ja="拠点のエージェントを一覧します。",
)
class ListAgents(Command[AgentPage]):
    """List the agents of a site."""

    site: Id
    cursor: Cursor = ""
    limit: Limit = 50
