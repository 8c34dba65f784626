"""What stands around every page: menu by role, forms' token, footer; and the page an error becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from sekisho.console.asked import Page
from sekisho.console.complaints import complaint
from sekisho.console.drawing import say
from sekisho.console.forms import safe_path
from sekisho.console.look import PIN
from sekisho.console.visit import Visit
from sekisho.kernel.errors import SekishoError


class Item(msgspec.Struct, frozen=True):
    """One line of the menu; its name is the key of its word."""

    name: str
    path: str


_PATHS: Mapping[str, str] = {
    "overview": "/",
    "jobs": "/jobs",
    "sites": "/sites",
    "data": "/data",
    "charter": "/charter",
    "ledger": "/ledger",
    "verify": "/verify",
}
_EVERYTHING = tuple(_PATHS)
_MENUS: Mapping[str, tuple[str, ...]] = {
    "engineer": ("overview", "jobs", "sites", "data", "charter", "ledger", "verify"),
    "site_operator": ("sites", "jobs", "ledger", "verify"),
    "compliance": ("charter", "ledger", "sites", "jobs", "verify"),
    "auditor": ("charter", "ledger", "sites", "jobs", "verify"),
}
_LANDINGS: Mapping[str, str] = {
    "engineer": "/jobs?mine=1",
    "site_operator": "/sites",
    "compliance": "/charter",
    "auditor": "/charter",
}
"""Where a person with one of these roles begins, and in which order they see the parts; the first role counts."""


def menu(visit: Visit) -> list[Item]:
    """The lines of the menu: what the roles come for first, then whatever else there is."""
    if not visit.who.signed_in:
        return [Item(name, _PATHS[name]) for name in ("ledger", "verify")]
    first = _MENUS.get(_leading_role(visit), _EVERYTHING)
    return [Item(name, _PATHS[name]) for name in first]


def landing(visit: Visit) -> str:
    """Where somebody goes after signing in without a wish of their own."""
    return _LANDINGS.get(_leading_role(visit), "/")


def _leading_role(visit: Visit) -> str:
    """The one role that decides; an administrator, or somebody with several, sees everything."""
    known = visit.roles & set(_MENUS)
    return next(iter(known)) if len(known) == 1 and "administrator" not in visit.roles else ""


def draw(visit: Visit, page: Page) -> str:
    """The whole page as HTML."""
    asked = visit.asked
    values: dict[str, Any] = {
        "title": page.title,
        "theme": visit.look.theme,
        "stream": page.stream,
        "csrf": visit.who.csrf,
        "signed_in": visit.who.signed_in,
        "menu": menu(visit),
        "nav": page.nav,
        "back": _back(visit),
        "command": page.command,
        "has_json": page.data is not None,
        "json_path": json_path(asked.page, asked.query),
        "sites": visit.sites if visit.who.signed_in else {},
        **page.values,
    }
    return visit.parts.drawing.draw(page.template, values, language=visit.language, now_ms=asked.now_ms)


def problem_page(visit: Visit, error: SekishoError) -> Page:
    """The page an error becomes. It must be drawn even when nothing can be asked any more: no site is looked up."""
    found = complaint(error, visit.language, visit.asked.request_id)
    link = say(visit.language, "denial.plan.link")
    return Page(
        template="problem.html",
        title=found.title,
        status=found.status,
        values={
            "found": found,
            "next": _back(visit),
            "role_missing": any(rule.startswith("P") for rule in found.rules),
            "plan_link": visit.parts.drawing.link("/jobs/new", link),
            "sites": {},
            "menu": _safe_menu(visit),
        },
    )


def json_path(page: str, query: Mapping[str, str]) -> str:
    """Where the same view is for programs."""
    name = "/overview" if page == "/" else page
    return f"{name}.json" + _wanted(query)


def _wanted(query: Mapping[str, str]) -> str:
    """The query without what only says how the page looks."""
    kept = {key: value for key, value in query.items() if key != PIN}
    return f"?{urlencode(kept)}" if kept else ""


def _safe_menu(visit: Visit) -> list[Item]:
    """The menu, without roles where they cannot be had."""
    try:
        return menu(visit)
    except SekishoError:
        return [Item(name, _PATHS[name]) for name in _EVERYTHING]


def _back(visit: Visit) -> str:
    """The page to come back to: only one that can be had with a GET."""
    asked = visit.asked
    if asked.method not in {"GET", "HEAD"}:
        return safe_path(asked.page if asked.page == "/jobs/new" else "/")
    return safe_path(asked.page + _wanted(asked.query))
