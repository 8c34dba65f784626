"""Trusted time: what authorities outside state about when the bundle's checkpoint existed at the latest."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

from sekisho_verify.errors import VerifyError
from sekisho_verify.lines import NOTE, OK, SIGNED, Case, Line, failed
from sekisho_verify.section import Section
from sekisho_verify.timestamp import StampError, verify_stamp

_PART = "timestamp"
SKEW_S_MAX = 300
"""How far the clocks of the log and of an authority may differ."""


def check(case: Case) -> list[Line]:
    """One line for each token; none where there is none, as in all bundles of before there were any.

    A token of an authority that the trust file does not name fails, like a signature line of an unknown witness.
    """
    authorities = case.trust.authorities if case.trust else ()
    tokens = case.bundle.timestamps
    if tokens and not authorities:
        return [Line(_PART, NOTE, "timestamp.unchecked", {"count": len(tokens)})]
    digest = sha256(case.bundle.note.text.encode()).digest()
    lines: list[Line] = []
    for name, token in tokens.items():
        try:
            stamp = verify_stamp(token, digest, authorities)
            _check_order(case, stamp.time_s)
        except VerifyError as error:
            lines.append(failed(_PART, error.at(f"timestamps/{name.removeprefix('sha256:')[:12]}")))
            continue
        time = datetime.fromtimestamp(stamp.time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(Line(_PART, OK, "timestamp.stamped", {"time": time}, SIGNED, by=stamp.authority))
    return lines


def _check_order(case: Case, time_s: int) -> None:
    """Everything under a checkpoint is older than its stamp."""
    newest = max(datetime.fromisoformat(record.time).timestamp() for record in case.bundle.records)
    if newest > time_s + SKEW_S_MAX:
        raise StampError("timestamp.before", "a record says it is newer than the stamp of its checkpoint")


SECTION = Section(
    _PART,
    ("time stamp", "時刻証明"),
    check,
    {
        "timestamp.stamped": (
            "the checkpoint existed at {time}, and every record with it",
            "この確認点とすべての記録は{time}に存在していました。",
        ),
        "timestamp.unchecked": (
            "{count}, not checked: the trust file names no authority",
            "{count}件、未確認：信頼ファイルに時刻認証局の記載がありません。",
        ),
    },
)
