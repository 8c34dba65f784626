"""Ways in, for whoever faces the outside: the HTTP edge, the console, the command line's device flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from sekisho.identity import model_sessions as sessions
from sekisho.identity import oidc, rules
from sekisho.identity.errors import CSRF, LINK_SPENT
from sekisho.identity.model_access import CreateToken, NewToken, RedeemLink
from sekisho.identity.model_agents import AdmitLogin
from sekisho.kernel.clock import Clock
from sekisho.kernel.command import Command
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import ANONYMOUS, SYSTEM, Actor, Ref
from sekisho.kernel.gate import NOT_FOR_YOU
from sekisho_wire import problems

ResultT = TypeVar("ResultT")

DEVICE_TOKEN_MS = 12 * 3600 * 1000


class Perform(Protocol):
    """The gate's `perform`."""

    def __call__(self, actor: Actor, command: Command[ResultT], /) -> ResultT:
        """Decide, run, record, answer."""
        ...


class SignIn:
    """Tokens, links and sessions. Keeps nothing between calls."""

    def __init__(self, perform: Perform) -> None:
        """`perform` is the gate's."""
        self._perform = perform

    def authenticate(self, token: str, source: str) -> Actor:
        """The actor behind a bearer token that came from `source` (the caller's address).

        Raises `auth.required` (unknown, revoked or disabled look the same), `auth.expired`, `auth.rate_limited`.
        """
        verdict = self._perform(ANONYMOUS, sessions.Authenticate(token=token[:512], source=source[:64]))
        if verdict.actor is None:
            raise _error(verdict.problem, verdict.params)
        return verdict.actor

    def open_with_token(self, token: str, source: str) -> sessions.Opened:
        """A console session from a token; raises like `authenticate`, and `auth.people_only`."""
        return _opened(self._perform(ANONYMOUS, sessions.OpenSession(token=token[:512], source=source[:64])))

    def open_with_link(self, secret: str, source: str) -> sessions.Opened:
        """A console session from a one-time link; raises `auth.link_spent`, `auth.rate_limited`."""
        self._check(source, failed=False)
        try:
            return self._perform(ANONYMOUS, RedeemLink(secret=secret[:512]))
        except SekishoError as error:
            if error.problem is LINK_SPENT:
                self._check(source, failed=True)
            raise

    def session(self, secret: str) -> sessions.SessionView:
        """The session behind a cookie, kept alive by this; `auth.required` when it is over."""
        view = self._perform(ANONYMOUS, sessions.ReadSession(session=secret[:512]))
        if view is None:
            raise SekishoError(NOT_FOR_YOU)
        return view

    def change(self, secret: str, *, language: str = "", theme: str = "") -> None:
        """Keep a session's language (`ja`, `en`) and theme (`light`, `dark`, `auto`)."""
        self._perform(ANONYMOUS, sessions.ChangeSession(session=secret[:512], language=language, theme=theme))  # type: ignore[arg-type] - checked against the command's own type by the handler

    def close(self, secret: str) -> None:
        """Sign out; an unknown session is as good as closed."""
        self._perform(ANONYMOUS, sessions.CloseSession(session=secret[:512]))

    def _check(self, source: str, *, failed: bool) -> None:
        verdict = self._perform(ANONYMOUS, sessions.CheckSource(source=source[:64], failed=failed))
        if verdict.problem and not failed:
            raise _error(verdict.problem, verdict.params)


def check_form(session: sessions.SessionView, given: str) -> None:
    """Hold a form's hidden field against its session; `auth.csrf`."""
    if not rules.same(session.csrf, given):
        raise SekishoError(CSRF)


def check_visitor_form(visit: str, given: str, now_ms: int) -> None:
    """The same for the sign-in page's own forms, before there is a session: `visit` is the visitor's cookie."""
    expected = oidc.derive(visit, "form")
    if not oidc.visit_holds(visit, now_ms) or not rules.same(expected, given):
        raise SekishoError(CSRF)


class OutsideSignIn:
    """Sign-in through one OpenID Connect provider."""

    def __init__(self, perform: Perform, client: oidc.OidcClient, clock: Clock) -> None:
        """`perform` is the gate's; `client` speaks to the provider, outside any transaction."""
        self._perform = perform
        self._client = client
        self._clock = clock

    def begin(self, visit: str) -> str:
        """Where to send the browser whose cookie holds `visit`."""
        return self._client.authorization_url(visit)

    def finish(self, visit: str, answer: Mapping[str, str]) -> sessions.Opened:
        """The session of whoever came back with `answer`; the cookie `visit` is to be dropped afterwards."""
        actor = self._admit(self._client.exchange(visit, answer))
        return _opened(self._perform(actor, sessions.StartSession()))

    def start_device(self) -> oidc.Device:
        """Begin a sign-in for the command line."""
        return self._client.start_device()

    def poll_device(self, device_code: str) -> NewToken | oidc.Waiting:
        """A token for the command line once the person has confirmed in a browser."""
        found = self._client.poll_device(device_code)
        if isinstance(found, oidc.Waiting):
            return found
        expires_ms = self._clock.now_ms() + DEVICE_TOKEN_MS
        return self._perform(self._admit(found), CreateToken(label="device sign-in", expires_ms=expires_ms))

    def _admit(self, identity: oidc.Identity) -> Actor:
        provider = self._client.provider
        mapping = {group: tuple(roles) for group, roles in provider.roles.items()}
        account = self._perform(
            SYSTEM,
            AdmitLogin(
                issuer=identity.issuer,
                subject=identity.subject,
                organisation=provider.organisation,
                display_name=identity.display_name,
                email=identity.email,
                roles=list(rules.roles_of_groups(identity.groups, mapping)),  # type: ignore[arg-type] - Provider refuses unknown roles
                mfa=identity.mfa,
            ),
        )
        return Actor(Ref("User", account), via="oidc")


def _opened(verdict: sessions.OpenVerdict) -> sessions.Opened:
    if verdict.opened is None:
        raise _error(verdict.problem, verdict.params)
    return verdict.opened


def _error(code: str, params: Mapping[str, str | int]) -> SekishoError:
    return SekishoError(problems.lookup(code), texts=None, **params)
