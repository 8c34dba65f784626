"""The evidence file `attestation.json`, and verifiers as a trust file names them: canonical JSON, strictly read.

    {"v": 1, "kind": "sekisho.attestation", "site", "nonce": base64url, "asked_ms", "judged_ms",
     "token": a machine's token, "gpu": its GPUs' bundle or "", "verifiers": who was believed when it was judged}

A verifier is `{"name", "kind", "issuer", "country", "jku", "keys": [{"kid", "alg", "spki": base64url of the DER}]}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sekisho_verify.attestation import NONCE_BYTES, Attestation, Question, Verifier, check_verifiers, judge
from sekisho_verify.attestation_jwt import KEYS_MAX, TokenError, TokenKey, make_token_key
from sekisho_verify.canonical import decode_object, encode, from_base64url, to_base64url
from sekisho_verify.errors import CanonicalError

FILE_NAME = "attestation.json"
VERIFIERS_MAX = 64

_KIND = "sekisho.attestation"
_FIELDS = {"v", "kind", "site", "nonce", "asked_ms", "judged_ms", "token", "gpu", "verifiers"}
_VERIFIER_FIELDS = {"name", "kind", "issuer", "country", "jku", "keys"}
_KEY_FIELDS = {"kid", "alg", "spki"}
_TEXT_CHARS_MAX = 300
_visible = re.compile(r"[!-~]{1,255}").fullmatch
_country = re.compile("[A-Z]{2}").fullmatch


@dataclass(frozen=True, slots=True)
class AttestationFile:
    """What a control plane was given and judged, so that anybody can judge it again."""

    site: str
    question: Question
    token: str
    gpu: str
    verifiers: tuple[Verifier, ...]

    def judge(self, verifiers: Sequence[Verifier]) -> Attestation:
        """Judge again, at the same moment, by these verifiers' keys; TokenError as for the first time."""
        return judge(self.token, self.gpu, verifiers, self.question)


def write_file(file: AttestationFile) -> bytes:
    """Canonical bytes."""
    return encode(
        {
            "v": 1,
            "kind": _KIND,
            "site": file.site,
            "nonce": to_base64url(file.question.nonce),
            "asked_ms": file.question.asked_ms,
            "judged_ms": file.question.now_ms,
            "token": file.token,
            "gpu": file.gpu,
            "verifiers": [verifier_document(one) for one in file.verifiers],
        }
    )


def read_file(data: bytes) -> AttestationFile:
    """The file from its canonical bytes; TokenError or CanonicalError for anything else."""
    body = decode_object(data)
    if body.keys() != _FIELDS or body["v"] != 1 or body["kind"] != _KIND or type(body["v"]) is not int:
        raise _wrong("fields")
    site, token, gpu = body["site"], body["token"], body["gpu"]
    nonce = _bytes(body["nonce"])
    if not isinstance(site, str) or not _visible(site) or len(nonce) != NONCE_BYTES:
        raise _wrong("site or nonce")
    if not isinstance(token, str) or not isinstance(gpu, str):
        raise _wrong("token")
    question = Question(nonce, _moment(body["asked_ms"]), _moment(body["judged_ms"]))
    return AttestationFile(site, question, token, gpu, read_verifiers(body["verifiers"]))


def verifier_document(verifier: Verifier) -> dict[str, object]:
    """A verifier as trust files and evidence files hold it."""
    return {
        "name": verifier.name,
        "kind": verifier.kind,
        "issuer": verifier.issuer,
        "country": verifier.country,
        "jku": verifier.jku,
        "keys": [{"kid": key.kid, "alg": key.alg, "spki": to_base64url(key.spki)} for key in verifier.keys],
    }


def read_verifiers(value: object) -> tuple[Verifier, ...]:
    """Verifiers from their documents; TokenError where one is not exactly one, or comes twice."""
    if not isinstance(value, list) or len(value) > VERIFIERS_MAX:
        raise _wrong("verifiers")
    found = tuple(map(_verifier, value))
    check_verifiers(found)
    return found


def _verifier(value: object) -> Verifier:
    if not isinstance(value, dict) or not _VERIFIER_FIELDS - {"jku"} <= value.keys() <= _VERIFIER_FIELDS:
        raise _wrong("verifiers")
    keys = value["keys"]
    if not isinstance(keys, list) or len(keys) > KEYS_MAX:
        raise _wrong("keys")
    name, country = _text(value, "name"), _text(value, "country")
    if not _visible(name) or not _country(country):
        raise _wrong("name or country")
    jku = _text(value, "jku") if "jku" in value else ""
    return Verifier(name, _text(value, "kind"), _text(value, "issuer"), country, tuple(map(_key, keys)), jku)


def _key(value: object) -> TokenKey:
    if not isinstance(value, dict) or value.keys() != _KEY_FIELDS:
        raise _wrong("keys")
    return make_token_key(_text(value, "kid"), _text(value, "alg"), _bytes(value["spki"]))


def _text(value: Mapping[str, object], name: str) -> str:
    text = value[name]
    if not isinstance(text, str) or len(text) > _TEXT_CHARS_MAX or not text.isprintable():
        raise _wrong(name)
    return text


def _bytes(value: object) -> bytes:
    try:
        return from_base64url(value) if isinstance(value, str) else b""
    except CanonicalError as error:
        raise _wrong("base64url") from error


def _moment(value: object) -> int:
    if type(value) is not int or value < 0:
        raise _wrong("time")
    return value


def _wrong(field: str) -> TokenError:
    return TokenError("attestation.file", f"a field of the wrong shape: {field}")
