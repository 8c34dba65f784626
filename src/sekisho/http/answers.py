"""Answers: JSON for what was done, problem details (RFC 9457) for what was not, in the caller's language."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import Response

from sekisho.http import decode, spelling
from sekisho.http.errors import RefusedError
from sekisho.kernel.errors import DeniedError, SekishoError
from sekisho.kernel.facts import Sentence
from sekisho_wire.problems import Details, Exit, Language, Problem, Text, type_prefix

PROBLEM_MEDIA = "application/problem+json"
RETRY_SECONDS = 2
_UNAUTHORISED = 401

TITLES: Mapping[Exit, Text] = {
    Exit.USAGE: Text("Refused", "受け付けられません"),
    Exit.DENIED: Text("Denied", "不許可"),
    Exit.SIGN_IN: Text("Sign in", "サインインが必要です"),
    Exit.NOT_FOUND: Text("Not found", "見つかりません"),
    Exit.CONFLICT: Text("Changed meanwhile", "状態が変わっています"),
    Exit.UNAVAILABLE: Text("Try again", "後で再試行してください"),
    Exit.INTERNAL: Text("Failed", "失敗しました"),
}
"""The family of a problem. Denied, refused and failed are three different things and have three words."""

_DEFAULTS: Mapping[str, Text] = {
    "seconds": Text(str(RETRY_SECONDS), str(RETRY_SECONDS)),
    "part": Text("The server", "サーバー"),
}


def language_of(connection: HTTPConnection) -> Language:
    """`?lang=` pins one; else the first of ours in Accept-Language by weight; else English."""
    pinned = connection.query_params.get(decode.LANGUAGE, "")
    if pinned in set(Language):
        return Language(pinned)
    weighted = [_weighted(part) for part in connection.headers.get("accept-language", "").split(",")[:20]]
    ours = [(weight, -place, tag) for place, (tag, weight) in enumerate(weighted) if tag in set(Language)]
    best = max(ours, default=(0.0, 0, ""))
    return Language(best[2]) if best[0] > 0 else Language.EN


def _weighted(part: str) -> tuple[str, float]:
    tag, _, parameters = part.strip().partition(";")
    name, _, weight = parameters.strip().partition("=")
    try:
        return tag.strip().lower().partition("-")[0], float(weight) if name.strip() == "q" else 1.0
    except ValueError:
        return "", 0.0


def details(error: SekishoError, *, language: Language, request_id: str) -> Details:
    """What crosses the wire for an error; nothing in it that the error does not mean to show."""
    problem = error.problem
    params: dict[str, str | int] = dict(error.params)
    shown: dict[str, str | int] = {name: text.render(language, {}) for name, text in _DEFAULTS.items()}
    shown |= {"request": request_id, **error.filled(language)}
    rules, record, reason = (), "", ""
    errors: tuple[dict[str, str | int], ...] = ()
    if isinstance(error, DeniedError):
        rules, record, reason = error.rules, error.record, error.sentence(language)
        shown["sentence"] = reason
        errors = tuple({"rule": one.rule, "sentence": _in(one, language)} for one in error.sentences)
    return Details(
        type=type_prefix + problem.code,
        title=TITLES.get(problem.exit, TITLES[Exit.INTERNAL]).render(language, {}),
        status=problem.status,
        code=problem.code,
        exit=int(problem.exit),
        detail=problem.text.render(language, shown),
        hint=_hint(error, problem, language, shown),
        instance=f"urn:sekisho:request:{request_id}",
        reason=reason,
        rules=tuple(rules),
        record=record,
        request_id=request_id,
        params=params,
        errors=errors,
    )


def _in(sentence: Sentence, language: Language) -> str:
    return sentence.ja if language is Language.JA else sentence.en


def _hint(error: SekishoError, problem: Problem, language: Language, shown: Mapping[str, object]) -> str:
    own = error.hint if isinstance(error, RefusedError) else None
    text = own or problem.hint
    return text.render(language, shown) if text else ""


def problem_response(error: SekishoError, *, language: Language, request_id: str) -> Response:
    """The response for an error, with the headers its status calls for."""
    body = details(error, language=language, request_id=request_id)
    headers = {"Content-Language": language.value}
    if body.status == _UNAUTHORISED:
        headers["WWW-Authenticate"] = 'Bearer realm="sekisho"'
    if error.problem.exit is Exit.UNAVAILABLE or "seconds" in error.params:
        headers["Retry-After"] = str(error.params.get("seconds", RETRY_SECONDS))
    return Response(
        msgspec.json.encode(body), status_code=body.status, headers=headers, media_type=PROBLEM_MEDIA
    )


def json_response(result: object, status: int) -> Response:
    """A command's result as the API spells it."""
    return Response(
        msgspec.json.encode(spelling.answer(result)), status_code=status, media_type="application/json"
    )
