"""Reading what a browser sent: small forms in UTF-8, each with the token of the page it came from."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qsl

from sekisho.console.complaints import UNREADABLE_FORM
from sekisho.kernel.errors import SekishoError
from sekisho_wire import problems

TOKEN = "csrf"  # noqa: S105 - the name of a field
ONCE = "once"
MEDIA = "application/x-www-form-urlencoded"
FIELDS_MAX = 20
_VISITOR = re.compile(r"[A-Za-z0-9_-]{43}")
_SAME_SITE = frozenset({"same-origin", "none"})
_ONCE = re.compile(r"[A-Za-z0-9_-]{22}")


def parse(body: bytes, media: str) -> dict[str, str]:
    """The fields of a form; `console.form_unreadable` for anything that is not exactly one."""
    if media.partition(";")[0].strip().lower() != MEDIA:
        raise SekishoError(UNREADABLE_FORM, what=MEDIA)
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except UnicodeDecodeError:
        raise SekishoError(UNREADABLE_FORM, what="UTF-8") from None
    except ValueError:
        raise SekishoError(UNREADABLE_FORM, what=MEDIA) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise SekishoError(UNREADABLE_FORM, what="2")
    if any("\0" in value for value in fields.values()):
        raise SekishoError(UNREADABLE_FORM, what="U+0000")
    return {name: value.replace("\r\n", "\n") for name, value in fields.items()}


def new_visitor() -> str:
    """A value that ties a form to a browser nobody has signed in with: cookie and field must be equal."""
    return secrets.token_urlsafe(32)


def is_visitor(text: str) -> bool:
    """Whether a cookie holds such a value."""
    return _VISITOR.fullmatch(text) is not None


def check_visitor(cookie: str, given: str) -> None:
    """Hold a signed-out form against its cookie; `auth.csrf`."""
    if not is_visitor(cookie) or not hmac.compare_digest(cookie.encode(), given.encode()):
        raise SekishoError(problems.lookup("auth.csrf"))


def check_origin(headers: Mapping[str, str]) -> None:
    """Browsers say where a request was started; another site's page starts nothing here. `auth.csrf`."""
    if headers.get("sec-fetch-site", "same-origin") not in _SAME_SITE:
        raise SekishoError(problems.lookup("auth.csrf"))


def new_once() -> str:
    """A key for one form, so that pressing twice acts once."""
    return secrets.token_urlsafe(16)


def once_of(text: str) -> str:
    """The form's own key when it has the shape of one; nothing otherwise."""
    return text if _ONCE.fullmatch(text) else ""


def safe_path(text: str) -> str:
    """Where to go on after signing in: a path of this console, whatever was asked for otherwise."""
    inside = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if inside and len(text) <= 2_000 else "/"  # noqa: PLR2004 - longer than any address of ours
