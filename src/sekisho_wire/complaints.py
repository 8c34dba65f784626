"""What msgspec complains about, in both languages.

msgspec says `Expected `int`, got `str``: a sentence of a small grammar, which is translated here. One that is not in it
(a newer msgspec) is shown in English in both languages.
"""

from __future__ import annotations

import re

from sekisho_wire.problems import Text

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
    (
        re.compile(r"Object contains unknown field `(?P<n>.*)`"),
        "{n} is unknown",
        "{n}という項目はありません",
    ),
    (re.compile(r"Object missing required field `(?P<n>.*)`"), "{n} is needed", "{n}は必須の項目です"),
    (re.compile(r"Invalid enum value (?P<n>.+)"), "{n} is not one of the choices", "{n}は選択肢にありません"),
    (re.compile(r"Invalid value (?P<n>.+)"), "{n} is not one of the choices", "{n}は選択肢にありません"),
)


def in_words(what: str) -> Text:
    """A complaint without its path."""
    for pattern, english, japanese in _SENTENCES:
        match = pattern.fullmatch(what)
        if match:
            values = {name: without_braces(value) for name, value in match.groupdict().items()}
            return Text(english.format_map(values), japanese.format_map(values))
    return Text(without_braces(what), without_braces(what))


def without_braces(text: str) -> str:
    """Somebody's words inside a sentence, where braces would be placeholders."""
    return text.replace("{", "(").replace("}", ")")
