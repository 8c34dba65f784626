"""Stable problem codes: one registry that server, client and agents share.

A problem is what a refused, denied or failed request answers with, as RFC 9457 problem details. Each code is
defined once, by the package that raises it, with its sentence in both languages. Codes never change their
meaning; a sentence may.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

type_prefix = "urn:sekisho:problem:"


class Exit(enum.IntEnum):
    """Exit status of the command line for each family of problems; documented in the CLI's help."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DENIED = 3
    SIGN_IN = 4
    NOT_FOUND = 5
    CONFLICT = 6
    UNAVAILABLE = 7
    STILL_WAITING = 8
    INTERNAL = 70
    INTERRUPTED = 130


class Language(enum.StrEnum):
    """The two languages every sentence exists in."""

    EN = "en"
    JA = "ja"


class Text(msgspec.Struct, frozen=True):
    """One sentence in both languages; placeholders in braces are the same in both."""

    en: str
    ja: str

    def render(self, language: Language, params: Mapping[str, object]) -> str:
        """Fill the placeholders; a missing one is shown by its name instead of raising."""
        template = self.ja if language is Language.JA else self.en
        return template.format_map(_Lenient(params))


class _Lenient(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


class Problem(msgspec.Struct, frozen=True):
    """The definition of one code: HTTP status, exit status of the CLI, sentence and hint."""

    code: str
    status: int
    exit: Exit
    text: Text
    hint: Text | None = None


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """What crosses the wire: RFC 9457 members first, then ours. `params` are never translated."""

    type: str
    title: str
    status: int
    code: str
    exit: int
    detail: str = ""
    hint: str = ""
    instance: str = ""
    reason: str = ""
    rules: tuple[str, ...] = ()
    record: str = ""
    request_id: str = ""
    params: dict[str, str | int] = {}
    errors: tuple[dict[str, str | int], ...] = ()


_DEFINED: dict[str, Problem] = {}


def define(code: str, status: int, exit_status: Exit, text: Text, *, hint: Text | None = None) -> Problem:
    """Add one code to the registry. Defining a code twice is a mistake in the program and raises."""
    if code in _DEFINED:
        message = f"problem code defined twice: {code}"
        raise ValueError(message)
    problem = Problem(code, status, exit_status, text, hint)
    _DEFINED[code] = problem
    return problem


def lookup(code: str) -> Problem:
    """The definition of `code`; unknown codes (from a newer peer) read as `internal`."""
    return _DEFINED.get(code, INTERNAL)


def all_problems() -> dict[str, Problem]:
    """Every defined code, sorted, for the reference pages and the tests."""
    return dict(sorted(_DEFINED.items()))


INTERNAL = define(
    "internal",
    500,
    Exit.INTERNAL,
    Text(
        "Our fault. Nothing was changed. Request {request}.",
        "内部エラーです。変更はありません。受付番号{request}。",
    ),
)
UNAVAILABLE = define(
    "unavailable",
    503,
    Exit.UNAVAILABLE,
    Text(
        "{part} does not answer. Nothing was changed. Try again in {seconds} s.",
        "{part}が応答しません。変更はありません。{seconds}秒後に再試行してください。",
    ),
)
BUSY = define(
    "busy",
    503,
    Exit.UNAVAILABLE,
    Text(
        "Too many changes to the same thing at once. Nothing was changed. Try again in {seconds} s.",
        "同じ対象への変更が集中しています。変更はありません。{seconds}秒後に再試行してください。",
    ),
)
STORAGE_FULL = define(
    "storage.full",
    507,
    Exit.UNAVAILABLE,
    Text(
        "The server's disk is full. Nothing was changed.", "サーバーのディスクが満杯です。変更はありません。"
    ),
)
NOT_FOUND = define(
    "not_found",
    404,
    Exit.NOT_FOUND,
    Text("Not found, or not visible to you: {id}", "見つからないか、閲覧できません：{id}"),
)
CONFLICT = define(
    "conflict",
    409,
    Exit.CONFLICT,
    Text("Changed meanwhile: {what}. Read it again.", "その間に変更されました：{what}。読み直してください。"),
)
DENIED = define(
    "charter.denied",
    403,
    Exit.DENIED,
    Text("Not allowed by the charter: {sentence}", "憲章により許可されません。{sentence}"),
)
INPUT_MALFORMED = define(
    "input.malformed",
    400,
    Exit.USAGE,
    Text("The request cannot be read: {what}", "要求を読み取れません：{what}"),
)
INPUT_INVALID = define(
    "input.invalid",
    422,
    Exit.USAGE,
    Text("{field}: {what}", "{field}：{what}"),
)
INPUT_UNKNOWN_FIELD = define(
    "input.unknown_field",
    422,
    Exit.USAGE,
    Text('Unknown field "{field}".', "「{field}」という項目はありません。"),
)
INPUT_TOO_LARGE = define(
    "input.too_large",
    413,
    Exit.USAGE,
    Text("{size} is over the limit of {limit}.", "{size}は上限{limit}を超えています。"),
)
