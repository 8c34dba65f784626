"""Attestation of hardware: results of verifiers, checked again here."""

from __future__ import annotations

from sekisho_verify.lines import ABSENT, Case, Line
from sekisho_verify.section import Section


def check(case: Case) -> list[Line]:
    """Absent: records of this version name no attestation result."""
    del case
    return [Line("attestation", ABSENT, "absent.attestation")]


SECTION = Section(
    "attestation",
    ("attestation", "機器の証明"),
    check,
    {"absent.attestation": ("absent: no hardware attestation", "なし：ハードウェア証明がありません。")},
)
