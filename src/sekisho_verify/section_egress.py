"""What left an attempt: its egress report, and what a listener outside observed of its canaries."""

from __future__ import annotations

from sekisho_verify.lines import Case, Line
from sekisho_verify.section import Section


def check(case: Case) -> list[Line]:
    """Nothing: records of this version name neither; what the agent itself reports stands under `wall`."""
    del case
    return []


SECTION = Section("egress", ("egress", "外向き通信"), check, {})
