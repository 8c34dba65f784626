"""Hostile bundles: what is looked at once is not looked at again, and what would take too long is refused by count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from sekisho_verify import (
    Exit,
    Verdict,
    lines,
    parse_trust,
    places,
    section_attestation,
    section_egress,
    verify_bundle,
    write_bundle,
)
from sekisho_verify.attestation_file import write_file
from sekisho_verify.canonical import digest, encode
from sekisho_verify.location_reach import Work, WorkError
from sekisho_verify.location_sphere import Place
from sekisho_verify.location_territory import TerritoryError, parse_territory
from sekisho_verify.observation import write_canaries
from tests.verify.attested import FILE
from tests.verify.builders import Body, TestLog, agent_message, record_body
from tests.verify.places import Held, area, box, territory_body
from tests.verify.test_section_egress import seen
from tests.verify.test_section_location import GOOD, LAND, choice, proof

RECORDS = 40


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], None]:
    """Counts the calls of a module's function into `COUNTS`."""
    COUNTS.clear()

    def count(module: Any, name: str) -> None:
        inner = getattr(module, name)

        def counting(*args: object, **more: object) -> object:
            COUNTS[name] += 1
            return inner(*args, **more)

        monkeypatch.setattr(module, name, counting)

    return count


COUNTS: Counter[str] = Counter()


def many(detail: Body, *files: bytes, actor: str = "system") -> Verdict:
    """The verdict on a stream of which every record says the same."""
    log = TestLog()
    log.append(record_body("s", number, actor=actor, detail=detail) for number in range(RECORDS))
    return verify_bundle(write_bundle(log.members("s", files=files)), parse_trust(log.trust()))


def test_a_proof_and_its_map_are_read_once_however_many_records_name_them(
    counted: Callable[[object, str], None],
) -> None:
    for name in ("read_proof", "judge_again", "parse_territory", "read_transcript"):
        counted(places, name)
    files = {"location.json": digest(GOOD), "territory.json": digest(LAND)}
    assert many({"level": 2, "sites": [choice("site_1")], "files": files}, GOOD, LAND).holds
    assert dict(COUNTS) == {"read_proof": 1, "judge_again": 1, "parse_territory": 1, "read_transcript": 2}


@pytest.mark.parametrize("bad", [b"{}", encode(territory_body(home=[]))], ids=["fields", "home"])
def test_a_map_that_cannot_be_read_is_tried_once(
    bad: bytes, counted: Callable[[object, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it for another proof that names it."""
    counted(places, "parse_territory")
    files = [
        each.replace(digest(LAND).encode(), digest(bad).encode()) for each in (GOOD, proof(Held(at_ms=1)))
    ]
    log = TestLog()
    log.append(
        record_body("s", at, detail={"files": {"location.json": digest(file), "territory.json": digest(bad)}})
        for at, file in enumerate(files * 3)
    )
    found = verify_bundle(write_bundle(log.members("s", files=[*files, bad])), parse_trust(log.trust()))
    reasons = [str(line.fields["reason"]) for line in found.lines if line.exit_code]
    assert (COUNTS["parse_territory"], len(reasons)) == (1, 2)
    assert (reasons[0].partition(".")[0], reasons[1]) == ("territory", "proof.territory")


def test_other_evidence_is_judged_once_too(counted: Callable[[object, str], None]) -> None:
    counted(section_attestation, "read_file")
    counted(section_egress, "read_canaries_file")
    data, reports = write_file(FILE), write_canaries([seen()])
    many({"files": {"attestation.json": digest(data)}}, data)
    ended = agent_message(2, {"kind": "ended"}) | {"files": {"canaries.json": digest(reports)}}
    many(ended, reports, actor="system")
    assert dict(COUNTS) == {"read_file": 1, "read_canaries_file": 1}


def test_what_failed_once_is_said_once(counted: Callable[[object, str], None]) -> None:
    """However many records name it; reports of the same bytes are decoded once, too."""
    counted(places, "read_proof")
    counted(section_attestation, "read_file")
    counted(lines, "decode_object")
    bad = encode({"no": "evidence"})
    names = ("location.json", "attestation.json", "egress.json", "key_release.json")
    said = agent_message(1, {"kind": "ended"}, attempt="")
    found = many({"files": dict.fromkeys(names, digest(bad)), **said}, bad)
    assert dict(COUNTS) == {"read_proof": 1, "read_file": 1, "decode_object": 1}
    parts = Counter(line.part for line in found.lines if line.state in {"failed", "absent"})
    assert (parts["transcript"], parts["attestation"]) == (1, 1)


def comb(teeth: int) -> list[list[int]]:
    """A ring around another that leaves it at its very last point only: the most that looking can take."""
    outer = box(100, 10, 120, 30)
    zigzag = [
        number for step in range(teeth) for number in ((101_000_000 + step * 1000), 11_000_000 + step % 2)
    ]
    return [outer, [*zigzag, 125_000_000, 12_000_000, 110_000_000, 20_000_000, *zigzag[:2]]]


def test_rings_that_almost_lie_in_each_other_end_by_count() -> None:
    body = territory_body()
    body["areas"].append(area("comb", *comb(500)))
    work = Work()
    before = work.left
    parse_territory(encode(body), work)
    taken = before - work.left
    assert 500 * 64 < taken < 500 * 200
    with pytest.raises(WorkError) as caught:
        parse_territory(encode(body), Work(taken - 1))
    assert caught.value.code == "territory.work"


def test_questions_share_the_bound_and_the_same_one_costs_nothing_again() -> None:
    work = Work()
    land = parse_territory(LAND, work)
    spent = [work.left]
    for place in (
        Place(32_000_000, 132_000_000),
        Place(32_000_000, 132_000_000),
        Place(31_000_000, 131_000_000),
    ):
        land.nearest_foreign(place)
        spent.append(work.left)
    assert spent[0] > spent[1] == spent[2] > spent[3]
    for number in range(2000):
        land.nearest_home(Place(number, 0))
    work.left = 0
    with pytest.raises(WorkError):
        land.nearest_foreign(Place(1, 1))


def test_a_map_of_too_many_points_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho_verify.location_territory.POINTS_MAX", 14)
    with pytest.raises(TerritoryError) as caught:
        parse_territory(LAND)
    assert caught.value.code == "territory.points"
    monkeypatch.setattr("sekisho_verify.location_territory.POINTS_MAX", 15)
    assert parse_territory(LAND).digest == digest(LAND)


def test_a_bundle_whose_maps_take_too_long_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "Work", lambda: Work(10))
    files = {"location.json": digest(GOOD), "territory.json": digest(LAND)}
    found = many({"level": 2, "files": files}, GOOD, LAND)
    assert found.exit_code is Exit.MALFORMED
    assert [line.fields["reason"] for line in found.lines if line.exit_code] == ["territory.work"]
