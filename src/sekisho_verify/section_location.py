"""The proof of place: transcripts of landmarks, judged again here, at the moment they were judged first.

By the landmarks that the trust file names, and on the map it names. Where it names none, by those that the bundle
brings, which shows that nobody has changed a measurement since, and no more.
"""

from __future__ import annotations

from datetime import datetime

from sekisho_verify.errors import VerifyError
from sekisho_verify.lines import (
    ABSENT,
    ATTESTED,
    DECLARED,
    MEASURED,
    NOTE,
    OK,
    Case,
    Evidence,
    Line,
    failed,
    once,
)
from sekisho_verify.location import COUNTS, NOT_SHOWN, REFUSED, TOO_FAR, Finding
from sekisho_verify.location_proof import ProofError
from sekisho_verify.location_text import NOT_PROVEN
from sekisho_verify.places import FILE_NAME, Judged, Places, used_by
from sekisho_verify.section import Section

_PART = "transcript"
_NS_PER_US = 1000
_STATES = {
    COUNTS: "transcript.counts",
    TOO_FAR: "transcript.too_far",
    REFUSED: "transcript.refused",
}


def check(case: Case) -> list[Line]:
    """For each different proof a line for each landmark and one for the verdict; then what no proof covers."""
    places, judged = Places(case), dict[str, Judged | str]()
    lines: list[Line] = []
    answered, told = dict[int, str](), set[str]()
    for found in case.evidence(FILE_NAME):
        answered[found.number] = ""
        if found.data is None:
            lines.append(Line(_PART, ABSENT, "transcript.missing", {"digest": found.digest}))
            continue
        try:
            if found.digest not in judged:
                judged[found.digest] = ""
                judged[found.digest] = places.judge(found.data)
            proof = judged[found.digest]
            if isinstance(proof, Judged):
                _check_used(case, found, proof, places)
                answered[found.number] = proof.verdict.site
                if found.digest not in told:
                    told.add(found.digest)
                    lines += _told(case, proof, places)
            elif proof:
                lines.append(Line(_PART, ABSENT, "transcript.no_territory", {"digest": proof}))
        except VerifyError as error:
            lines.append(failed(_PART, error.at(found.where)))
    return once([*lines, *_uncovered(case, answered)]) or [Line(_PART, ABSENT, "absent.transcript")]


def _uncovered(case: Case, answered: dict[int, str]) -> list[Line]:
    """Once any record rests on a proof of place, every site chosen for data of level 2 and above needs its own.

    Records whose proof failed have said so.
    """
    if not answered or not case.protected:
        return []
    lines: list[Line] = []
    for number, detail in enumerate(case.bundle.details):
        there = answered.get(number)
        for choice in detail.sites:
            if choice.chosen and there not in {"", choice.site}:
                error = ProofError(
                    "proof.uncovered", f"{choice.site} was chosen without a proof of its place"
                )
                lines.append(failed(_PART, error.at(f"records/{number:06}.json")))
    return lines


def _told(case: Case, judged: Judged, places: Places) -> list[Line]:
    verdict = judged.verdict
    trusted = case.trust is not None and bool(case.trust.landmarks)
    return [
        *map(_finding, verdict.findings),
        Line(
            _PART,
            OK if trusted else NOTE,
            "transcript.shown" if trusted else "transcript.own_keys",
            {
                "site": verdict.site,
                "count": len(verdict.organisations),
                "needed": verdict.needed,
                "territory": judged.proof.territory,
            },
            MEASURED,
            by=", ".join(verdict.organisations),
            leaves_open=NOT_SHOWN,
        ),
        _binding(case, judged, places),
    ]


def _binding(case: Case, judged: Judged, places: Places) -> Line:
    """Worked out here from the attestation in the bundle, by the verifiers of the trust file; else a declaration."""
    site = {"site": judged.verdict.site}
    if case.trust and case.trust.verifiers and places.bound(judged) & case.trust.measurements:
        return Line(_PART, OK, "transcript.bound", site, ATTESTED)
    return Line(_PART, NOTE, "transcript.binding", site, DECLARED)


def _check_used(case: Case, found: Evidence, judged: Judged, places: Places) -> None:
    """A placement rests on an accepted proof of its own site and agent, judged before it and not older than allowed."""
    used_by(found, judged, places)
    record, proof = case.bundle.records[found.number], judged.proof
    used_ms = round(datetime.fromisoformat(record.time).timestamp() * 1000)
    if proof.time_ms > used_ms or used_ms - judged.begun_ms > proof.policy.age_ms_max:
        raise ProofError("proof.when", "used before it was judged, or when it was too old")


def _finding(finding: Finding) -> Line:
    fields: dict[str, str | int] = {
        "landmark": finding.landmark or str(finding.number),
        "organisation": finding.organisation or "-",
        "rtt_us": -(-finding.rtt_ns // _NS_PER_US),
        "bound_km": -int(-finding.bound_km // 1),
        "margin_km": int(finding.margin_km // 1),
        "foreign": finding.foreign or "-",
        "code": finding.code,
    }
    counts = finding.state == COUNTS
    return Line(_PART, OK if counts else NOTE, _STATES[finding.state], fields)


SECTION = Section(
    _PART,
    ("transcript", "位置証明の記録"),
    check,
    {
        "absent.transcript": ("absent: no location transcript", "なし：位置証明の測定記録がありません。"),
        "transcript.missing": (
            "absent: a record names a proof of place ({digest}) that is not in the bundle",
            "なし：記録が挙げる位置証明（{digest}）が同梱されていません。",
        ),
        "transcript.no_territory": (
            "absent: the map ({digest}) that a proof of place was judged on is not in the bundle",
            "なし：位置証明の判定に使われた領域ファイル（{digest}）が同梱されていません。",
        ),
        "transcript.counts": (
            "{landmark} ({organisation}): {rtt_us} microseconds, so within {bound_km} km; {foreign} not reached by {margin_km} km",
            "{landmark}（{organisation}）：{rtt_us}マイクロ秒、{bound_km}km以内。{foreign}まで余裕{margin_km}km",
        ),
        "transcript.too_far": (
            "{landmark} ({organisation}): {rtt_us} microseconds, so within {bound_km} km only; {foreign} is not excluded",
            "{landmark}（{organisation}）：{rtt_us}マイクロ秒、{bound_km}km以内。{foreign}を除外できません。",
        ),
        "transcript.refused": (
            "{landmark} ({organisation}): not taken [{code}]",
            "{landmark}（{organisation}）：採用できません [{code}]",
        ),
        "transcript.shown": (
            (
                "{site} answered from outside all foreign land, judged again here on the landmarks of the trust file:"
                " {count} organisations, {needed} needed"
            ),
            "{site}は国外の陸地ではない場所から応答しました。信頼ファイルの測位基準点で再判定：{count}組織、必要数{needed}",
        ),
        "transcript.own_keys": (
            (
                "{site} answered from outside all foreign land, judged again here: {count} organisations, {needed} needed;"
                " the landmarks' keys come from the bundle, the trust file names none"
            ),
            (
                "{site}は国外の陸地ではない場所から応答しました（再判定：{count}組織、必要数{needed}）。"
                "測位基準点の鍵は同梱のもので、信頼ファイルに記載がありません。"
            ),
        ),
        "transcript.bound": (
            "the key which answered for {site} is one that its attested hardware vouches for",
            "{site}として応答した鍵は、証明された機器が保証する鍵です。",
        ),
        "transcript.binding": (
            "that the key which answered is where {site} runs jobs is the site's own word",
            "応答した鍵がジョブの実行場所にあることは、{site}の自己申告です。",
        ),
    },
    NOT_PROVEN,
)
