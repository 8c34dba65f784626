"""The script that holds branch coverage: met, missed, and nothing to measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import coverage_bars
from tests.support import tree

PATHS = (
    "src/sekisho/compute/rules.py",
    "src/sekisho/kernel/gate.py",
    "src/sekisho/ledger/sequencer.py",
    "src/sekisho/charter/engine.py",
    "src/sekisho_verify/merkle.py",
)


def _report(folder: Path, covered: dict[str, int], *, branches: bool = True) -> str:
    summary = {
        path: {"summary": {"covered_branches": n, "num_branches": 100, "missing_branches": 100 - n}}
        for path, n in covered.items()
    }
    file = folder / "report.json"
    file.write_text(json.dumps({"meta": {"branch_coverage": branches}, "files": summary}))
    return str(file)


def test_all_bars_met(tmp_path: Path) -> None:
    assert coverage_bars.main([_report(tmp_path, dict.fromkeys(PATHS, 95))]) == 0


@pytest.mark.parametrize("low", PATHS)
def test_one_bar_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str], low: str) -> None:
    assert coverage_bars.main([_report(tmp_path, {**dict.fromkeys(PATHS, 100), low: 94})]) == 1
    assert f"{low} (6)" in capsys.readouterr().out


@pytest.mark.parametrize("absent", PATHS)
def test_a_group_without_files_is_not_met(tmp_path: Path, absent: str) -> None:
    covered = {path: 100 for path in PATHS if path != absent}
    assert coverage_bars.main([_report(tmp_path, covered)]) == 1


def test_a_report_without_branches_is_refused(tmp_path: Path) -> None:
    assert coverage_bars.main([_report(tmp_path, dict.fromkeys(PATHS, 100), branches=False)]) == 2


@pytest.mark.parametrize("group", coverage_bars.GROUPS)
def test_each_group_names_files_that_exist(group: str) -> None:
    patterns = coverage_bars.GROUPS[group]
    assert any(any(tree.ROOT.glob(pattern)) for pattern in patterns)
