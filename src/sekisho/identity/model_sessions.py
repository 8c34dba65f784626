"""What can be asked about authentication and console sessions: plumbing, all of it but the clearing away."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho.identity.model import Secret
from sekisho.kernel.command import Command, Kind, command
from sekisho.kernel.facts import Actor

Source = Annotated[str, Meta(max_length=64)]


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
    "identity.authenticate",
    kind=Kind.PLUMBING,
    resource="Token",
    principals=("Anonymous",),
    rarely_writes=True,
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
    rarely_writes=True,
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
    """Sign out: end the session on the server, not only in the browser."""

    session: Secret


@command(
    "identity.source.check",
    kind=Kind.PLUMBING,
    resource="Account",
    principals=("Anonymous",),
    rarely_writes=True,
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
