from __future__ import annotations

import base64
import hashlib
import json

import pytest

from sekisho.kernel.errors import DeniedError, InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import ANONYMOUS, Ref
from sekisho.ledger import (
    EraseRecord,
    ExportBundle,
    ListRecords,
    ReadBundle,
    RotateKey,
    ShowCheckpoint,
    ShowRecord,
    ShowRoot,
    ShowTrust,
    bundle,
)
from sekisho_verify import Exit, parse_bundle, parse_trust, verify_bundle
from sekisho_verify.checkpoint import COSIGNATURE_V1, make_key
from sekisho_verify.merkle import verify_inclusion
from sekisho_verify.record import parse_record
from sekisho_verify.tiles import Tile, TileTree
from tests.ledger.world import ANN, BEN, World, draft


def _export(world: World, name: str) -> bytes:
    export = world.gate.perform(ANN, ExportBundle(job=name))
    world.sequence()
    return world.gate.perform(ANN, ReadBundle(export=export.record)).content


def _trust(world: World) -> bytes:
    return world.gate.perform(ANONYMOUS, ShowTrust()).text.encode()


def test_a_closed_stream_is_exported_and_verified_against_the_trust_file(world: World) -> None:
    for amount in range(3):
        world.put("job_a", amount)
        world.put("job_b", amount, BEN)
    world.close("job_a")
    verdict = verify_bundle(_export(world, "job_a"), parse_trust(_trust(world)))
    assert verdict.exit_code is Exit.HOLDS, verdict.lines
    assert verdict.bundle is not None
    assert [record.resource.id for record in verdict.bundle.records] == ["job_a"] * 4
    assert {line.code for line in verdict.lines} >= {"completeness.closed", "checkpoint.signed"}
    assert not world.check().findings


def test_an_open_stream_says_so(world: World) -> None:
    world.put("job_a")
    verdict = verify_bundle(_export(world, "job_a"), parse_trust(_trust(world)))
    assert verdict.exit_code is Exit.HOLDS
    assert "completeness.open" in {line.code for line in verdict.lines}


def test_a_bundle_fails_against_another_log(world: World) -> None:
    world.put("job_a")
    trust = json.loads(_trust(world))
    other = world.keys.add()
    trust["keys"] = [other]
    verdict = verify_bundle(_export(world, "job_a"), parse_trust(json.dumps(trust).encode()))
    assert verdict.exit_code is Exit.SIGNATURE


def test_a_bundle_holds_no_other_tenants_record(world: World) -> None:
    for number in range(20):
        world.put(f"job_{number % 4}", number, (ANN, BEN)[number % 2])
    bundle = parse_bundle(_export(world, "job_1"))
    assert len(bundle.records) == 5
    assert {record.resource.id for record in bundle.records} == {"job_1"}
    assert {record.stream for record in bundle.records} == {world.ledger.pseudonym("job_1")}


def test_an_export_waits_for_the_checkpoint_over_its_own_record(world: World) -> None:
    world.put("job_a")
    world.sequence()
    export = world.gate.perform(ANN, ExportBundle(job="job_a"))
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(ANN, ReadBundle(export=export.record))
    assert caught.value.code == "ledger.not_covered"
    world.sequence(sign=False)
    with pytest.raises(SekishoError, match="Not yet"):
        world.gate.perform(ANN, ReadBundle(export=export.record))
    world.sequence()
    assert world.gate.perform(ANN, ReadBundle(export=export.record)).content


def test_an_export_is_read_only_by_whoever_made_it(world: World) -> None:
    world.put("job_a")
    export = world.gate.perform(ANN, ExportBundle(job="job_a"))
    world.sequence()
    with pytest.raises(NotFoundError):
        world.gate.perform(BEN, ReadBundle(export=export.record))
    with pytest.raises(NotFoundError):
        world.gate.perform(ANN, ReadBundle(export="rec_" + "0" * 26))


def test_an_export_is_recorded_in_the_readers_stream(world: World) -> None:
    world.put("job_a")
    world.close("job_a")
    export = world.gate.perform(BEN, ExportBundle(job="job_a"))
    world.sequence()
    record = parse_record(world.gate.perform(ANN, ShowRecord(record=export.record)).body.encode())
    assert record.stream == world.ledger.pseudonym(BEN.ref.id)
    assert not world.check().findings


def test_a_denied_export_is_recorded_and_gives_nothing(world: World) -> None:
    world.put("job_a")
    world.charter.denied.add((BEN.ref.id, "ledger.bundle.export"))
    with pytest.raises(DeniedError) as caught:
        world.gate.perform(BEN, ExportBundle(job="job_a"))
    world.sequence()
    assert '"outcome":"denied"' in world.gate.perform(ANN, ShowRecord(record=caught.value.record)).body
    with pytest.raises(NotFoundError):
        world.gate.perform(BEN, ReadBundle(export=caught.value.record))


def test_an_export_of_something_unknown_or_never_recorded(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.gate.perform(ANN, ExportBundle(job="job_nowhere"))
    world.damage("insert into toy_things (id, name, amount, record_id) values ('job_z', '', 0, '')")
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(ANN, ExportBundle(job="job_z"))
    assert caught.value.code == "ledger.nothing_logged"


def test_consistency_with_a_head_seen_before(world: World) -> None:
    for number in range(10):
        world.put("job_a", number)
    world.sequence()
    seen = world.gate.perform(ANONYMOUS, ShowCheckpoint())
    for number in range(7):
        world.put("job_b", number)
    export = world.gate.perform(ANN, ExportBundle(job="job_a"))
    world.sequence()
    content = world.gate.perform(ANN, ReadBundle(export=export.record, seen_size=seen.size)).content
    trust = json.loads(_trust(world)) | {"seen": {"size": seen.size, "root": seen.root}}
    verdict = verify_bundle(content, parse_trust(json.dumps(trust).encode()))
    assert verdict.exit_code is Exit.HOLDS
    assert "consistency.extends" in {line.code for line in verdict.lines}


def test_records_are_listed_newest_first_and_paged(world: World) -> None:
    for number in range(5):
        world.put(f"job_{number % 2}", number)
    world.sequence()
    first = world.gate.perform(ANN, ListRecords(limit=3))
    second = world.gate.perform(ANN, ListRecords(limit=3, after=first.next or ""))
    assert [line.log_index for line in (*first.items, *second.items)] == [4, 3, 2, 1, 0]
    assert second.next is None
    assert {line.action for line in first.items} == {"toy.thing.put"}
    one = world.gate.perform(ANN, ListRecords(stream="job_1"))
    assert [line.resource_id for line in one.items] == ["job_1", "job_1"]


def test_a_record_is_shown_with_a_proof_that_holds(world: World) -> None:
    for number in range(9):
        world.put("job_a", number)
    record = world.database.read(lambda tx: tx.all("select id from ledger_bodies order by id"))[4]["id"]
    view = world.gate.perform(ANN, ShowRecord(record=record))
    assert (view.log_index, view.covered, view.path) == (-1, False, [])
    world.sequence()
    view = world.gate.perform(ANN, ShowRecord(record=record))
    checkpoint = world.gate.perform(ANN, ShowCheckpoint())
    path = [base64.urlsafe_b64decode(step + "=") for step in view.path]
    verify_inclusion(
        parse_record(view.body.encode()).leaf_hash(view.stream_seq),
        path,
        index=view.log_index,
        size=view.checkpoint_size,
        root=base64.urlsafe_b64decode(checkpoint.root + "="),
    )
    with pytest.raises(NotFoundError):
        world.gate.perform(ANN, ShowRecord(record="rec_" + "0" * 26))


def test_no_checkpoint_before_the_first_and_no_root_beyond_the_end(world: World) -> None:
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(ANN, ShowCheckpoint())
    assert caught.value.code == "ledger.not_covered"
    assert world.gate.perform(ANN, ShowRoot(size=1)).root == ""
    assert world.gate.perform(ANN, ShowRoot(size=0)).root != ""


def test_closing_counts_every_record_and_nothing_follows_it(world: World) -> None:
    for number in range(3):
        world.put("job_a", number)
    world.sequence()
    world.put("job_a", 4)
    closed = world.close("job_a")
    assert closed.count == 5
    assert world.close("job_a") == closed
    world.put("job_a", 5)
    world.sequence()
    last = world.gate.perform(ANN, ListRecords(stream="job_a")).items[0]
    assert (last.id, last.stream_seq, last.action) == (closed.record, 4, "ledger.stream.close")
    assert world.gate.perform(ANN, ListRecords(stream=ANN.ref.id)).items[0].resource_id == "job_a"
    assert not world.check().findings


def test_erasing_takes_two_people_and_leaves_a_mark(world: World) -> None:
    world.put("job_a")
    world.sequence()
    record = world.gate.perform(ANN, ListRecords(stream="job_a")).items[0].id
    erase = EraseRecord(record=record, reason="request under the privacy act")
    world.together(erase)
    world.sequence()
    view = world.gate.perform(ANN, ShowRecord(record=record))
    assert (view.erased, view.body, view.log_index) == (True, "", 0)
    assert world.gate.perform(ANN, ListRecords(stream="job_a")).items[0].erased
    report = world.check()
    assert not report.findings
    assert report.erased == 1
    assert world.database.read(lambda tx: world.ledger.known(tx, record))
    with pytest.raises(SekishoError) as caught:
        world.together(erase)
    assert caught.value.code == "ledger.record_erased"
    export = world.gate.perform(ANN, ExportBundle(job="job_a"))
    world.sequence()
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(ANN, ReadBundle(export=export.record))
    assert caught.value.code == "ledger.record_erased"


def test_erasing_a_record_that_waits(world: World) -> None:
    world.put("job_a")
    world.drop("job_a")
    waiting = world.rows("select id from ledger_bodies order by id")
    for row in waiting:
        world.together(EraseRecord(record=row["id"], reason="mistake"))
    assert not world.check().findings
    world.sequence()
    assert not world.check().findings


def test_a_rotated_key_signs_and_the_trust_file_names_both(world: World) -> None:
    world.put("job_a")
    world.sequence()
    first = world.gate.perform(ANN, ShowCheckpoint())
    vkey = world.keys.add()
    world.together(RotateKey(vkey=vkey, reason="yearly"))
    world.sequence()
    assert world.gate.perform(ANN, ShowCheckpoint()).vkey == vkey
    assert json.loads(_trust(world))["keys"] == [first.vkey, vkey]
    assert verify_bundle(_export(world, "job_a"), parse_trust(_trust(world))).exit_code is Exit.HOLDS
    third = world.keys.add()
    world.clock.advance(1)  # type: ignore[attr-defined] - the world gave a manual clock
    world.together(RotateKey(vkey=third, reason="lost"))
    world.sequence()
    assert json.loads(_trust(world))["keys"] == [first.vkey, vkey, third]
    assert not world.check().findings


def test_a_key_that_cannot_sign_is_refused(world: World) -> None:
    def rotate(vkey: str) -> str:
        with pytest.raises(SekishoError) as caught:
            world.together(RotateKey(vkey=vkey, reason="test"))
        return caught.value.code

    assert rotate("not a key") == "input.invalid"
    assert rotate(make_key("elsewhere.example", bytes(32)).vkey) == "input.invalid"
    assert rotate(make_key(world.keys.origin, bytes(32), kind=COSIGNATURE_V1).vkey) == "input.invalid"
    assert rotate(make_key(world.keys.origin, bytes(32)).vkey) == "ledger.key_missing"
    assert rotate(world.keys.first) == "ledger.key_used"


def test_content_is_kept_only_under_its_own_digest(world: World) -> None:
    with pytest.raises(InvalidInputError) as caught:
        world.database.write(lambda tx: world.ledger.keep_file(tx, "sha256:" + "0" * 64, b"text"))
    assert caught.value.code == "ledger.wrong_digest"


def test_system_rounds_that_close_twice_leave_one_record(world: World) -> None:
    world.put("job_a")
    world.close("job_a")
    before = world.rows("select count(*) as n from ledger_bodies")[0]["n"]
    world.close("job_a")
    assert world.rows("select count(*) as n from ledger_bodies")[0]["n"] == before


def test_evidence_files_travel_and_unkept_ones_are_left_out(world: World) -> None:
    names = {name: "sha256:" + hashlib.sha256(name.encode()).hexdigest() for name in ("kept", "lost")}
    world.put("job_a")
    record = draft(1, stream="job_a", detail={"files": names})
    world.database.write(lambda tx: world.ledger.append(tx, record))
    world.database.write(lambda tx: world.ledger.keep_file(tx, names["kept"], b"kept"))
    bundle = parse_bundle(_export(world, "job_a"))
    assert dict(bundle.files) == {names["kept"]: b"kept"}
    odd = draft(2, stream="job_b", detail={"files": "not a list of files"}, resource=Ref("Job", "job_b"))
    world.put("job_b")
    world.database.write(lambda tx: world.ledger.append(tx, odd))
    assert _export(world, "job_b")


def test_a_bulk_of_records_skips_closed_streams(world: World) -> None:
    """In the order given; those of an ended stream go to their actor's own."""
    world.put("job_a")
    world.close("job_a")
    world.sequence()
    records = [draft(number, stream=f"job_{'ab'[number % 2]}") for number in range(6)]
    world.database.write(lambda tx: world.ledger.append(tx, *records))
    world.sequence()
    logged = world.rows("select id, stream from ledger_entries order by log_index desc limit 6")[::-1]
    assert [row["id"] for row in logged] == [record.id for record in records]
    streams = [world.ledger.pseudonym(stream) for stream in (ANN.ref.id, "job_b")]
    assert [row["stream"] for row in logged] == streams * 3
    assert not world.check().findings


def test_an_actor_whose_own_stream_has_ended_is_refused(world: World) -> None:
    world.put("job_a")
    for stream in ("job_a", ANN.ref.id):
        world.close(stream)
    with pytest.raises(SekishoError) as caught:
        world.put("job_a")
    assert caught.value.code == "ledger.stream_closed"
    assert not world.check().findings


def test_a_proof_over_a_damaged_tile_is_refused(world: World) -> None:
    for number in range(3):
        world.put("job_a", number)
    world.sequence()
    record = world.gate.perform(ANN, ListRecords()).items[0].id
    world.damage("update ledger_tiles set hashes = substr(hashes, 1, 32)")
    with pytest.raises(SekishoError) as caught:
        world.gate.perform(ANN, ShowRecord(record=record))
    assert caught.value.code == "ledger.tree_damaged"


def test_a_stream_without_a_covered_record_has_no_bundle(world: World) -> None:
    world.put("job_a")
    world.sequence()
    stream = world.ledger.pseudonym("job_nowhere")
    with pytest.raises(SekishoError) as caught:
        world.database.read(
            lambda tx: bundle.build(tx, TileTree(_no_tiles), stream=stream, subject="job_nowhere")
        )
    assert caught.value.code == "ledger.nothing_logged"


def _no_tiles(tile: Tile) -> bytes:
    raise AssertionError(tile)
