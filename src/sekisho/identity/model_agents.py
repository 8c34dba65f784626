"""What can be asked about sites' agents, and about people whom an identity provider vouches for."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sekisho.identity.model import Cursor, Email, Id, Limit, Name, Role, Secret, State
from sekisho.kernel.command import Command, Kind, command

PublicKey = Annotated[str, Meta(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]{43}\Z")]


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
    shows_secret=True,
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
