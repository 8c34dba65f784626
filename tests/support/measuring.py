"""Coverage only of the tests that mirror what has a bar: tracing all of them made the suite half as long again."""

from __future__ import annotations

from pathlib import Path

import coverage

FOLDERS = frozenset({"charter", "data", "kernel", "ledger", "sites", "verify"})
RULES = "test_rules.py"
LONG = frozenset({"test_mutations.py"})
"""Many times the same lines."""


class Measuring:
    """Switches the coverage measurement of this process, if there is one, on and off."""

    def __init__(self) -> None:
        self._measured = coverage.Coverage.current()
        self._on = self._measured is not None

    def switch(self, test: Path, tests: Path) -> None:
        """Before each test: on for what mirrors a bar, off for everything else."""
        mirrors = test.relative_to(tests).parts[0] in FOLDERS or test.name == RULES
        wanted = mirrors and test.name not in LONG
        if self._measured is None or wanted is self._on:
            return
        self._on = wanted
        if wanted:
            self._measured.start()
            return
        # A worker of pytest-xdist has two, one begun before it knew what it is: stopping one resumes the other.
        while running := coverage.Coverage.current():
            running.stop()
