"""Releases of keys: of which key, to which attempt, on what proof; and those that were refused, with the reason.

Each decision about data keys names an evidence file `key_release.json`: `{v, order, released, reason, key}`. `order` is
the release order whose digest the record carries in `detail.order`, which its custodian obeyed only under a checkpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from sekisho_verify.canonical import digest, encode
from sekisho_verify.errors import CanonicalError, Exit, VerifyError
from sekisho_verify.lines import ABSENT, DECLARED, NOTE, OK, Case, Evidence, Line, failed
from sekisho_verify.section import Section

FILE = "key_release.json"
_PROOF_FILE = "location.json"
_DEVELOPMENT = "development"


class ReleaseError(VerifyError):
    """A release that its record does not bear, or one without what its level needs."""

    exit_code = Exit.KEY


class Release(NamedTuple):
    """One decision, as the evidence tells it."""

    released: bool
    reason: str
    key: str
    version: int
    custodian: str
    custody: str
    country: str
    proof: str
    order: str
    """The digest of the order."""


def check(case: Case) -> list[Line]:
    """Every decision about data keys, equal ones together; absent where the bundle names none."""
    lines: list[Line] = []
    found: Counter[Release] = Counter()
    for evidence in case.evidence(FILE):
        try:
            release = read_release(case, evidence)
            _check_release(case, evidence, release)
        except VerifyError as error:
            lines.append(failed("key_release", error.at(evidence.where)))
        else:
            found[release._replace(order="", proof="")] += 1
    lines += [_line(release, count) for release, count in found.items()]
    return lines or [Line("key_release", ABSENT, "absent.key_release")]


def read_release(case: Case, evidence: Evidence) -> Release:
    """The decision in an evidence file; ReleaseError where the bundle does not hold it or it has another shape."""
    if evidence.data is None:
        raise ReleaseError("key.evidence_missing", "the decision about a key is not in the bundle")
    try:
        body = case.body(evidence)
    except CanonicalError as error:
        raise ReleaseError("key.shape", "a decision about a key that is not canonical JSON") from error
    order, key = _mapping(body, "order"), _mapping(body, "key")
    released, version = body.get("released"), order.get("key_version")
    if body.get("v") != 1 or type(released) is not bool or type(version) is not int:
        raise ReleaseError("key.shape", "a decision about a key of another shape")
    return Release(
        released,
        _text(body, "reason"),
        _text(order, "key"),
        version,
        _text(order, "custodian"),
        _text(key, "custody"),
        _text(key, "country"),
        _text(order, "proof"),
        digest(encode(order)),
    )


def _check_release(case: Case, evidence: Evidence, release: Release) -> None:
    record = case.bundle.records[evidence.number]
    if record.detail.get("order") != release.order:
        raise ReleaseError("key.order_differs", "an order that is not the one its record names")
    done = record.decision == "allow" and record.outcome == "done"
    if done is not release.released or release.released is bool(release.reason):
        raise ReleaseError("key.decision_differs", "released and yet denied, or refused and yet done")
    if release.released and case.protected and not release.proof:
        raise ReleaseError("key.without_proof", "released without a proof of place")
    named = case.bundle.details[evidence.number].files.get(_PROOF_FILE)
    if release.released and release.proof and release.proof != named:
        raise ReleaseError("key.other_proof", "released on a proof of place that its record does not name")


def _line(release: Release, count: int) -> Line:
    fields: dict[str, str | int] = {
        "key": release.key,
        "version": release.version,
        "custodian": release.custodian,
        "custody": release.custody,
        "country": release.country,
        "count": count,
    }
    if not release.released:
        return Line("key_release", NOTE, "key_release.refused", fields | {"reason": release.reason})
    if release.custody == _DEVELOPMENT:
        opened = ("development_key",)
        return Line("key_release", NOTE, "key_release.development", fields, DECLARED, leaves_open=opened)
    return Line("key_release", OK, "key_release.released", fields, DECLARED, leaves_open=("custodian_word",))


def _mapping(body: Mapping[str, object], name: str) -> dict[str, object]:
    value = body.get(name)
    if not isinstance(value, dict):
        raise ReleaseError("key.shape", "a decision about a key of another shape")
    return value


def _text(body: Mapping[str, object], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ReleaseError("key.shape", "a decision about a key of another shape")
    return value


SECTION = Section(
    "key_release",
    ("key release", "鍵の引き渡し"),
    check,
    {
        "absent.key_release": ("absent: no key release", "なし：鍵の引き渡しの記録がありません。"),
        "key_release.released": (
            "key {key} version {version} released by {custodian} ({custody}, {country}), {count}x",
            "鍵{key}（版{version}）を{custodian}が{count}回引き渡しました（{custody}、{country}）。",
        ),
        "key_release.development": (
            "DEVELOPMENT key {key} version {version} released by {custodian} ({country}), {count}x",
            "開発用の鍵{key}（版{version}）を{custodian}が{count}回引き渡しました（{country}）。",
        ),
        "key_release.refused": (
            "key {key} version {version} refused, {count}x: {reason}",
            "鍵{key}（版{version}）の引き渡しを{count}回拒否しました：{reason}",
        ),
    },
    {
        "custodian_word": (
            "how a key is kept is its custodian's word; no device has attested it.",
            "鍵の保管方法は保管者の申告であり、機器による証明はありません。",
        ),
        "development_key": (
            "a development key lies in a file and protects nothing from whoever reads that disk.",
            "開発用の鍵はファイルにあり、そのディスクを読める者からは何も守りません。",
        ),
    },
)
