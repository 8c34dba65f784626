"""Signing in and out, one-time links, language and theme."""

from __future__ import annotations

from sekisho.console import frame, look
from sekisho.console.asked import Answer, Cookie, Page, Redirect
from sekisho.console.complaints import complaint
from sekisho.console.door import OUTSIDE, SESSION
from sekisho.console.drawing import say
from sekisho.console.forms import safe_path
from sekisho.console.visit import Visit, Who
from sekisho.identity import Opened, new_visit
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.facts import Actor, Ref

LANGUAGES = (("en", "English"), ("ja", "日本語"))
OUTSIDE_SECONDS = 600


def form(visit: Visit) -> Answer:
    """The ways in. Somebody who is in already goes on."""
    if visit.who.signed_in:
        return Redirect(_after(visit, visit.asked.query.get("next", "")))
    return _form(visit, visit.asked.query.get("next", "/"))


def with_token(visit: Visit) -> Answer:
    """Sign in with a pasted token; the page comes back with what was wrong, never with the token."""
    wish = visit.field("next")
    try:
        opened = visit.parts.sign_in.open_with_token(visit.field("token").strip(), visit.asked.source)
    except SekishoError as error:
        return _form(visit, wish, error)
    return _enter(visit, opened, wish)


def link(visit: Visit) -> Answer:
    """What a one-time link opens: a page with a button, so that whoever previews links does not use them up."""
    return Page(
        template="link.html",
        title=say(visit.language, "link.title"),
        values={"action": f"/signin/{visit.asked.path['code']}"},
    )


def with_link(visit: Visit) -> Answer:
    """Sign in with the link, for the one time it works."""
    return _enter(
        visit, visit.parts.sign_in.open_with_link(visit.asked.path["code"], visit.asked.source), "/"
    )


def outside(visit: Visit) -> Answer:
    """Off to the identity provider. The browser keeps the visit that the answer must fit.

    A link and no form: the policy that keeps forms here would also stop a form that is sent on elsewhere.
    """
    if visit.parts.outside is None:
        raise NotFoundError(id=visit.asked.page)
    kept = new_visit(visit.asked.now_ms)
    return Redirect(visit.parts.outside.begin(kept), (Cookie(OUTSIDE, kept, OUTSIDE_SECONDS),))


def outside_back(visit: Visit) -> Answer:
    """Back from the provider, with a code that is worth something only together with the cookie."""
    if visit.parts.outside is None:
        raise NotFoundError(id=visit.asked.page)
    opened = visit.parts.outside.finish(visit.asked.cookies.get(OUTSIDE, ""), visit.asked.query)
    return _enter(visit, opened, "/", Cookie(OUTSIDE, ""))


def out(visit: Visit) -> Answer:
    """Sign out; the session ends on the server, not only in the browser."""
    if visit.who.secret:
        visit.parts.sign_in.close(visit.who.secret)
    return Redirect("/signin", (Cookie(SESSION, ""),))


def settings(visit: Visit) -> Answer:
    """Language, theme and who is signed in."""
    values = {"languages": LANGUAGES, "themes": look.THEMES, "me": visit.me}
    return Page(
        template="settings.html", title=say(visit.language, "settings.title"), values=values, data=visit.me
    )


def change(visit: Visit) -> Answer:
    """Keep language and theme: in the cookie for this browser, in the session for this person."""
    chosen = look.with_session(
        look.Look(visit.language, visit.look.theme), visit.field("language"), visit.field("theme")
    )
    if visit.who.secret:
        visit.parts.sign_in.change(visit.who.secret, language=chosen.language.value, theme=chosen.theme)
    kept = Cookie(look.COOKIE, look.cookie_value(chosen.language, chosen.theme), look.COOKIE_SECONDS)
    return Redirect(safe_path(visit.field("back")), (kept,))


def _form(visit: Visit, wish: str, error: SekishoError | None = None) -> Page:
    found = complaint(error, visit.language, visit.asked.request_id) if error else None
    return Page(
        template="signin.html",
        title=say(visit.language, "signin.title"),
        values={"found": found, "next": safe_path(wish), "outside": visit.parts.outside is not None},
        status=found.status if found else 200,
        code=found.code if found else "",
    )


def _enter(visit: Visit, opened: Opened, wish: str, *more: Cookie) -> Redirect:
    """The new session's cookie, under a new value: what the browser held before is worth nothing now."""
    seconds = max(1, (opened.expires_ms - visit.asked.now_ms) // 1000)
    inside = Visit(
        visit.parts, visit.asked, Who(Actor(Ref("User", opened.account), via="session")), visit.look
    )
    return Redirect(_after(inside, wish), (Cookie(SESSION, opened.secret, seconds), *more))


def _after(visit: Visit, wish: str) -> str:
    path = safe_path(wish)
    return path if path != "/" else frame.landing(visit)
