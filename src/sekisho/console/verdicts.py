"""A verdict of the offline verifier as rows of a page, in the verifier's own sentences."""

from __future__ import annotations

import msgspec

from sekisho_verify import Line, Verdict, document
from sekisho_verify.errors import Exit
from sekisho_verify.sentences import FAILURES, NOT_PROVEN, OUTCOMES, PARTS, SENTENCES, SUMMARIES
from sekisho_wire.problems import Language

__all__ = ["Row", "document", "lines", "summary", "unproven"]

_DIGEST_SHOWN = 12


class Row(msgspec.Struct, frozen=True):
    """One check: its heading, ok, note, absent or failed, a sentence, and the grade of what it rests on."""

    part: str
    state: str
    text: str
    grade: str


def lines(verdict: Verdict, language: Language) -> list[Row]:
    """Every check in the order it was made."""
    column = _column(language)
    return [
        Row(PARTS[line.part][column], line.state, _sentence(line, column), line.grade)
        for line in verdict.lines
    ]


def unproven(verdict: Verdict, language: Language) -> list[str]:
    """What this kind of proof leaves open."""
    return [NOT_PROVEN[code][_column(language)] for code in verdict.not_proven]


def summary(verdict: Verdict, language: Language) -> str:
    """The verdict in one sentence."""
    column = _column(language)
    if verdict.exit_code not in {Exit.HOLDS, Exit.UNTRUSTED}:
        kind = FAILURES[verdict.exit_code][column].rstrip(".。")
        return SUMMARIES["fails"][column].format(kind=kind, code=int(verdict.exit_code))
    return SUMMARIES[verdict.exit_code.name.lower()][column].format(
        declared=sum(line.grade == "D" for line in verdict.lines),
        witnesses=sum(line.code == "witness.cosigned" for line in verdict.lines),
        size=f"{verdict.bundle.checkpoint.size:,}" if verdict.bundle else "",
    )


def _column(language: Language) -> int:
    return 1 if language is Language.JA else 0


def _sentence(line: Line, column: int) -> str:
    if line.exit_code:
        place = f"{line.fields['where']}: " if line.fields["where"] else ""
        return f"{FAILURES[line.exit_code][column]} {place}{line.fields['detail']} [{line.fields['reason']}]"
    shown = {name: _field(name, value, column) for name, value in line.fields.items()}
    return SENTENCES[line.code][column].format_map(shown)


def _field(name: str, value: str | int, column: int) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if name == "outcome":
        return OUTCOMES[value][column]
    if name in {"stream", "charter"}:
        return value.removeprefix("sha256:")[:_DIGEST_SHOWN]
    return value or "-"
