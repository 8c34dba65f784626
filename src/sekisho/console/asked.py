"""What a page is given and what it may answer, free of any framework so that pages are plain functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from sekisho.console.visit import Visit


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, read completely. `form` is empty for a GET; `page` is the address without `.json`."""

    method: str
    page: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]
    cookies: Mapping[str, str]
    source: str
    """The peer's network address: what sign-in failures are counted against."""
    request_id: str
    as_json: bool
    now_ms: int


class Cookie(msgspec.Struct, frozen=True):
    """A cookie to set; an empty value removes it. All are HttpOnly and SameSite=Lax."""

    name: str
    value: str
    seconds: int = 0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page to draw. `data` is the same view for programs; `command` is the command line that shows it."""

    template: str
    title: str
    values: Mapping[str, Any] = {}
    data: Any = None
    command: str = ""
    nav: str = ""
    status: int = 200
    code: str = ""
    """Code of the problem that a form came back with; the edge's log line and figures name it."""
    stream: str = ""
    """Address of the page's event stream; empty for a page that does not live."""
    cookies: tuple[Cookie, ...] = ()


class Redirect(msgspec.Struct, frozen=True):
    """Go on with a GET elsewhere: after every form that did something."""

    to: str
    cookies: tuple[Cookie, ...] = ()


class Download(msgspec.Struct, frozen=True):
    """A file to keep."""

    name: str
    content: bytes
    media: str = "application/zip"


Answer: TypeAlias = Page | Redirect | Download
Handler: TypeAlias = "Callable[[Visit], Answer]"


class Row(msgspec.Struct, frozen=True):
    """One page's place. Everything but `open` pages needs a session; every POST needs its form's token."""

    method: str
    path: str
    handler: Handler
    open: bool = False
    as_json: bool = False
    """Whether `path` + `.json` answers the same view for programs."""
    body_bytes: int = 16 << 10
