"""The job itself: its file as it was submitted, and the label it inherited, joined again from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.lines import ABSENT, OK, Case, Line, failed, once
from sekisho_verify.section import Section

FILE_NAME = "job.yaml"
_PART = "job"
_ANY = "any"


class JoinError(VerifyError):
    """A label that is laxer than, or otherwise not, the join of the parts that the record names."""

    exit_code = Exit.DECISION


class _Label(NamedTuple):
    level: int
    labels: frozenset[str]
    residency: frozenset[str]


def check(case: Case) -> list[Line]:
    """The file and the join; nothing for a bundle whose records name neither."""
    return [*_files(case), *_joins(case)]


def _files(case: Case) -> list[Line]:
    lines: list[Line] = []
    for found in case.evidence(FILE_NAME):
        fields = {"digest": found.digest, "size": len(found.data or b"")}
        there = found.data is not None
        lines.append(Line(_PART, OK if there else ABSENT, "job.file" if there else "job.missing", fields))
    return once(lines)


def _joins(case: Case) -> list[Line]:
    lines: list[Line] = []
    for number, record in enumerate(case.bundle.records):
        if "join" not in record.detail:
            continue
        try:
            lines.append(_join(case, record.detail))
        except JoinError as error:
            lines.append(failed(_PART, error.at(f"records/{number:06}.json detail.label")))
    return lines


def _join(case: Case, detail: Mapping[str, object]) -> Line:
    parts, label = detail["join"], _read(detail.get("label"))
    if not isinstance(parts, list) or not parts:
        raise JoinError("job.join", "a join of nothing")
    joined = _Label(0, frozenset(), frozenset({_ANY}))
    for part in parts:
        one = _read(part)
        joined = _Label(
            max(joined.level, one.level), joined.labels | one.labels, _both(joined.residency, one.residency)
        )
    if joined != label:
        raise JoinError("job.join", "the label is not the join of its parts")
    if case.level not in {-1, label.level}:
        raise JoinError("job.level", f"level {case.level} in a record of a job of level {label.level}")
    fields = {
        "level": label.level,
        "labels": ", ".join(sorted(label.labels)) or "-",
        "residency": ", ".join(sorted(label.residency)) or "-",
        "parts": len(parts),
    }
    return Line(_PART, OK, "job.joined", fields)


def _read(value: object) -> _Label:
    fields = value if isinstance(value, dict) else {}
    level, labels, residency = (fields.get(name) for name in ("level", "labels", "residency"))
    if type(level) is not int or not isinstance(labels, list) or not isinstance(residency, list):
        raise JoinError("job.join", "a label of the wrong shape")
    if not all(isinstance(text, str) for text in (*labels, *residency)):
        raise JoinError("job.join", "a label of the wrong shape")
    return _Label(level, frozenset(labels), frozenset(residency))


def _both(left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    """Countries that both allow, as at submission: `any` allows what the other does."""
    if _ANY in left:
        return frozenset({_ANY}) if _ANY in right else right
    return left if _ANY in right else left & right


SECTION = Section(
    _PART,
    ("job", "ジョブ"),
    check,
    {
        "job.file": ("file {digest}, {size} bytes", "ジョブファイル{digest}、{size}バイト"),
        "job.missing": (
            "absent: its file ({digest}) is not in the bundle",
            "なし：ジョブファイル（{digest}）が同梱されていません。",
        ),
        "job.joined": (
            "level {level}, labels {labels}, residency {residency}: the join of its {parts} parts",
            "区分{level}、ラベル{labels}、所在地条件{residency}。{parts}件の結合と一致します。",
        ),
    },
)
