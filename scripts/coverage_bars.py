"""Holds branch coverage where a mistake would be believed: rules, gate, ledger, charter and verifier.

Reads the JSON report of coverage.py and prints one line per group. Exit status 1 when a group is under its
bar, or has no file at all: then the bar would no longer measure anything.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

BAR_PERCENT = 95.0

GROUPS: dict[str, tuple[str, ...]] = {
    "rules": ("src/sekisho/*/rules.py",),
    "gate": ("src/sekisho/kernel/gate.py",),
    "ledger": ("src/sekisho/ledger/*.py",),
    "charter": ("src/sekisho/charter/*.py",),
    "verify": ("src/sekisho_verify/*.py",),
}
"""Which files each bar measures; patterns are relative to the repository."""


@dataclass(frozen=True)
class Measure:
    """Branches of one group: taken and possible, and the files where most are missing."""

    name: str
    files: int
    covered: int
    possible: int
    worst: tuple[str, ...]

    @property
    def percent(self) -> float:
        """Branches taken in percent; a group of straight lines is whole."""
        return 100.0 * self.covered / self.possible if self.possible else 100.0

    @property
    def met(self) -> bool:
        """Whether the group exists and is over the bar."""
        return self.files > 0 and self.percent >= BAR_PERCENT


def measure(name: str, patterns: tuple[str, ...], files: dict[str, dict[str, Any]]) -> Measure:
    """Add up the branches of every file of the report that a pattern matches.

    A file that no test imported still counts: coverage.py reports it with all its branches missing.
    """
    chosen = {
        path: entry["summary"]
        for path, entry in files.items()
        if any(PurePosixPath(path).match(pattern) for pattern in patterns)
    }
    worst = sorted(chosen, key=lambda path: chosen[path]["missing_branches"], reverse=True)
    return Measure(
        name=name,
        files=len(chosen),
        covered=sum(summary["covered_branches"] for summary in chosen.values()),
        possible=sum(summary["num_branches"] for summary in chosen.values()),
        worst=tuple(f"{path} ({chosen[path]['missing_branches']})" for path in worst[:3]),
    )


def main(arguments: list[str] | None = None) -> int:
    """Print each group's measure; the exit status says whether all bars hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="JSON report of coverage.py, made with branch = true")
    report = json.loads(parser.parse_args(arguments).report.read_text())
    if not report["meta"]["branch_coverage"]:
        print("error: the report has no branches; set branch = true", file=sys.stderr)
        return 2
    measures = [measure(name, patterns, report["files"]) for name, patterns in GROUPS.items()]
    for group in measures:
        mark = "✓" if group.met else "✗"
        print(
            f"{mark} {group.name:<8} {group.percent:5.1f} % of {group.possible} branches, bar {BAR_PERCENT:.0f} %"
        )
        if not group.met:
            print(f"  most missing: {', '.join(group.worst) or 'no file matches'}")
    return 0 if all(group.met for group in measures) else 1


if __name__ == "__main__":
    sys.exit(main())
