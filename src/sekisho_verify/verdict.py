"""What a bundle proves: every check in order, as lines, and one exit code.

Pure: bytes and a trust file in, a verdict out. A bundle that fails never raises here; it gets a line that
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sekisho_verify import checks, claims
from sekisho_verify.bundle import Bundle, parse_bundle
from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.lines import Case, Line, failed
from sekisho_verify.sections import SECTIONS
from sekisho_verify.trust import Trust

_CHECKS: Sequence[Callable[[Case], list[Line]]] = (
    checks.records,
    checks.digests,
    checks.checkpoint,
    checks.inclusion,
    checks.consistency,
    checks.completeness,
    checks.messages,
    claims.decisions,
    claims.sites,
    claims.place,
    claims.wall,
    *(section.check for section in SECTIONS),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The lines in the order they are printed, what the bundle cannot show, and the exit code.

    `exit_code` is the first failing kind, UNTRUSTED where nothing failed but no trust file was given, or
    HOLDS. `bundle` is None where the bytes were no bundle.
    """

    exit_code: Exit
    lines: tuple[Line, ...]
    not_proven: tuple[str, ...]
    bundle: Bundle | None

    @property
    def holds(self) -> bool:
        """Whether everything was checked against a trust file and held."""
        return self.exit_code is Exit.HOLDS


def verify_bundle(data: bytes, trust: Trust | None = None) -> Verdict:
    """Check a bundle offline; without a trust file it can at best be consistent with itself."""
    try:
        bundle = parse_bundle(data)
    except VerifyError as error:
        return Verdict(error.exit_code, (failed("bundle", error),), (), None)
    case = Case(bundle, trust)
    shown = [line for check in _CHECKS for line in check(case)]
    lines = (*shown, *claims.demands(case, shown))
    failures = [line.exit_code for line in lines if line.exit_code]
    passed = Exit.HOLDS if trust else Exit.UNTRUSTED
    return Verdict(min(failures, default=passed), lines, _not_proven(lines), bundle)


def _not_proven(lines: Sequence[Line]) -> tuple[str, ...]:
    """Codes of what this kind of proof leaves open; the first holds for every bundle."""
    open_questions = ["operator_hands"]
    if not any(line.code == "charter.same" for line in lines):
        open_questions.append("not_reevaluated")
    if not any(line.code == "witness.cosigned" for line in lines):
        open_questions.append("unwitnessed")
    if any(line.grade == "D" for line in lines):
        open_questions.append("agent_word")
    return tuple(dict.fromkeys([*open_questions, *(code for line in lines for code in line.leaves_open)]))
