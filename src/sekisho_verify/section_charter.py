"""Decisions made again, from the charters and facts in the bundle, where Cedar is installed."""

from __future__ import annotations

from sekisho_verify import reevaluation
from sekisho_verify.errors import VerifyError
from sekisho_verify.lines import NOTE, OK, Case, Line, failed
from sekisho_verify.section import Section

_PART = "charter"
_SUBMIT = "compute.job.submit"
WORK_BYTES_MAX = 4 << 30
"""Charter and facts of each decision that is made again: a hundred thousand decisions of the usual size."""


def check(case: Case) -> list[Line]:
    """How many were made again with the same outcome; nothing where no record's facts allow it."""
    bundle = case.bundle
    slices = {name: reevaluation.read_facts(data) for name, data in bundle.facts.items()}
    able = [(number, facts) for number, one in enumerate(bundle.records) if (facts := slices.get(one.facts))]
    if not able:
        return []
    total = {"made": len(able), "records": len(bundle.records)}
    if not reevaluation.available():
        return [Line(_PART, NOTE, "charter.no_engine", total)]
    charters: dict[str, reevaluation.Charter | None] = {}
    lines: list[Line] = []
    left = WORK_BYTES_MAX
    submitter = next((one.actor for one in bundle.records if one.action == _SUBMIT), "")
    for number, facts in able:
        record = bundle.records[number]
        left -= len(bundle.facts[record.facts]) + len(bundle.charters[record.charter])
        try:
            if left < 0:
                raise reevaluation.ReplayError("charter.work", "more work than the decisions of any job take")
            if record.charter not in charters:
                charters[record.charter] = None
                charters[record.charter] = reevaluation.Charter(bundle.charters[record.charter])
            if (charter := charters[record.charter]) is not None:
                found = reevaluation.contradictions(record, charter, facts, _asked(case, submitter, number))
                lines += [failed(_PART, error.at(f"records/{number:06}.json")) for error in found]
        except VerifyError as error:
            lines.append(failed(_PART, error.at(f"records/{number:06}.json")))
            if left < 0:
                break
    return lines or [Line(_PART, OK, "charter.same", total, leaves_open=("rest_read",))]


def _asked(case: Case, submitter: str, number: int) -> reevaluation.Asked:
    detail = case.bundle.details[number]
    sites = frozenset(choice.site for choice in detail.sites if choice.chosen)
    return reevaluation.Asked(submitter, case.bundle.manifest.subject.id, detail.level, sites)


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
