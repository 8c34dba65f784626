"""The proof of place: transcripts of landmarks, judged again here."""

from __future__ import annotations

from sekisho_verify.lines import ABSENT, Case, Line
from sekisho_verify.section import Section


def check(case: Case) -> list[Line]:
    """Absent: records of this version name no location proof."""
    del case
    return [Line("transcript", ABSENT, "absent.transcript")]


SECTION = Section(
    "transcript",
    ("transcript", "位置証明の記録"),
    check,
    {"absent.transcript": ("absent: no location transcript", "なし：位置証明の測定記録がありません。")},
)
