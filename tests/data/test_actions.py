"""Data through the gate and the real object store, under the charter that ships."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest

from sekisho.data import (
    AddDataset,
    AddWorkdir,
    ArtefactView,
    FetchArtefact,
    ListArtefacts,
    ListDatasets,
    SealDataset,
    ShowArtefact,
    ShowDataset,
    tables,
)
from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import Actor
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Tx
from sekisho_verify import canonical
from sekisho_wire.trees import MODE_PLAIN
from tests.data.world import TEXT, Folder, World, digest_of
from tests.support.toy import START_MS


def code_of(caught: pytest.ExceptionInfo[SekishoError]) -> str:
    return caught.value.code


def stored(world: World) -> int:
    """How many objects lie in the control plane's store."""
    return sum(1 for path in (world.control.folders.root / "objects").rglob("*") if path.is_file())


def put_artefact(world: World, **changes: Any) -> ArtefactView:
    """An artefact as an attempt would leave it, past the gate."""
    values: dict[str, Any] = {
        "id": new_id("art", START_MS),
        "name": "model",
        "kind": "output",
        "owner": world.office,
        "owners": [world.office],
        "level": 1,
        "labels": [],
        "residency": ["JP"],
        "object": TEXT.object,
        "object_kind": "tree",
        "size_bytes": TEXT.size_bytes,
        "job": "",
        "attempt": "",
        "created_ms": START_MS,
        "copies": [],
        "record_id": "",
    }
    made = ArtefactView(**(values | changes))

    def work(tx: Tx) -> None:
        with tx.claimed_by(new_id("rec", START_MS)):
            tables.insert_artefact(tx, made, "site_far")
            tables.put_copy(tx, made.object, "site_far", START_MS)

    world.database.write(work)
    return made


def test_from_a_folder_to_a_dataset_that_work_may_read(world: World) -> None:
    upload = world.add("corpus", licence="CC0", labels=["text", "text"])
    grant = world.control.tickets.open(upload.ticket)
    assert (grant.want, grant.object, grant.kind, grant.size_bytes) == (
        "put",
        TEXT.object,
        "tree",
        TEXT.size_bytes,
    )
    assert upload.expires_ms == grant.expires_ms
    assert world.perform(world.engineer, ShowDataset(dataset="corpus")).state == "uploading"
    world.send(into=upload.id)
    sealed = world.perform(world.engineer, SealDataset(dataset="corpus"))
    assert (sealed.id, sealed.state, sealed.level, sealed.labels) == (upload.id, "ready", 1, ["text"])
    assert sealed == world.perform(world.engineer, ShowDataset(dataset=upload.id))
    control = world.rows("select id from sites_sites where name = 'control'")[0]["id"]
    assert sealed.copies == [control]
    actions = [record["action"] for record in world.records(stream=world.office)]
    assert actions[-2:] == ["data.dataset.add", "data.dataset.seal"]
    assert world.check().findings == []


def test_sealing_twice_changes_nothing(world: World) -> None:
    first = world.dataset("corpus")
    assert world.perform(world.engineer, SealDataset(dataset="corpus")) == first


@pytest.mark.parametrize("missing", ["manifest", "file", "all"])
def test_what_has_not_arrived_is_not_sealed(world: World, missing: str) -> None:
    upload = world.add("corpus")
    contents = {"manifest": TEXT.contents, "file": [*TEXT.contents[1:], TEXT.manifest], "all": []}[missing]
    world.put(contents, into=upload.id)
    with pytest.raises(SekishoError) as caught:
        world.perform(world.engineer, SealDataset(dataset="corpus"))
    assert code_of(caught) == "data.incomplete"
    assert world.perform(world.engineer, ShowDataset(dataset="corpus")).state == "uploading"
    assert world.records(action="data.dataset.seal") == []
    world.send(into=upload.id)
    assert world.perform(world.engineer, SealDataset(dataset="corpus")).state == "ready"
    assert world.check().findings == []


def test_the_same_bytes_of_somebody_else_have_not_arrived(world: World) -> None:
    """Knowing a digest is not having the bytes: objects are kept once, whoever sent them."""
    world.dataset("corpus")
    theirs = world.add("corpus", by=world.stranger)
    again = world.add("less", level=0, residency=["any"])
    for actor, upload in ((world.stranger, theirs), (world.engineer, again)):
        with pytest.raises(SekishoError) as caught:
            world.perform(actor, SealDataset(dataset=upload.id))
        assert code_of(caught) == "data.incomplete"
    command = AddWorkdir(object=TEXT.object, size_bytes=TEXT.size_bytes)
    workdir = world.perform(world.stranger, command)
    with pytest.raises(SekishoError) as caught:
        world.perform(world.stranger, FetchArtefact(artefact=workdir.id))
    assert code_of(caught) == "data.not_here"


@pytest.mark.parametrize("said", [{"size_bytes": 1}, {"files": 2}, {"files": 4}], ids=str)
def test_what_arrived_must_be_what_was_announced(world: World, said: dict[str, Any]) -> None:
    upload = world.add("corpus", **said)
    world.send(into=upload.id)
    with pytest.raises(SekishoError) as caught:
        world.perform(world.engineer, SealDataset(dataset="corpus"))
    assert code_of(caught) == "data.tree"
    assert world.perform(world.engineer, ShowDataset(dataset="corpus")).state == "uploading"


@pytest.mark.parametrize(
    "rows",
    [
        [["/etc/passwd", 0]],
        [["../up", 0]],
        [["A", 0], ["a", 0]],
        [["a", 0], ["a/b", 0]],
    ],
    ids=str,
)
def test_a_tree_with_tricks_is_never_sealed(world: World, rows: list[list[Any]]) -> None:
    empty = digest_of(b"")
    manifest = canonical.encode({"v": 1, "files": [[*row, empty, MODE_PLAIN] for row in rows]})
    upload = world.add("corpus", object=digest_of(manifest), size_bytes=0, files=len(rows))
    world.put((b"", manifest), into=upload.id)
    with pytest.raises(SekishoError) as caught:
        world.perform(world.engineer, SealDataset(dataset=upload.id))
    assert code_of(caught) == "data.tree"
    assert world.perform(world.engineer, ShowDataset(dataset=upload.id)).state == "uploading"


@pytest.mark.parametrize("level", [2, 3, 4, 5])
def test_what_may_not_lie_here_is_refused_before_a_byte_is_sent(world: World, level: int) -> None:
    with pytest.raises(DeniedError) as caught:
        world.add("corpus", level=level)
    assert caught.value.rules
    assert caught.value.record
    if level == 5:
        assert "C08-no-designated-secret" in caught.value.rules
    with pytest.raises(DeniedError):
        world.workdir(level=level)
    assert world.rows("select id from data_datasets") == []
    assert world.rows("select id from data_artefacts") == []
    assert stored(world) == 0
    outcomes = [record["outcome"] for record in world.records(stream=world.office, action="data.dataset.add")]
    assert outcomes == ["denied"]
    assert world.check().findings == []


def test_data_that_must_stay_abroad_may_not_lie_here(world: World) -> None:
    with pytest.raises(DeniedError) as caught:
        world.add("corpus", residency=["US"])
    assert "C01-residency-rest" in caught.value.rules
    assert world.rows("select id from data_datasets") == []


def test_anywhere_beside_a_country_is_refused(world: World) -> None:
    with pytest.raises(SekishoError) as caught:
        world.add("corpus", residency=["JP", "any"])
    assert code_of(caught) == "data.residency"


def test_a_name_is_taken_once_in_an_organisation(world: World) -> None:
    world.add("corpus")
    with pytest.raises(SekishoError) as caught:
        world.add("corpus", Folder({"x": b"x"}))
    assert code_of(caught) == "data.name_taken"
    theirs = world.add("corpus", by=world.stranger)
    assert world.perform(world.stranger, ShowDataset(dataset="corpus")).id == theirs.id


def test_another_organisation_sees_and_seals_nothing(world: World) -> None:
    mine = world.add("corpus")
    world.send(into=mine.id)
    for name in ("corpus", mine.id):
        with pytest.raises(NotFoundError):
            world.perform(world.stranger, ShowDataset(dataset=name))
        with pytest.raises(NotFoundError):
            world.perform(world.stranger, SealDataset(dataset=name))
    assert world.perform(world.stranger, ListDatasets()).items == []
    assert world.perform(world.engineer, ShowDataset(dataset=mine.id)).state == "uploading"


def test_without_a_role_nothing_is_added(world: World) -> None:
    nobody = world.account("nobody", world.office)
    with pytest.raises(DeniedError):
        world.add("corpus", by=nobody)
    assert world.rows("select id from data_datasets") == []


def pages(world: World, actor: Actor, limit: int) -> list[str]:
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = world.perform(actor, ListDatasets(cursor=cursor, limit=limit))
        found += [item.id for item in page.items]
        cursor = page.next
    return found


def test_lists_hold_exactly_the_rows_one_may_see(world: World) -> None:
    mine: list[str] = []
    theirs: list[str] = []
    for number in range(7):
        world.clock.advance(1)
        own = number % 3 != 0
        upload = world.add(f"d{number}", by=world.engineer if own else world.stranger)
        (mine if own else theirs).append(upload.id)
    for limit in (1, 2, 3, 50):
        assert pages(world, world.engineer, limit) == mine
        assert pages(world, world.stranger, limit) == theirs


def test_a_working_folder_is_an_artefact(world: World) -> None:
    workdir = world.workdir(labels=["b", "a", "a"])
    shown = world.perform(world.engineer, ShowArtefact(artefact=workdir))
    assert (shown.kind, shown.level, shown.residency, shown.labels) == ("workdir", 0, ["any"], ["a", "b"])
    assert shown.owners == [world.office]
    assert [item.id for item in world.perform(world.engineer, ListArtefacts()).items] == [workdir]
    assert world.perform(world.stranger, ListArtefacts()).items == []
    with pytest.raises(NotFoundError):
        world.perform(world.stranger, ShowArtefact(artefact=workdir))


def test_artefacts_page_newest_first(world: World) -> None:
    made = []
    for _ in range(5):
        world.clock.advance(1)
        made.append(world.workdir())
    first = world.perform(world.engineer, ListArtefacts(limit=2))
    assert [item.id for item in first.items] == made[:2:-1]
    assert first.next is not None
    second = world.perform(world.engineer, ListArtefacts(limit=50, cursor=first.next))
    assert [item.id for item in second.items] == made[2::-1]
    assert second.next is None


def test_what_lies_here_is_fetched_with_a_ticket(world: World) -> None:
    made = put_artefact(world)
    world.send(into=made.attempt or made.id)
    download = world.perform(world.engineer, FetchArtefact(artefact=made.id))
    grant = world.control.tickets.open(download.ticket)
    assert (grant.want, grant.object, grant.kind) == ("get", TEXT.object, "tree")
    (record,) = world.records(stream=world.office, action="data.artefact.fetch")
    assert record["detail"] == {"object": TEXT.object}
    with pytest.raises(NotFoundError):
        world.perform(world.stranger, FetchArtefact(artefact=made.id))


def test_what_lies_elsewhere_is_named_with_its_site(world: World) -> None:
    made = put_artefact(world)
    with pytest.raises(SekishoError) as caught:
        world.perform(world.engineer, FetchArtefact(artefact=made.id))
    assert (code_of(caught), caught.value.params) == ("data.not_here", {"site": "site_far"})


@pytest.mark.parametrize("level", [2, 3, 4])
def test_above_level_one_only_an_export_lets_data_out(world: World, level: int) -> None:
    made = put_artefact(world, level=level)
    world.send(into=made.attempt or made.id)
    with pytest.raises(SekishoError) as caught:
        world.perform(world.engineer, FetchArtefact(artefact=made.id))
    assert code_of(caught) in {"data.export_needed", "charter.denied"}
    assert world.records(action="data.artefact.fetch")[0]["outcome"] in {"failed", "denied"}


def test_seeing_something_of_level_two_leaves_a_record_with_the_reader(world: World) -> None:
    made = put_artefact(world, level=2)
    world.perform(world.engineer, ShowArtefact(artefact=made.id))
    (record,) = world.records(stream=world.engineer.ref.id)
    assert (record["action"], record["resource"]["id"]) == ("data.artefact.show", made.id)


BAD_BODIES: list[dict[str, Any]] = [
    {"name": "../up"},
    {"name": "a\n"},
    {"name": "A"},
    {"name": ""},
    {"name": "a/b"},
    {"name": "x" * 64},
    {"object": "sha256:" + "0" * 63},
    {"object": "sha256:" + "0" * 64 + "\n"},
    {"object": "md5:" + "0" * 64},
    {"size_bytes": -1},
    {"size_bytes": 2**53},
    {"files": 0},
    {"files": 200_001},
    {"level": 6},
    {"level": -1},
    {"level": "1"},
    {"residency": []},
    {"residency": ["Japan"]},
    {"residency": ["JP\n"]},
    {"residency": "JP"},
    {"labels": ["Personal"]},
    {"labels": ["a"] * 33},
    {"licence": "x" * 201},
    {"owner": "org_a"},
]


@pytest.mark.parametrize("change", BAD_BODIES, ids=ascii)
def test_a_command_of_the_wrong_shape_is_none(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "name": "a",
        "object": TEXT.object,
        "size_bytes": 1,
        "files": 1,
        "level": 0,
        "residency": ["JP"],
        "labels": [],
        "licence": "",
    }
    assert msgspec.convert(good, AddDataset).name == "a"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | change, AddDataset)


def test_a_repeated_request_adds_once(world: World) -> None:
    add = functools.partial(world.perform, world.engineer, idempotency_key="k1")
    command = AddWorkdir(object=TEXT.object, size_bytes=TEXT.size_bytes)
    assert add(command) == add(command)
    assert len(world.rows("select id from data_artefacts")) == 1
