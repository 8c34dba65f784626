"""What msgspec complains about, as one of our problems in both languages.

msgspec says `Expected `int`, got `str` - at `$.a[0]``: one sentence of a small grammar, and a path. The grammar
is translated here; a sentence that is not in it (a newer msgspec) is shown in English in both languages.
"""

from __future__ import annotations

import difflib
import re

import msgspec

from sekisho.http import spelling
from sekisho.http.errors import RefusedError
from sekisho_wire import problems
from sekisho_wire.problems import Text

_WITH_PATH = re.compile(r"(?P<what>.*?)(?: - at `(?P<key>key in )?(?P<path>\$[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")

_SENTENCES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"Expected `(?P<a>[^`]*)` of length >= (?P<n>\d+)"),
        "at least {n} characters or items are needed",
        "{n}以上の文字数または要素数が必要です",
    ),
    (
        re.compile(r"Expected `(?P<a>[^`]*)` of length <= (?P<n>\d+)"),
        "at most {n} characters or items are taken",
        "文字数または要素数は{n}以下でなければなりません",
    ),
    (
        re.compile(r"Expected `(?P<a>[^`]*)` matching regex (?P<n>.+)"),
        "must match {n}",
        "{n}の形でなければなりません",
    ),
    (
        re.compile(r"Expected `(?P<a>[^`]*)` >= (?P<n>\S+)"),
        "must be at least {n}",
        "{n}以上でなければなりません",
    ),
    (
        re.compile(r"Expected `(?P<a>[^`]*)` <= (?P<n>\S+)"),
        "must be at most {n}",
        "{n}以下でなければなりません",
    ),
    (
        re.compile(r"Expected `(?P<a>[^`]*)` > (?P<n>\S+)"),
        "must be more than {n}",
        "{n}を超えなければなりません",
    ),
    (
        re.compile(r"Expected `(?P<a>[^`]*)` < (?P<n>\S+)"),
        "must be less than {n}",
        "{n}未満でなければなりません",
    ),
    (
        re.compile(r"Expected `(?P<a>[^`]*)`, got `(?P<n>[^`]*)`"),
        "{a} is needed, not {n}",
        "{a}が必要ですが、{n}です",
    ),
    (re.compile(r"Invalid enum value (?P<n>.+)"), "{n} is not one of the choices", "{n}は選択肢にありません"),
    (re.compile(r"Invalid value (?P<n>.+)"), "{n} is not one of the choices", "{n}は選択肢にありません"),
)


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
    return RefusedError(problems.INPUT_INVALID, field=_join(path, ""), texts={"what": _sentence(what)})


def unknown_field(field: str, known: list[str], path: str) -> RefusedError:
    """`input.unknown_field`, with the nearest known name when one is near."""
    near = difflib.get_close_matches(field, known, 1)
    if not near:
        return RefusedError(problems.INPUT_UNKNOWN_FIELD, field=path[:200])
    hint = Text(f'Did you mean "{near[0]}"?', f"「{near[0]}」の誤りではありませんか。")
    return RefusedError(problems.INPUT_UNKNOWN_FIELD, hint=hint, field=path[:200], suggestion=near[0])


def _sentence(what: str) -> Text:
    for pattern, english, japanese in _SENTENCES:
        match = pattern.fullmatch(what)
        if match:
            values = {
                name: value.replace("{", "(").replace("}", ")") for name, value in match.groupdict().items()
            }
            return Text(english.format_map(values), japanese.format_map(values))
    plain = what.replace("{", "(").replace("}", ")")
    return Text(plain, plain)


def _join(path: str, field: str) -> str:
    """`$.a[0]` and `b` as people write it: `a[0].b`."""
    inside = path.removeprefix("$").removeprefix(".")
    bare = re.sub(r"\w+", lambda name: spelling.api_name(name[0]), inside)
    field = spelling.api_name(field)
    return ".".join(part for part in (bare, field) if part)[:200] or "body"
