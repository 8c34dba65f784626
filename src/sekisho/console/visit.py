"""One request under way: who asks, in which language and theme, and the only way a page reaches the gate."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from sekisho.console.asked import Asked
from sekisho.console.look import Look
from sekisho.console.settings import Parts
from sekisho.identity import Me, SessionView, ShowMe
from sekisho.kernel.command import Command
from sekisho.kernel.errors import InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import ANONYMOUS, Actor
from sekisho.kernel.gate import NOT_FOR_YOU
from sekisho.sites import ListSites, SiteView
from sekisho_wire.problems import Language

ResultT = TypeVar("ResultT")

SITES_MAX = 200
"""Sites looked at to name and mark those on a page; a federation has tens."""


class Who(msgspec.Struct, frozen=True):
    """Whose session this is. `secret` is the cookie's value, `csrf` what its forms must carry."""

    actor: Actor = ANONYMOUS
    secret: str = ""
    csrf: str = ""
    session: SessionView | None = None

    @property
    def signed_in(self) -> bool:
        """Whether anybody is."""
        return self.actor.ref.type != ANONYMOUS.ref.type


class Part(msgspec.Struct, frozen=True):
    """A piece of a page that may be missing without taking the page with it: a value, or why there is none."""

    value: Any = None
    error: SekishoError | None = None

    @property
    def there(self) -> bool:
        """Whether the value came."""
        return self.error is None


class Visit:
    """Made by the door for each request; lives in one thread."""

    def __init__(self, parts: Parts, asked: Asked, who: Who, look: Look) -> None:
        """`parts` are the console's own; the rest is this request's."""
        self.parts = parts
        self.asked = asked
        self.who = who
        self.look = look
        self._me: Me | None = None
        self._sites: dict[str, SiteView] | None = None

    @property
    def language(self) -> Language:
        """The language of this page."""
        return self.look.language

    def ask(self, command: Command[ResultT], *, once: str = "") -> ResultT:
        """Perform a command for whoever asks. `once` is a form's own key: the same form sent twice acts once.

        A command built here did not pass a decoder, so it is held to its own types first: what a path named
        wrongly is not found, what a field holds wrongly is refused.
        """
        try:
            msgspec.convert(msgspec.to_builtins(command), type=type(command))
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at ")
            field = where.strip("`").removeprefix("$.") or "form"
            if field in self.asked.path:
                raise NotFoundError(id=self.asked.path[field][:100]) from None
            raise InvalidInputError(field=field, what=what) from None
        return self.parts.gate.perform(self.who.actor, command, idempotency_key=once)

    def part(self, command: Command[Any]) -> Part:
        """The same for a piece of a page: a refusal becomes a box in its place. A session that ended does not."""
        try:
            return Part(self.ask(command))
        except SekishoError as error:
            if error.problem is NOT_FOR_YOU:
                raise
            return Part(error=error)

    @property
    def me(self) -> Me | None:
        """Who is signed in, as identity sees them; None for nobody, or when the charter keeps even that."""
        if self._me is None and self.who.signed_in:
            self._me = self.part(ShowMe()).value
        return self._me

    @property
    def roles(self) -> frozenset[str]:
        """Roles of whoever asks."""
        return frozenset(self.me.roles) if self.me else frozenset()

    @property
    def sites(self) -> dict[str, SiteView]:
        """The sites this person may see, by id: names, grades and which of them are stand-ins."""
        if self._sites is None:
            found = self.part(ListSites(limit=SITES_MAX)).value if self.who.signed_in else None
            self._sites = {site.id: site for site in found.items} if found else {}
        return self._sites

    def field(self, name: str) -> str:
        """A field of the form, or nothing."""
        return self.asked.form.get(name, "")
