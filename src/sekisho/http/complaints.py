"""What msgspec complains about, as one of our problems in both languages: a sentence, and the path it names."""

from __future__ import annotations

import difflib
import re

import msgspec

from sekisho.http import spelling
from sekisho.http.errors import RefusedError
from sekisho_wire import problems
from sekisho_wire.complaints import in_words
from sekisho_wire.problems import Text

_WITH_PATH = re.compile(r"(?P<what>.*?)(?: - at `(?P<key>key in )?(?P<path>\$[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")


def refuse(error: msgspec.ValidationError) -> RefusedError:
    """The problem for one complaint."""
    match = _WITH_PATH.fullmatch(str(error))
    what, path = (match["what"], match["path"] or "$") if match else (str(error), "$")
    if unknown := _UNKNOWN.fullmatch(what):
        return unknown_field(unknown["field"], [], _join(path, unknown["field"]))
    if missing := _MISSING.fullmatch(what):
        return RefusedError(
            problems.INPUT_INVALID,
            field=_join(path, missing["field"]),
            texts={"what": Text("is needed", "必須の項目です")},
        )
    return RefusedError(problems.INPUT_INVALID, field=_join(path, ""), texts={"what": in_words(what)})


def unknown_field(field: str, known: list[str], path: str) -> RefusedError:
    """`input.unknown_field`, with the nearest known name when one is near."""
    near = difflib.get_close_matches(field, known, 1)
    if not near:
        return RefusedError(problems.INPUT_UNKNOWN_FIELD, field=path[:200])
    hint = Text(f'Did you mean "{near[0]}"?', f"「{near[0]}」の誤りではありませんか。")
    return RefusedError(problems.INPUT_UNKNOWN_FIELD, hint=hint, field=path[:200], suggestion=near[0])


def _join(path: str, field: str) -> str:
    """`$.a[0]` and `b` as people write it: `a[0].b`."""
    inside = path.removeprefix("$").removeprefix(".")
    bare = re.sub(r"\w+", lambda name: spelling.api_name(name[0]), inside)
    field = spelling.api_name(field)
    return ".".join(part for part in (bare, field) if part)[:200] or "body"
