"""Language and theme of a page: the address pins one, else the session, the cookie, the browser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from sekisho_wire.problems import Language

Theme: TypeAlias = Literal["auto", "light", "dark"]
THEMES: tuple[Theme, ...] = ("auto", "light", "dark")
COOKIE = "sekisho_look"
COOKIE_SECONDS = 365 * 24 * 3600
PIN = "lang"
_TAGS_MAX = 20


class Look(msgspec.Struct, frozen=True):
    """How a page looks. `pinned` when the address itself says the language."""

    language: Language = Language.EN
    theme: Theme = "auto"
    pinned: bool = False


def choose(query: Mapping[str, str], cookie: str, accept: str) -> Look:
    """The look before anybody's session is known."""
    kept_language, _, kept_theme = cookie.partition(".")
    pinned = _language(query.get(PIN, ""))
    language = pinned or _language(kept_language) or _preferred(accept)
    return Look(language, _theme(kept_theme), pinned is not None)


def with_session(look: Look, language: str, theme: str) -> Look:
    """What the session remembers wins over the cookie, not over the address."""
    kept = _language(language)
    return Look(
        look.language if look.pinned or kept is None else kept,
        _theme(theme) if theme else look.theme,
        look.pinned,
    )


def cookie_value(language: Language, theme: str) -> str:
    """What the cookie keeps; nothing in it is secret."""
    return f"{language.value}.{_theme(theme)}"


def _language(text: str) -> Language | None:
    return Language(text) if text in set(Language) else None


def _theme(text: str) -> Theme:
    return next((theme for theme in THEMES if theme == text), "auto")


def _preferred(accept: str) -> Language:
    """The first of ours in Accept-Language by weight; English when none is there."""
    best, chosen = 0.0, Language.EN
    for part in accept.split(",")[:_TAGS_MAX]:
        tag, _, parameters = part.strip().partition(";")
        name, _, weight = parameters.strip().partition("=")
        language = _language(tag.strip().lower().partition("-")[0])
        try:
            value = float(weight) if name.strip() == "q" else 1.0
        except ValueError:
            continue
        if language and value > best:
            best, chosen = value, language
    return chosen
