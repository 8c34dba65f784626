"""SQL of data on each database."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sekisho.data import AddDataset, ArtefactView, tables
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Tx
from tests.data.world import TEXT, World, digest_of

RECORD = new_id("rec", 1)
COMMAND = AddDataset(
    name="corpus",
    object=TEXT.object,
    size_bytes=2**53 - 1,
    files=3,
    level=1,
    residency=["US", "JP", "JP"],
    labels=["personal", "b", "b"],
    licence="CC BY 4.0 「表示」",
)


def write(world: World, work: Callable[[Tx], Any]) -> Any:
    def claimed(tx: Tx) -> Any:
        with tx.claimed_by(RECORD):
            return work(tx)

    return world.database.write(claimed)


def artefact(number: int, **changes: Any) -> ArtefactView:
    values: dict[str, Any] = {
        "id": f"art_{number:04}",
        "name": "model",
        "kind": "output",
        "owner": "org_a",
        "owners": ["org_a", "org_b"],
        "level": 1,
        "labels": ["personal"],
        "residency": ["JP"],
        "object": digest_of(str(number).encode()),
        "object_kind": "tree",
        "size_bytes": 2**53 - 1,
        "job": "job_1",
        "attempt": "att_1",
        "created_ms": 5,
        "copies": [],
        "record_id": RECORD,
    }
    return ArtefactView(**(values | changes))


def test_a_dataset_comes_back_as_it_was_added(world: World) -> None:
    write(world, lambda tx: tables.insert_dataset(tx, "ds_1", "org_a", COMMAND, key="", now_ms=7))
    by_id = world.database.read(lambda tx: tables.find_dataset(tx, "ds_1", ""))
    by_name = world.database.read(lambda tx: tables.find_dataset(tx, "corpus", "org_a"))
    assert by_id is not None
    assert by_id == by_name
    assert (by_id.size_bytes, by_id.files, by_id.state, by_id.created_ms) == (2**53 - 1, 3, "uploading", 7)
    assert (by_id.residency, by_id.labels) == (["JP", "US"], ["b", "personal"])
    assert (by_id.licence, by_id.record_id, by_id.copies) == ("CC BY 4.0 「表示」", RECORD, [])
    assert world.database.read(lambda tx: tables.find_dataset(tx, "corpus", "org_b")) is None
    write(world, lambda tx: tables.seal_dataset(tx, "ds_1"))
    sealed = world.database.read(lambda tx: tables.find_dataset(tx, "ds_1", ""))
    assert sealed is not None
    assert sealed.state == "ready"


def test_datasets_page_by_id(world: World) -> None:
    for number in (3, 1, 2):
        add = functools.partial(
            tables.insert_dataset, dataset=f"ds_{number}", owner=f"org_{number}", command=COMMAND, key=""
        )
        write(world, functools.partial(add, now_ms=1))
    pages = [
        [
            item.id
            for item in world.database.read(functools.partial(tables.page_datasets, after=after, limit=2))
        ]
        for after in ("", "ds_2", "ds_3")
    ]
    assert pages == [["ds_1", "ds_2"], ["ds_3"], []]


def test_an_artefact_comes_back_as_it_was_registered(world: World) -> None:
    made = artefact(1)
    write(world, lambda tx: tables.insert_artefact(tx, made))
    assert world.database.read(lambda tx: tables.find_artefact(tx, made.id)) == made
    assert world.database.read(lambda tx: tables.find_artefact(tx, "art_9")) is None


def test_artefacts_page_newest_first_within_a_job(world: World) -> None:
    for number in range(1, 6):
        made = artefact(number, job="job_2" if number == 3 else "job_1")
        write(world, functools.partial(tables.insert_artefact, artefact=made))

    def ids(job: str, before: str) -> list[str]:
        page = functools.partial(tables.page_artefacts, job=job, before=before, limit=2)
        return [item.id for item in world.database.read(page)]

    assert ids("", "") == ["art_0005", "art_0004"]
    assert ids("job_1", "art_0004") == ["art_0002", "art_0001"]
    assert ids("job_2", "") == ["art_0003"]


def test_the_newest_checkpoint_is_what_a_next_attempt_resumes_from(world: World) -> None:
    for number, kind in enumerate(["checkpoint", "checkpoint", "output"], 1):
        write(world, functools.partial(tables.insert_artefact, artefact=artefact(number, kind=kind)))
    newest = world.database.read(lambda tx: tables.newest_checkpoint(tx, "job_1"))
    assert newest is not None
    assert newest.id == "art_0002"
    assert world.database.read(lambda tx: tables.newest_checkpoint(tx, "job_2")) is None


def test_a_copy_is_noted_once_for_each_site(world: World) -> None:
    for site in ("site_b", "site_a", "site_b"):
        write(world, functools.partial(tables.put_copy, digest=TEXT.object, site=site, now_ms=3))
    assert world.database.read(lambda tx: tables.copies(tx, TEXT.object)) == ["site_a", "site_b"]
    assert world.database.read(lambda tx: tables.copies(tx, digest_of(b"x"))) == []
