"""Each kind of damage, planted behind everybody's back, is found under its own code."""

from __future__ import annotations

import pytest

from sekisho.kernel.ids import new_id
from sekisho.ledger import EraseRecord, ListRecords, RotateKey, check, check_rows
from sekisho.ledger.notes import FINDINGS_MAX, Notes
from tests.ledger.world import ANN, World, codes, draft


@pytest.fixture
def grown(world: World) -> World:
    """Things put, changed, dropped and put again; a closed stream, an erased record, records waiting."""
    for number in range(6):
        world.put(f"job_{number % 3}", number)
    world.put("job_9")
    world.drop("job_9")
    world.put("job_8")
    world.drop("job_8")
    world.put("job_8", 5)
    world.sequence()
    world.close("job_0")
    world.together(EraseRecord(record=_record(world, "job_1"), reason="test"))
    world.together(RotateKey(vkey=world.keys.add(), reason="test"))
    world.sequence()
    world.publish()
    world.put("job_1", 77)
    world.drop("job_2")
    world.put("job_7")
    report = world.check()
    assert not report.findings
    assert (report.waiting, report.erased, report.checkpoints) == (3, 1, 2)
    return world


def _record(world: World, stream: str, number: int = 0) -> str:
    return world.gate.perform(ANN, ListRecords(stream=stream)).items[-1 - number].id


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        ("update toy_things set amount = amount + 1 where id = 'job_8'", "row.digest"),
        ("update toy_things set record_id = (select id from ledger_entries where log_index = 0) where id = 'job_8'", "row.no_claim"),
        ("update toy_things set record_id = '' where id = 'job_8'", "row.no_claim"),
        ("delete from toy_things where id = 'job_8'", "claim.row_lost"),
        ("delete from ledger_erasures", "record.missing"),
        ("update ledger_closures set record_count = record_count + 1", "stream.count"),
        ("update ledger_entries set stream_seq = stream_seq + 10 where log_index = 3", "stream.gap"),
        ("update ledger_sequencer set size = size - 1", "tree.root"),
        ("update ledger_sequencer set root = edge", "tree.root"),
        ("update ledger_sequencer set edge = root", "tree.edge"),
        ("insert into ledger_tiles (level, tile, hashes) select 1, 0, root from ledger_sequencer", "tile.extra"),
        ("delete from ledger_tiles", "tile.hashes"),
        ("update ledger_checkpoints set root = note", "checkpoint.root"),
        ("update ledger_checkpoints set note = root", "checkpoint.signature"),
        ("delete from ledger_entries where log_index = 4", "log.gap"),
        ("delete from ledger_entries where log_index >= 4", "checkpoint.ahead"),
        ("delete from ledger_bodies where id = (select id from ledger_entries where log_index = 5)", "record.missing"),
        ("delete from ledger_bodies where id = (select min(id) from ledger_outbox)", "record.missing"),
        ("update ledger_bodies set body = (select root from ledger_sequencer)", "record.digest"),
        ("insert into ledger_outbox (id, stream, digest) select id, stream, digest from ledger_entries", "record.logged_twice"),
        ("delete from ledger_outbox where number = (select min(number) from ledger_outbox)", "record.not_logged"),
        ("delete from ledger_keys", "checkpoint.signature"),
        ("update ledger_charters set body = (select root from ledger_sequencer)", "content.digest"),
        ("update ledger_facts set body = (select root from ledger_sequencer)", "content.digest"),
    ],
)  # fmt: skip
def test_damage_in_the_database_is_found(grown: World, harm: str, code: str) -> None:
    grown.damage(harm)
    assert code in codes(grown.check())


def test_a_row_that_came_back_is_found(grown: World) -> None:
    grown.damage(
        "insert into toy_things (id, name, amount, record_id) values ('job_9', 'thing', 0, :record)",
        record=_record(grown, "job_9"),
    )
    found = codes(grown.check())
    assert "claim.row_older" in found


def test_a_row_of_a_deleting_record_is_found(grown: World) -> None:
    grown.damage(
        "insert into toy_things (id, name, amount, record_id) values ('job_9', 'thing', 0, :record)",
        record=_record(grown, "job_9", 1),
    )
    assert "row.claimed_deleted" in codes(grown.check())


def test_a_row_set_back_to_an_older_state_is_found(grown: World) -> None:
    grown.damage(
        "update toy_things set amount = 2, record_id = :record where id = 'job_2'",
        record=_record(grown, "job_2"),
    )
    grown.damage(
        "insert into toy_things (id, name, amount, record_id) values ('job_2', 'thing', 2, :record)",
        record=_record(grown, "job_2"),
    )
    assert "claim.row_older" in codes(grown.check())


def test_a_row_of_an_unknown_record_is_found(grown: World) -> None:
    grown.damage("update toy_things set record_id = :record", record=new_id("rec", 1))
    assert {"row.no_claim", "claim.row_older"} <= codes(grown.check())


def test_a_table_without_records_is_found(grown: World) -> None:
    grown.database.script("create table toy_extra (id text primary key);", lambda _tx: None)
    grown.database.reload_keys()
    grown.damage("insert into toy_extra (id) values ('x')")
    assert codes(grown.check()) == {"row.no_record"}


def test_a_table_that_is_gone_is_found(grown: World) -> None:
    grown.database.script("alter table toy_things rename to toy_others;", lambda _tx: None)
    grown.database.reload_keys()
    assert "claim.table_unknown" in codes(grown.check())


def test_a_swapped_body_is_found(grown: World) -> None:
    """A whole other record under this one's id, digest and all."""
    grown.damage(
        "update ledger_entries set digest = (select digest from ledger_entries where log_index = 2) where log_index = 0"
    )
    grown.damage(
        "update ledger_bodies set body = (select body from ledger_bodies where id ="
        " (select id from ledger_entries where log_index = 2)) where id ="
        " (select id from ledger_entries where log_index = 0)"
    )
    assert {"record.misplaced", "tile.hashes"} <= codes(grown.check())


def test_a_body_that_is_no_record_is_found(grown: World) -> None:
    import hashlib

    body = b'{"not":"a record"}'
    place = "(select id from ledger_entries where log_index = 0)"
    grown.damage(f"update ledger_bodies set body = :body where id = {place}", body=body)
    grown.damage(
        "update ledger_entries set digest = :digest where log_index = 0", digest=hashlib.sha256(body).digest()
    )
    assert "record.shape" in codes(grown.check())


def test_a_record_after_the_closing_one_is_found(grown: World) -> None:
    closed = grown.ledger.pseudonym("job_0")
    grown.damage("update ledger_outbox set stream = :stream", stream=closed)
    grown.sequence()
    assert "stream.count" in codes(grown.check())
    grown.damage("update ledger_closures set record_count = record_count + 3")
    assert "stream.after_close" in codes(grown.check())


def test_a_closure_by_another_record_is_found(grown: World) -> None:
    grown.damage("update ledger_closures set record_id = (select id from ledger_entries where log_index = 0)")
    assert "stream.closing_record" in codes(grown.check())


def test_a_closure_by_something_that_is_no_record(grown: World) -> None:
    grown.damage("insert into ledger_bodies (id, body) values ('x', :body)", body=b"no record")
    grown.damage("update ledger_closures set record_id = 'x'")
    assert "row.no_claim" in codes(grown.check())


def test_an_erased_record_whose_body_came_back_is_found(grown: World) -> None:
    grown.damage("insert into ledger_bodies (id, body) select id, :body from ledger_erasures", body=b"{}")
    assert "record.not_erased" in codes(grown.check())


def test_a_mark_for_a_record_that_never_was_is_found(grown: World) -> None:
    grown.damage("update ledger_erasures set id = :record", record=new_id("rec", 1))
    assert "record.erased_unknown" in codes(grown.check())


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("tile/0/000.p/17", b"x", "published.differs"),
        ("tile/entries/000.p/17", None, "published.missing"),
        ("checkpoint", b"x", "published.checkpoint"),
    ],
)
def test_damage_in_the_published_folder_is_found(
    world: World, file: str, content: bytes | None, code: str
) -> None:
    for number in range(17):
        world.put("job_a", number)
    world.sequence()
    world.publish()
    assert not world.check().findings
    if content is None:
        (world.published / file).unlink()
    else:
        (world.published / file).write_bytes(content)
    assert codes(world.check()) == {code}


def test_a_published_log_that_is_ahead_is_found(world: World) -> None:
    world.put("job_a")
    world.sequence()
    world.publish()
    world.damage("update ledger_sequencer set size = 0")
    assert "published.ahead" in codes(world.check())


def test_a_damaged_tree_does_not_end_the_check_of_files(world: World) -> None:
    world.put("job_a")
    world.sequence()
    world.publish()
    world.damage("delete from ledger_tiles")
    assert "tile.hashes" in codes(world.check())


def test_an_empty_ledger_is_clean(world: World) -> None:
    report = world.check()
    assert not report.findings
    assert (report.records, report.rows, report.tiles) == (0, 0, 0)


def test_many_deleted_rows_are_followed_in_parts(grown: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_rows, "GONE_MAX", 1)
    monkeypatch.setattr(check_rows, "PAGE", 2)
    monkeypatch.setattr(check_rows, "_CLAIMS_CACHED", 1)
    whole = grown.check()
    assert not whole.findings
    grown.damage("delete from toy_things where id = 'job_8'")
    assert codes(grown.check()) == {"claim.row_lost"}


def test_progress_is_told(world: World) -> None:
    told: list[tuple[str, int]] = []
    records = [draft(number, stream=f"job_{number % 3}") for number in range(1100)]
    world.database.write(lambda tx: world.ledger.append(tx, *records))
    world.sequence()
    world.database.read(
        lambda tx: check(tx, world.keys, progress=lambda stage, count: told.append((stage, count)))
    )
    assert ("records", 1000) in told


def test_findings_are_bounded() -> None:
    notes = Notes()
    for number in range(FINDINGS_MAX + 5):
        notes.find("x", str(number))
    assert len(notes.report().findings) == FINDINGS_MAX
