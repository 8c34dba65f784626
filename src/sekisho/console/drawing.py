"""Templates, words and static files, read once at the start; draws pages and the fragments that live pages swap."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup, escape

from sekisho.console import marks, shapes
from sekisho.console.complaints import complaint
from sekisho.console.words import WORDS
from sekisho.kernel.clock import parse_rfc3339
from sekisho.kernel.errors import SekishoError
from sekisho_wire.problems import Language, Text

_FOLDER = resources.files("sekisho.console")
_MEDIA: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class StaticFile(msgspec.Struct, frozen=True):
    """A file of ours: bytes, media type, and a digest that its address carries so that it may be kept for ever."""

    content: bytes
    media: str
    digest: str


class Drawing:
    """Shared by all threads; nothing in it changes after it was made."""

    def __init__(self) -> None:
        """Read everything; a template that cannot be compiled stops the start, not a page."""
        self.static = _static_files()
        self._environment = _environment()

    def draw(self, template: str, values: Mapping[str, Any], *, language: Language, now_ms: int) -> str:
        """A template in a language; `values` are escaped, texts of ours are not."""
        return self._environment.get_template(template).render({**self._tools(language, now_ms), **values})

    @staticmethod
    def link(address: str, text: str) -> Markup:
        """A link of ours, to be put into a sentence."""
        return Markup('<a href="{}">{}</a>').format(address, text)

    def _tools(self, language: Language, now_ms: int) -> dict[str, Any]:
        """What every template can call, bound to its language and its moment."""
        bind = functools.partial
        return {
            "t": bind(_phrase, language),
            "language": language.value,
            "now_ms": now_ms,
            "marks": marks,
            "shapes": shapes,
            "moment": bind(shapes.moment, language=language),
            "ago": bind(shapes.ago, now_ms=now_ms, language=language),
            "span": bind(shapes.span, language=language),
            "pick": bind(pick, language),
            "explain": bind(_explain, language),
            "has_word": known,
            "milliseconds": _milliseconds,
            "static": self._address,
        }

    def _address(self, name: str) -> str:
        return f"/static/{name}?v={self.static[name].digest[:16]}"


@functools.cache
def _environment() -> jinja2.Environment:
    """Every template, compiled: once per process, because nothing but this program's files decides what comes out."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for name in template_names():
        environment.get_template(name)
    return environment


def _milliseconds(text: str) -> int:
    """A moment that a view carries as text; 0 for none, which is shown as a dash."""
    return parse_rfc3339(text) if text else 0


def _explain(language: Language, error: SekishoError) -> str:
    return complaint(error, language, "").detail


def say(language: Language, key: str, /, **values: object) -> str:
    """A text of ours with its placeholders filled, as plain text. KeyError for an unknown key."""
    return WORDS[key].render(language, values)


def _phrase(language: Language, key: str, /, **values: object) -> Markup:
    """The same inside a template: what fills the placeholders is escaped unless it is a link of ours."""
    text = WORDS[key]
    sentence = escape(text.ja if language is Language.JA else text.en)
    return Markup(sentence).format(**values)  # noqa: S704 - escaped in the line above


def known(key: str) -> bool:
    """Whether there is a text of this key: names that other parts invent are shown bare when there is none."""
    return key in WORDS


def pick(language: Language, english: str | Text, japanese: str = "") -> str:
    """The one of two sentences that belongs to the language; English where no Japanese was given."""
    if isinstance(english, Text):
        return english.ja if language is Language.JA else english.en
    return japanese if language is Language.JA and japanese else english


def template_names() -> list[str]:
    """Every template there is."""
    return sorted(entry.name for entry in (_FOLDER / "templates").iterdir() if entry.name.endswith(".html"))


def template_text(name: str) -> str:
    """The source of a template."""
    return (_FOLDER / "templates" / name).read_text(encoding="utf-8")


def _template(name: str) -> str | None:
    return template_text(name) if name in template_names() else None


def _static_files() -> dict[str, StaticFile]:
    found: dict[str, StaticFile] = {}
    for entry in (_FOLDER / "static").iterdir():
        media = _MEDIA.get("." + entry.name.rpartition(".")[2])
        if media:
            content = entry.read_bytes()
            found[entry.name] = StaticFile(content, media, hashlib.sha256(content).hexdigest())
    return found
