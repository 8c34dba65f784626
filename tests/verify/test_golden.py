"""Frozen evidence: every verifier from now on accepts it and says the same about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sekisho_verify import document, parse_trust, render, verify_bundle
from tests.verify.golden.make import make

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = sorted(path.parent for path in GOLDEN.glob("*/*/bundle.zip"))


def test_no_frozen_evidence_was_lost() -> None:
    assert {str(folder.relative_to(GOLDEN)) for folder in FOLDERS} >= {"v1/closed", "v1/denied"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(GOLDEN)))
def test_frozen_evidence_still_holds(folder: Path) -> None:
    verdict = verify_bundle(
        (folder / "bundle.zip").read_bytes(), parse_trust((folder / "trust.json").read_bytes())
    )
    assert verdict.holds
    for language in ("en", "ja"):
        assert render(verdict, language) == (folder / f"verdict.{language}.txt").read_text(encoding="utf-8")
    said = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(document(verdict))) == said


def test_making_evidence_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(tmp_path / name)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*")]
    assert len(files) == 10
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    with pytest.raises(FileExistsError):
        make(tmp_path / "one")
