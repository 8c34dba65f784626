"""A refusal as a page, a box or JSON: what happened, what to do, the stable code and the request's id."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sekisho.console.words import WORDS
from sekisho.kernel.errors import DeniedError, SekishoError
from sekisho.kernel.facts import Sentence
from sekisho_wire import problems
from sekisho_wire.problems import Details, Exit, Language, Text, type_prefix

RETRY_SECONDS = 2
JSON_MEDIA = "application/problem+json"

UNREADABLE_FORM = problems.define(
    "console.form_unreadable",
    400,
    Exit.USAGE,
    Text("This form cannot be read: {what}.", "フォームを読み取れません：{what}。"),
)
METHOD = problems.define(
    "console.method",
    405,
    Exit.USAGE,
    Text("{method} is not offered here.", "ここでは{method}は使えません。"),
)
SLOW = problems.define(
    "console.slow_body",
    408,
    Exit.UNAVAILABLE,
    Text("The form did not arrive within {seconds} s.", "フォームが{seconds}秒以内に届きませんでした。"),
)
STREAMS_FULL = problems.define(
    "console.streams_full",
    503,
    Exit.UNAVAILABLE,
    Text(
        "Too many live pages are open. This page does not refresh by itself.",
        "自動更新中のページが多すぎます。このページは自動では更新されません。",
    ),
)

KINDS: Mapping[Exit, str] = {
    Exit.USAGE: "refused",
    Exit.DENIED: "denied",
    Exit.SIGN_IN: "sign_in",
    Exit.NOT_FOUND: "not_found",
    Exit.CONFLICT: "conflict",
    Exit.UNAVAILABLE: "unavailable",
}
"""Denied, refused and failed are three different things: each family has its word, mark and advice."""
TINTS: Mapping[str, tuple[str, str]] = {
    "denied": ("⊘", "deny"),
    "refused": ("!", "wait"),
    "sign_in": ("○", "idle"),
    "not_found": ("○", "idle"),
    "conflict": ("!", "wait"),
    "unavailable": ("…", "wait"),
    "failed": ("✗", "fail"),
}
_DEFAULTS: Mapping[str, Text] = {
    "seconds": Text(str(RETRY_SECONDS), str(RETRY_SECONDS)),
    "part": Text("The server", "サーバー"),
}


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """An error in one language, ready to be drawn."""

    kind: str
    sign: str
    tint: str
    title: str
    detail: str
    advice: str
    hint: str
    code: str
    status: int
    request_id: str
    rules: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    record: str
    params: Mapping[str, str | int]


def complaint(error: SekishoError, language: Language, request_id: str) -> Complaint:
    """What people read about an error; nothing in it that the error does not mean to show."""
    problem = error.problem
    kind = KINDS.get(problem.exit, "failed")
    sign, tint = TINTS[kind]
    denied = error if isinstance(error, DeniedError) else None
    shown = _shown(error, language, request_id)
    return Complaint(
        kind=kind,
        sign=sign,
        tint=tint,
        title=WORDS[f"problem.{kind}.title"].render(language, {}),
        detail=problem.text.render(language, shown),
        advice=WORDS[f"problem.{kind}.advice"].render(language, {}),
        hint=problem.hint.render(language, shown) if problem.hint else "",
        code=error.code,
        status=problem.status,
        request_id=request_id,
        rules=denied.rules if denied else (),
        sentences=denied.sentences if denied else (),
        record=denied.record if denied else "",
        params=error.params,
    )


def details(error: SekishoError, language: Language, request_id: str) -> Details:
    """The same as RFC 9457 problem details, for whoever asked for JSON."""
    found = complaint(error, language, request_id)
    return Details(
        type=type_prefix + found.code,
        title=found.title,
        status=found.status,
        code=found.code,
        exit=int(error.problem.exit),
        detail=found.detail,
        hint=found.hint,
        instance=f"urn:sekisho:request:{request_id}",
        rules=tuple(found.rules),
        record=found.record,
        request_id=request_id,
        params=dict(error.params),
        errors=tuple({"rule": one.rule, "sentence": _pick(one, language)} for one in found.sentences),
    )


def headers(error: SekishoError) -> dict[str, str]:
    """What the status calls for."""
    found: dict[str, str] = {}
    if error.problem.status == 401:  # noqa: PLR2004 - RFC 9110: a 401 names a scheme
        found["WWW-Authenticate"] = 'Bearer realm="sekisho"'
    if error.problem.exit is Exit.UNAVAILABLE:
        found["Retry-After"] = str(error.params.get("seconds", RETRY_SECONDS))
    return found


def _shown(error: SekishoError, language: Language, request_id: str) -> dict[str, object]:
    shown: dict[str, object] = {name: text.render(language, {}) for name, text in _DEFAULTS.items()}
    shown |= {"request": request_id, **error.filled(language)}
    if isinstance(error, DeniedError):
        shown["sentence"] = error.sentence(language)
    return shown


def _pick(sentence: Sentence, language: Language) -> str:
    return sentence.ja if language is Language.JA else sentence.en
