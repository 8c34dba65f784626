"""Sentences: complete in both languages, harmless in a terminal, aligned by display width."""

from __future__ import annotations

import ast
import inspect
import re
import string

import pytest

from sekisho_verify import (
    checks,
    claims,
    parse_trust,
    render,
    sentences,
    verify_bundle,
    write_bundle,
)
from sekisho_verify.errors import Exit, VerifyError
from sekisho_verify.lines import Line, failed
from sekisho_verify.sections import SECTIONS
from sekisho_verify.showing import display_width, visible
from sekisho_verify.text import document
from sekisho_verify.verdict import Verdict
from tests.verify.builders import job_log, job_members

LOG = job_log()
VERDICT = verify_bundle(write_bundle(job_members(LOG)), parse_trust(LOG.trust()))
TABLES = [
    sentences.PARTS,
    sentences.SENTENCES,
    sentences.FAILURES,
    sentences.OUTCOMES,
    sentences.NOT_PROVEN,
    sentences.SUMMARIES,
]
PAIRS = [pair for table in TABLES for pair in table.values()]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("pair", PAIRS)
def test_both_languages_say_the_same_with_their_own_brackets(pair: tuple[str, str]) -> None:
    english, japanese = pair
    assert placeholders(english) == placeholders(japanese)
    assert english.isascii()
    assert not re.search(r"[(),.!?:;](?=[^\x00-\x7f])|(?<=[^\x00-\x7f])[(),!?:;]", japanese)


def test_every_code_a_check_can_give_has_a_sentence_and_every_sentence_a_use() -> None:
    used: set[str] = set()
    for module in (checks, claims, *(inspect.getmodule(section.check) for section in SECTIONS)):
        assert module
        tree = ast.parse(inspect.getsource(module))
        # Keys of a table of sentences are not uses of it.
        keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys]
        used |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in keys
        }
    used |= {"decision.allow", "decision.deny"}
    assert set(sentences.SENTENCES) <= used
    lines = {line.code for line in VERDICT.lines}
    assert lines <= set(sentences.SENTENCES)
    assert {line.part for line in VERDICT.lines} < set(sentences.PARTS)
    assert set(sentences.FAILURES) == set(Exit) - {Exit.HOLDS, Exit.USAGE, Exit.UNTRUSTED}


def test_columns_line_up_in_both_languages() -> None:
    for language in ("en", "ja"):
        rows = render(VERDICT, language).splitlines()[: len(VERDICT.lines)]
        graded = [row for row, line in zip(rows, VERDICT.lines, strict=True) if line.grade]
        assert len({display_width(row) for row in graded}) == 1
    assert display_width("台帳 ok") == 7


def test_nothing_from_a_bundle_reaches_the_terminal_raw() -> None:
    assert visible("a\x1b[31m\n\u202eb") == "a\ufffd[31m\ufffd\ufffdb"
    error = VerifyError("bundle.member", "named \x1b]0;x\x07", where="evil\x1b[2J\n")
    for language in ("en", "ja"):
        text = render(Verdict(error.exit_code, (failed("bundle", error),), (), None), language)
        assert "\x1b" not in text
        assert text.count("\n") == 2


def test_a_failure_names_place_reason_and_code() -> None:
    broken = verify_bundle(write_bundle(job_members(LOG) | {"checkpoint": b"x"}), None)
    assert "checkpoint: no blank line" in render(broken, "en")
    assert render(broken, "en").endswith("Does not hold: Malformed (exit code 10).\n")
    assert render(broken, "ja").endswith("確認できません：形式が正しくありません（終了コード10）。\n")
    assert document(broken)["exit_code"] == 10
    assert "subject" not in document(broken)


def test_who_says_so_stands_beside_the_grade_and_only_then_in_the_document() -> None:
    line = Line("wall", "ok", "wall.none", grade="M", by="a\x1bb")
    for language in ("en", "ja"):
        (row, _summary) = render(Verdict(Exit.HOLDS, (line,), (), VERDICT.bundle), language).splitlines()
        assert row.endswith("  M a\ufffdb")
    said = document(Verdict(Exit.HOLDS, (line,), (), None))["lines"]
    assert isinstance(said, list)
    assert said[0]["by"] == "a\x1bb"
    others = document(VERDICT)["lines"]
    assert isinstance(others, list)
    assert all("by" not in one for one in others)
