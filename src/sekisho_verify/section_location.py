"""The proof of place: transcripts of landmarks, judged again here, at the moment they were judged first.

By the landmarks that the trust file names, and on the map it names. Where it names none, by those that the bundle
brings, which shows that nobody has changed a measurement since, and no more.
"""

from __future__ import annotations

from datetime import datetime

from sekisho_verify.errors import VerifyError
from sekisho_verify.lines import ABSENT, DECLARED, MEASURED, NOTE, OK, Case, Evidence, Line, failed
from sekisho_verify.location import COUNTS, NOT_SHOWN, REFUSED, TOO_FAR, Finding, LocationVerdict
from sekisho_verify.location_proof import Proof, ProofError, judge_again, read_proof
from sekisho_verify.location_territory import parse_territory
from sekisho_verify.location_text import NOT_PROVEN
from sekisho_verify.location_transcript import read_transcript
from sekisho_verify.section import Section

FILE_NAME, TERRITORY_NAME = "location.json", "territory.json"

_PART = "transcript"
_NS_PER_US = 1000
_STATES = {
    COUNTS: "transcript.counts",
    TOO_FAR: "transcript.too_far",
    REFUSED: "transcript.refused",
}


def check(case: Case) -> list[Line]:
    """For each different proof a line for each landmark and one for the verdict."""
    lines: list[Line] = []
    for found in case.evidence(FILE_NAME):
        if found.data is None:
            told = [Line(_PART, ABSENT, "transcript.missing", {"digest": found.digest})]
        else:
            try:
                told = _examine(case, found, found.data)
            except VerifyError as error:
                told = [failed(_PART, error.at(found.where))]
        lines += [line for line in told if line not in lines]
    return lines or [Line(_PART, ABSENT, "absent.transcript")]


def _examine(case: Case, found: Evidence, data: bytes) -> list[Line]:
    proof = read_proof(data)
    trusted = case.trust.landmarks if case.trust else ()
    wanted = case.trust.territory if case.trust else ""
    if wanted and wanted != proof.territory:
        raise ProofError("proof.other_territory", "judged on another map than the trust file names")
    land = next((each.data for each in case.evidence(TERRITORY_NAME) if each.digest == proof.territory), None)
    if land is None:
        return [Line(_PART, ABSENT, "transcript.no_territory", {"digest": proof.territory})]
    territory = parse_territory(land)
    verdict = judge_again(proof, territory)
    if trusted:
        verdict = judge_again(proof, territory, trusted)
    _check_used(case, found.number, proof, verdict)
    lines = [_finding(finding) for finding in verdict.findings]
    lines.append(
        Line(
            _PART,
            OK if trusted else NOTE,
            "transcript.shown" if trusted else "transcript.own_keys",
            {
                "site": verdict.site,
                "count": len(verdict.organisations),
                "needed": verdict.needed,
                "territory": proof.territory,
            },
            MEASURED,
            by=", ".join(verdict.organisations),
            leaves_open=NOT_SHOWN,
        )
    )
    return [*lines, Line(_PART, NOTE, "transcript.binding", {"site": verdict.site}, DECLARED)]


def _check_used(case: Case, number: int, proof: Proof, verdict: LocationVerdict) -> None:
    """A placement rests on an accepted proof of its own site, judged before it and not older than allowed."""
    record, detail = case.bundle.records[number], case.bundle.details[number]
    chosen = {choice.site for choice in detail.sites if choice.chosen}
    if chosen and verdict.site not in chosen:
        raise ProofError("proof.other_site", f"about {verdict.site}, which was not chosen here")
    if not verdict.accepted:
        raise ProofError("proof.not_accepted", f"the place was not shown: {verdict.code}")
    begun_ms = min(
        read_transcript(data, lambda _known: True).session.started_ms
        for finding, data in zip(verdict.findings, proof.transcripts, strict=True)
        if finding.state == COUNTS
    )
    used_ms = round(datetime.fromisoformat(record.time).timestamp() * 1000)
    if proof.time_ms > used_ms or used_ms - begun_ms > proof.policy.age_ms_max:
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
        "transcript.binding": (
            "that the key which answered is where {site} runs jobs is the site's own word",
            "応答した鍵がジョブの実行場所にあることは、{site}の自己申告です。",
        ),
    },
    NOT_PROVEN,
)
