"""Sections: what every file of one owes the report, and what the case hands to it."""

from __future__ import annotations

from pathlib import Path

import pytest

import sekisho_verify
from sekisho_verify import parse_bundle, parse_trust, write_bundle
from sekisho_verify.canonical import digest
from sekisho_verify.claims import demands, is_shown
from sekisho_verify.errors import Exit
from sekisho_verify.lines import Case, Line
from sekisho_verify.section import Section
from sekisho_verify.sections import SECTIONS
from sekisho_verify.verdict import verify_bundle
from tests.verify.builders import TestLog, job_log, job_members, record_body


def test_every_file_of_a_section_is_in_the_report_once() -> None:
    folder = Path(str(sekisho_verify.__file__)).parent
    files = {path.stem for path in folder.glob("section_*.py")}
    modules = [section.check.__module__.rpartition(".")[2] for section in SECTIONS]
    assert sorted(modules) == sorted(files)
    assert len({section.part for section in SECTIONS}) == len(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.part)
def test_a_section_speaks_under_its_own_heading_in_its_own_sentences(section: Section) -> None:
    lines = section.check(Case(parse_bundle(write_bundle(job_members())), None))
    assert all((line.part, line.code in section.sentences) == (section.part, True) for line in lines)
    assert all(set(line.leaves_open) <= section.not_proven.keys() for line in lines)


def evidence_case(*files: bytes, changed: bytes = b"") -> Case:
    log = TestLog()
    named = {"files": {"egress.json": digest(files[0])}}
    log.append([record_body("s", 0), record_body("s", 1, detail=named)])
    members = log.members("s", files=files[:1] if not changed else [])
    if changed:
        members[f"files/{digest(files[0])[7:]}"] = changed
    return Case(parse_bundle(write_bundle(members)), None)


def test_evidence_is_found_by_the_name_that_a_record_gives_it() -> None:
    case = evidence_case(b"report")
    (found,) = case.evidence("egress.json")
    assert (found.number, found.digest, found.data) == (1, digest(b"report"), b"report")
    assert found.where == f"records/000001.json files/{digest(b'report')[7:19]}"
    assert not case.evidence("other.json")


def test_evidence_that_is_missing_or_changed_has_no_bytes() -> None:
    (changed,) = evidence_case(b"report", changed=b"other").evidence("egress.json")
    assert changed.data is None
    log = TestLog()
    log.append([record_body("s", 0, detail={"files": {"egress.json": digest(b"gone")}})])
    (gone,) = Case(parse_bundle(write_bundle(log.members("s"))), None).evidence("egress.json")
    assert gone.data is None


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ([("ok", "M")], True),
        ([("note", "D"), ("ok", "M")], True),
        ([("ok", "S")], False),
        ([("note", "M")], False),
        ([("ok", "M"), ("failed", "")], False),
        ([], False),
    ],
)
def test_a_part_is_shown_at_a_grade_where_a_line_of_it_holds_and_none_fails(
    states: list[tuple[str, str]], shown: bool
) -> None:
    lines = [Line("transcript", state, "x", grade=grade) for state, grade in states]
    assert (
        is_shown(
            [*lines, Line("wall", "failed", "x"), Line("place", "ok", "x", grade="M")], "transcript", "M"
        )
        is shown
    )


def test_a_place_that_was_shown_meets_the_demand_for_one() -> None:
    log = job_log()
    case = Case(
        parse_bundle(write_bundle(job_members(log))),
        parse_trust(log.trust(demand={"max_level_without_place": 1})),
    )
    assert [line.exit_code for line in demands(case, [])] == [Exit.DEMAND]
    assert [line.code for line in demands(case, [Line("transcript", "ok", "x", grade="M")])] == ["demand.met"]


def test_what_a_line_leaves_open_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line("wall", "ok", "wall.none", leaves_open=("agent_word", "unwitnessed", "agent_word"))

    def says(_case: Case) -> list[Line]:
        return [line, line]

    monkeypatch.setattr("sekisho_verify.verdict._CHECKS", (says,))
    log = job_log()
    verdict = verify_bundle(write_bundle(job_members(log)), parse_trust(log.trust()))
    assert verdict.not_proven == ("operator_hands", "not_reevaluated", "unwitnessed", "agent_word")
