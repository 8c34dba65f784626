"""Sessions of operators at the site while a job was there: the place for them is kept, nothing records them yet."""

from __future__ import annotations

from sekisho_verify.lines import ABSENT, Case, Line
from sekisho_verify.section import Section


def check(case: Case) -> list[Line]:
    """Absent, said of every bundle: that none is recorded does not mean that there was none."""
    del case
    return [Line("operator_sessions", ABSENT, "absent.operator_sessions")]


SECTION = Section(
    "operator_sessions",
    ("operator", "運用者の立ち入り"),
    check,
    {
        "absent.operator_sessions": (
            "absent: no operator session",
            "なし：運用者の立ち入りの記録がありません。",
        )
    },
)
