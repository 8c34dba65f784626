"""The verdict for people, in Japanese and English, and for programs as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping

from sekisho_verify.canonical import to_base64url
from sekisho_verify.errors import Exit
from sekisho_verify.lines import Line
from sekisho_verify.sentences import FAILURES, NOT_PROVEN, OUTCOMES, PARTS, SENTENCES, SUMMARIES, UNKNOWN
from sekisho_verify.showing import LANGUAGES, display_width, visible
from sekisho_verify.verdict import Verdict

_MARKS = {"ok": "✓", "note": "!", "absent": "-", "failed": "✗"}
_DIGEST_SHOWN = 12
_GRADE_COLUMN = 92


def render(verdict: Verdict, language: str) -> str:
    """The verdict as lines of text, each ended by a newline; `language` is `en` or `ja`."""
    column = LANGUAGES.index(language)
    labels = {part: names[column] for part, names in PARTS.items()}
    width = max((display_width(labels[line.part]) for line in verdict.lines), default=0)
    rows = [_row(line, labels[line.part], width, column) for line in verdict.lines]
    rows += [_not_proven(code, column) for code in verdict.not_proven]
    return "\n".join([*rows, _summary(verdict, column), ""])


def document(verdict: Verdict) -> dict[str, object]:
    """The verdict as a JSON object; names and codes are stable and never translated."""
    answer: dict[str, object] = {
        "v": 1,
        "exit_code": int(verdict.exit_code),
        "verdict": verdict.exit_code.name.lower(),
        "lines": [_line_document(line) for line in verdict.lines],
        "not_proven": list(verdict.not_proven),
    }
    if verdict.bundle:
        manifest, head = verdict.bundle.manifest, verdict.bundle.checkpoint
        answer["subject"] = manifest.subject._asdict()
        answer["stream"] = manifest.stream
        answer["records"] = manifest.records
        answer["checkpoint"] = {"origin": head.origin, "size": head.size, "root": to_base64url(head.root)}
    return answer


def _row(line: Line, label: str, width: int, column: int) -> str:
    padding = " " * (width - display_width(label))
    row = f"{_MARKS[line.state]} {label}{padding}  {_sentence(line, column)}"
    if not line.grade:
        return row
    by = f" {visible(line.by)}" if line.by else ""
    return f"{row}{' ' * max(2, _GRADE_COLUMN - display_width(row))}{line.grade}{by}"


def _sentence(line: Line, column: int) -> str:
    fields = {name: _field(name, value, column) for name, value in line.fields.items()}
    if not line.exit_code:
        return SENTENCES[line.code][column].format_map(fields)
    place = f"{fields['where']}: " if fields["where"] else ""
    reason = f"{place}{fields['detail']} [{fields['reason']}]"
    return f"{FAILURES[line.exit_code][column]} {reason}"


def _field(name: str, value: str | int, column: int) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if name == "outcome":
        return OUTCOMES[value][column]
    if name == "country":
        return visible(value) or UNKNOWN[column]
    if name == "rules":
        return visible(value) or "-"
    if name in {"stream", "charter"}:
        return visible(value.removeprefix("sha256:")[:_DIGEST_SHOWN])
    return visible(value)


def _not_proven(code: str, column: int) -> str:
    heading = ("Not proven:", "証明されないこと：")[column]
    space = (" ", "")[column]
    return f"{heading}{space}{NOT_PROVEN[code][column]}"


def _summary(verdict: Verdict, column: int) -> str:
    if verdict.exit_code not in {Exit.HOLDS, Exit.UNTRUSTED}:
        return SUMMARIES["fails"][column].format(
            kind=FAILURES[verdict.exit_code][column].rstrip(".。"), code=int(verdict.exit_code)
        )
    counts: Mapping[str, str] = {
        "declared": str(sum(line.grade == "D" for line in verdict.lines)),
        "witnesses": str(sum(line.code == "witness.cosigned" for line in verdict.lines)),
        "size": f"{verdict.bundle.checkpoint.size:,}" if verdict.bundle else "",
    }
    return SUMMARIES[verdict.exit_code.name.lower()][column].format_map(counts)


def _line_document(line: Line) -> dict[str, object]:
    found: dict[str, object] = {
        "part": line.part,
        "state": line.state,
        "code": line.code,
        "grade": line.grade,
        "exit_code": int(line.exit_code),
        "fields": dict(line.fields),
    }
    return {**found, "by": line.by} if line.by else found
