"""What a check has seen so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from sekisho.ledger.model import CheckReport, Finding

FINDINGS_MAX = 1000
_EVERY = 1000


class Notes:
    """Counts and findings of one check. Owned by the thread that checks."""

    def __init__(self, progress: Callable[[str, int], None] | None = None) -> None:
        """`progress` hears of every thousandth thing of a stage."""
        self.findings: list[Finding] = []
        self._counts: Counter[str] = Counter()
        self._progress = progress

    def count(self, stage: str) -> None:
        """One more thing looked at."""
        self._counts[stage] += 1
        if self._progress is not None and self._counts[stage] % _EVERY == 0:
            self._progress(stage, self._counts[stage])

    def counted(self, stage: str) -> int:
        """How many things of this stage there were."""
        return self._counts[stage]

    def find(self, code: str, place: str, seen: str = "") -> None:
        """Something is wrong; beyond a thousand findings only the first thousand are kept."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(code, place, seen))

    def report(self) -> CheckReport:
        """The result."""
        stages = ("records", "waiting", "erased", "rows", "claims", "tiles", "checkpoints")
        return CheckReport(**{stage: self._counts[stage] for stage in stages}, findings=self.findings)
