"""The verdict on a place for people, in English and Japanese, and for programs as one canonical JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sekisho_verify.location import COUNTS, REFUSED, TOO_FAR, Finding, LocationVerdict
from sekisho_verify.showing import LANGUAGES, visible

GEOGRAPHIC_RESULTS = "ear.geographic-result-claims"
"""The name that the draft suggests for its claim; IANA has given none yet."""

_METRES = 1000
_NS_PER_MS = 1_000_000
_FIGURES = ("rtt_ns", "bound_m", "foreign_m", "margin_m")
_MARKS = {COUNTS: "✓", TOO_FAR: "!", REFUSED: "✗"}

SENTENCES = {
    COUNTS: (
        (
            "{landmark} ({organisation}): answered in {rtt} ms, so within {bound} km;"
            " the nearest foreign land, {foreign}, is {distance} km away; margin {margin} km"
        ),
        (
            "{landmark}（{organisation}）：{rtt}ミリ秒で応答、したがって{bound}km以内。"
            "最も近い国外の陸地は{foreign}で{distance}km、余裕{margin}km"
        ),
    ),
    TOO_FAR: (
        (
            "{landmark} ({organisation}): answered in {rtt} ms, so within {bound} km only;"
            " {foreign} is {distance} km away and not excluded, {short} km too near"
        ),
        (
            "{landmark}（{organisation}）：応答に{rtt}ミリ秒、{bound}km以内としか言えません。"
            "{foreign}まで{distance}kmのため、国外を除外できません（{short}km不足）。"
        ),
    ),
    REFUSED: (
        "transcript {number} {landmark}: refused, {reason} [{code}]",
        "測定記録{number} {landmark}：採用できません。{reason} [{code}]",
    ),
}

SUMMARIES = {
    "location.accepted": (
        (
            "The key of site {site} answered from outside all foreign land,"
            " as measured by {count} organisations ({needed} are needed)."
        ),
        "拠点{site}の鍵は、国外の陸地ではないところから応答しました。{count}組織の測定によります（必要数{needed}）。",
    ),
    "location.too_few_organisations": (
        "Not shown: {count} organisations exclude all foreign land, {needed} are needed.",
        "示されていません：国外を除外できた組織は{count}、必要数は{needed}です。",
    ),
    "location.claim_foreign": (
        "Not shown: the place that site {site} claims is on foreign land.",
        "示されていません：拠点{site}が申告する場所は国外の陸地です。",
    ),
    "location.claim_not_home": (
        "Not shown: the place that site {site} claims is not on land of the territory.",
        "示されていません：拠点{site}が申告する場所は領域の陸地にありません。",
    ),
}

REASONS = {
    "location.other_site": ("it is about another site", "別の拠点についての記録です"),
    "location.other_nonce": ("it answers another request", "別の依頼に対する記録です"),
    "location.landmark_moved": (
        "the landmark's place or organisation is not the one known",
        "測位基準点の位置または組織が登録と異なります",
    ),
    "location.too_few_rounds": ("too few rounds were answered", "応答のあった回数が足りません"),
    "location.clock": (
        "the clocks of landmark and site do not agree",
        "測位基準点と拠点の時計が一致していません",
    ),
    "location.future": ("it is from the future", "未来の時刻の記録です"),
    "location.old": ("it is too old", "古すぎる記録です"),
    "location.replayed": ("it was judged before", "すでに判定に使われた記録です"),
    "location.too_fast": (
        "the answer came sooner than light could have brought it from the place claimed",
        "申告された場所からは、光でも間に合わない速さの応答です",
    ),
    "transcript.unknown_landmark": ("the landmark's key is not known", "登録されていない鍵の測位基準点です"),
    "transcript.no_time": ("a round took no time", "所要時間が零の応答があります"),
    "transcript.order": (
        "rounds are out of order, twice, or never sent",
        "応答の順序の乱れ、重複、または未送信の回があります",
    ),
    "transcript.challenge_twice": ("a challenge occurs twice", "同じ問いが二度使われています"),
    "transcript.answer": (
        "an answer does not belong to its challenge",
        "問いに対応しない応答があります",
    ),
    "transcript.foreign_session": (
        "the session was opened by other parties",
        "別の当事者による測定です",
    ),
    "signature.invalid": ("a signature does not hold", "署名を確認できません"),
}
MALFORMED = ("it is malformed", "形式が正しくありません")

NOT_PROVEN = {
    "key_extracted": (
        (
            "an operator with hands on the machine can take the key out, or give it to a relay, and then wins;"
            " the session's key is kept in software."
        ),
        (
            "機器に直接触れる運用者は鍵を取り出し、中継装置に渡すことができ、その場合この証明は破られます。"
            "測定用の鍵はソフトウェアで保持されています。"
        ),
    ),
    "job_elsewhere": (
        "the key answered from there; that a job ran beside it, and did not copy its outputs away, is not shown.",
        "そこで応答したのは鍵です。ジョブが同じ場所で動いたこと、出力を持ち出していないことは示しません。",
    ),
    "plaintext_forwarded": (
        "covert channels out of the site are not seen.",
        "拠点から外への隠れた通信路は検出できません。",
    ),
    "moved_since": (
        "the key may have moved since the measurement, for as long as a transcript may be used.",
        "測定後、記録の有効期間内に鍵が移された可能性は残ります。",
    ),
    "accelerators_far": (
        "that GPUs stand beside the processor that answered is not measured.",
        "応答した計算機のそばにGPUがあることは測定していません。",
    ),
    "landmarks_collude": (
        "as many organisations as are needed can make a place up together.",
        "必要数の組織が結託すれば、偽の位置を作ることができます。",
    ),
    "delay_added": (
        "whoever delays packets can make an honest site fail, never a foreign one pass.",
        "通信を遅らせる者は国内の拠点を不合格にできますが、国外の拠点を合格にはできません。",
    ),
    "sea_and_air": (
        "foreign land is excluded; ships and aircraft within the disc are not.",
        "除外したのは国外の陸地です。圏内の船舶や航空機は除外していません。",
    ),
}


def render(verdict: LocationVerdict, language: str) -> str:
    """The verdict as lines of text, each ended by a newline; `language` is `en` or `ja`."""
    column = LANGUAGES.index(language)
    body = document(verdict)
    rows = [
        f"{_MARKS[finding.state]} {finding_sentence(_finding(finding), language)}"
        for finding in verdict.findings
    ]
    heading = ("Not shown:", "示さないこと：")[column]
    space = (" ", "")[column]
    rows += [summary(body, language)]
    rows += [f"{heading}{space}{NOT_PROVEN[code][column]}" for code in verdict.not_shown]
    return "\n".join([*rows, ""])


def summary(body: Mapping[str, object], language: str) -> str:
    """The verdict in one sentence, from its document."""
    organisations = body["organisations"]
    fields = {
        "site": visible(str(body["site"])),
        "count": len(organisations) if isinstance(organisations, list) else 0,
        "needed": body["organisations_needed"],
    }
    return SUMMARIES[str(body["code"])][LANGUAGES.index(language)].format_map(fields)


def finding_sentence(body: Mapping[str, object], language: str) -> str:
    """What one transcript comes to in one sentence, from its part of the document."""
    column = LANGUAGES.index(language)
    rtt_ns, bound_m, foreign_m, margin_m = (_number(body, name) for name in _FIGURES)
    fields = {
        "number": body["number"],
        "landmark": visible(str(body["landmark"])),
        "organisation": visible(str(body["organisation"])),
        "foreign": visible(str(body["foreign"])),
        "rtt": f"{rtt_ns / _NS_PER_MS:.3f}",
        "bound": f"{math.ceil(bound_m / 100) / 10:.1f}",
        "distance": f"{math.floor(foreign_m / 100) / 10:.1f}",
        "margin": f"{math.floor(margin_m / 100) / 10:.1f}",
        "short": f"{math.ceil(-margin_m / 100) / 10:.1f}",
        "reason": REASONS.get(str(body["code"]), MALFORMED)[column],
        "code": visible(str(body["code"])),
    }
    return SENTENCES[str(body["state"])][column].format_map(fields)


def document(verdict: LocationVerdict) -> dict[str, object]:
    """The verdict with stable names, in whole metres: discs rounded up, distances and margins down."""
    return {
        "v": 1,
        "kind": "sekisho.location.verdict",
        "site": verdict.site,
        "code": verdict.code,
        "accepted": verdict.accepted,
        "time_ms": verdict.time_ms,
        "territory": verdict.territory,
        "disputed": dict(verdict.disputed),
        "organisations": list(verdict.organisations),
        "landmarks": list(verdict.landmarks),
        "organisations_needed": verdict.needed,
        "bound_m": math.ceil(verdict.bound_km * _METRES),
        "margin_m": math.floor(verdict.margin_km * _METRES),
        "findings": [_finding(finding) for finding in verdict.findings],
        "not_shown": list(verdict.not_shown),
    }


def geographic_results(verdict: LocationVerdict, country: str) -> dict[str, object]:
    """The verdict as claims of draft-richardson-rats-geographic-results-01, for the `submods` of an attestation result.

    Only where it was accepted is anything claimed: that the site is in `country` (ISO 3166-1), whose territory it was
    judged by. What the draft calls near-to needs another entity's UUID, which landmarks do not have. The draft has no
    place for how far the measurement reaches; that stays in `document`.
    """
    if not verdict.accepted:
        return {}
    return {
        GEOGRAPHIC_RESULTS: {"grc.jurisdiction-country": country, "grc.jurisdiction-country-exclave": False}
    }


def _number(body: Mapping[str, object], name: str) -> int:
    value = body[name]
    return value if isinstance(value, int) else 0


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "number": finding.number,
        "state": finding.state,
        "code": finding.code,
        "detail": finding.detail,
        "landmark": finding.landmark,
        "organisation": finding.organisation,
        "session": finding.session,
        "rtt_ns": finding.rtt_ns,
        "rounds": finding.rounds,
        "bound_m": math.ceil(finding.bound_km * _METRES),
        "foreign_m": math.floor(finding.foreign_km * _METRES),
        "margin_m": math.floor(finding.margin_km * _METRES),
        "foreign": finding.foreign,
    }
