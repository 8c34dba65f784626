"""Releases of keys: to whom, on what proof."""

from __future__ import annotations

from sekisho_verify.lines import ABSENT, Case, Line
from sekisho_verify.section import Section


def check(case: Case) -> list[Line]:
    """Absent: records of this version name no release of a key."""
    del case
    return [Line("key_release", ABSENT, "absent.key_release")]


SECTION = Section(
    "key_release",
    ("key release", "鍵の引き渡し"),
    check,
    {"absent.key_release": ("absent: no key release", "なし：鍵の引き渡しの記録がありません。")},
)
