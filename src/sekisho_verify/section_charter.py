"""Decisions made again, from the charters and facts in the bundle, where Cedar is installed."""

from __future__ import annotations

from sekisho_verify import reevaluation
from sekisho_verify.errors import VerifyError
from sekisho_verify.lines import NOTE, OK, Case, Line, failed
from sekisho_verify.section import Section

_PART = "charter"


def check(case: Case) -> list[Line]:
    """How many were made again with the same outcome; nothing where no record's facts allow it."""
    bundle = case.bundle
    able = [
        (number, record, facts)
        for number, record in enumerate(bundle.records)
        if (facts := reevaluation.read_facts(bundle.facts.get(record.facts))) is not None
    ]
    if not able:
        return []
    total = {"made": len(able), "records": len(bundle.records)}
    if not reevaluation.available():
        return [Line(_PART, NOTE, "charter.no_engine", total)]
    charters: dict[str, reevaluation.Charter] = {}
    lines: list[Line] = []
    for number, record, facts in able:
        try:
            if record.charter not in charters:
                charters[record.charter] = reevaluation.Charter(bundle.charters[record.charter])
            reevaluation.check_record(record, charters[record.charter], facts)
        except VerifyError as error:
            lines.append(failed(_PART, error.at(f"records/{number:06}.json")))
    return lines or [Line(_PART, OK, "charter.same", total, leaves_open=("rest_read",))]


SECTION = Section(
    _PART,
    ("charter", "憲章"),
    check,
    {
        "charter.same": (
            "{made} of {records} decisions made again here, with the same outcome by the same rules",
            "{records}件のうち{made}件の判断をここで再判定し、結果と条項が一致しました。",
        ),
        "charter.no_engine": (
            "{made} of {records} decisions could be made again; cedarpy is not installed here",
            "{records}件のうち{made}件は再判定できますが、cedarpyが導入されていません。",
        ),
    },
    {
        "rest_read": (
            "answers about sites that were not chosen, and decisions without their facts, were read, not made again.",
            "選ばれなかった拠点についての判断と、事実が同梱されていない判断は、読み取ったもので再判定していません。",
        ),
    },
)
