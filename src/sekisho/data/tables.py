"""SQL of data."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sekisho.data.model import AddDataset, ArtefactView, DatasetView
from sekisho.data.rules import as_json
from sekisho.kernel.tx import Row, Tx


def insert_dataset(tx: Tx, dataset: str, owner: str, command: AddDataset, *, key: str, now_ms: int) -> None:
    """Add a dataset whose bytes are still to come."""
    tx.run(
        "insert into data_datasets (id, name, owner, level, labels, residency, licence, object, size_bytes, files,"
        " state, created_ms, key, key_version, envelope, record_id) values (:id, :name, :owner, :level, :labels,"
        " :residency, :licence, :object, :size_bytes, :files, 'uploading', :now, :key, :key_version, :envelope,"
        " :record_id)",
        id=dataset,
        name=command.name,
        owner=owner,
        level=command.level,
        labels=as_json(sorted(set(command.labels))),
        residency=as_json(sorted(set(command.residency))),
        licence=command.licence,
        object=command.object,
        size_bytes=command.size_bytes,
        files=command.files,
        key=key or None,
        key_version=command.key_version or None,
        envelope=command.envelope or None,
        now=now_ms,
    )


def seal_dataset(tx: Tx, dataset: str) -> None:
    """Every byte was checked."""
    tx.run("update data_datasets set state = 'ready', record_id = :record_id where id = :id", id=dataset)


def find_dataset(tx: Tx, dataset: str, owner: str) -> DatasetView | None:
    """By id, or by name within one organisation."""
    row = tx.one(
        "select * from data_datasets where id = :dataset or (name = :dataset and owner = :owner)",
        dataset=dataset,
        owner=owner,
    )
    return _dataset(row, copies(tx, row["object"])) if row else None


def page_datasets(tx: Tx, after: str, limit: int) -> list[DatasetView]:
    """Datasets by id, after an id."""
    rows = tx.all(
        "select * from data_datasets where id > :after order by id limit :limit", after=after, limit=limit
    )
    where = copies_of_each(tx, rows)
    return [_dataset(row, where[row["object"]]) for row in rows]


def insert_artefact(tx: Tx, artefact: ArtefactView, site: str = "") -> None:
    """Add an artefact, with the site whose attempt left it behind; its copies are noted apart."""
    tx.run(
        "insert into data_artefacts (id, name, kind, owner, owners, level, labels, residency, object, object_kind,"
        " size_bytes, job, attempt, created_ms, key, key_version, envelope, site, record_id) values (:id, :name, :kind,"
        " :owner, :owners, :level, :labels, :residency, :object, :object_kind, :size_bytes, :job, :attempt,"
        " :created_ms, :key, :key_version, :envelope, :site, :record_id)",
        id=artefact.id,
        name=artefact.name,
        kind=artefact.kind,
        owner=artefact.owner,
        owners=as_json(artefact.owners),
        level=artefact.level,
        labels=as_json(artefact.labels),
        residency=as_json(artefact.residency),
        object=artefact.object,
        object_kind=artefact.object_kind,
        size_bytes=artefact.size_bytes,
        job=artefact.job,
        attempt=artefact.attempt,
        created_ms=artefact.created_ms,
        key=artefact.key or None,
        key_version=artefact.key_version or None,
        envelope=artefact.envelope or None,
        site=site or None,
    )


def find_artefact(tx: Tx, artefact: str) -> ArtefactView | None:
    """One artefact with the sites where its bytes lie."""
    row = tx.one("select * from data_artefacts where id = :id", id=artefact)
    return _artefact(row, copies(tx, row["object"])) if row else None


def made_at(tx: Tx, artefact: str) -> str:
    """The site whose attempt left an artefact behind; empty for any other."""
    row = tx.one("select site from data_artefacts where id = :id", id=artefact)
    return (row["site"] if row else None) or ""


def page_artefacts(tx: Tx, before: str, limit: int, *, job: str) -> list[ArtefactView]:
    """Artefacts newest first, of one job where it is named."""
    rows = tx.all(
        "select * from data_artefacts where (:job = '' or job = :job) and (:before = '' or id < :before)"
        " order by id desc limit :limit",
        job=job,
        before=before,
        limit=limit,
    )
    where = copies_of_each(tx, rows)
    return [_artefact(row, where[row["object"]]) for row in rows]


def newest_checkpoint(tx: Tx, job: str) -> ArtefactView | None:
    """The training checkpoint that a next attempt of the job resumes from."""
    row = tx.one(
        "select * from data_artefacts where job = :job and kind = 'checkpoint' order by id desc limit 1",
        job=job,
    )
    return _artefact(row, copies(tx, row["object"])) if row else None


def lower_artefact(tx: Tx, artefact: str, level: int) -> None:
    """Another level from now on; the record of the change keeps the old one."""
    tx.run(
        "update data_artefacts set level = :level, record_id = :record_id where id = :id",
        id=artefact,
        level=level,
    )


def lower_dataset(tx: Tx, dataset: str, level: int) -> None:
    """As for an artefact."""
    tx.run(
        "update data_datasets set level = :level, record_id = :record_id where id = :id",
        id=dataset,
        level=level,
    )


def put_copy(tx: Tx, digest: str, site: str, now_ms: int) -> None:
    """The bytes of an object lie at a site now."""
    tx.run(
        "insert into data_copies (object, site, since_ms, record_id) values (:object, :site, :now, :record_id)"
        " on conflict (object, site) do nothing",
        object=digest,
        site=site,
        now=now_ms,
    )


def copies(tx: Tx, digest: str) -> list[str]:
    """Ids of the sites where an object lies."""
    rows = tx.all("select site from data_copies where object = :object order by site", object=digest)
    return [row["site"] for row in rows]


def copies_of_each(tx: Tx, rows: Sequence[Row]) -> dict[str, list[str]]:
    """Ids of the sites where the objects of these rows lie, by digest."""
    found: dict[str, list[str]] = {row["object"]: [] for row in rows}
    query = "select object, site from data_copies where object in (:each) order by site"
    for row in tx.among(query, list(found)):
        found[row["object"]].append(row["site"])
    return found


def _dataset(row: Row, where: list[str]) -> DatasetView:
    return msgspec.convert(
        {
            **row,
            "labels": msgspec.json.decode(row["labels"]),
            "residency": msgspec.json.decode(row["residency"]),
            "copies": where,
            **_sealing(row),
        },
        DatasetView,
    )


def _artefact(row: Row, where: list[str]) -> ArtefactView:
    return msgspec.convert(
        {
            **row,
            "owners": msgspec.json.decode(row["owners"]),
            "labels": msgspec.json.decode(row["labels"]),
            "residency": msgspec.json.decode(row["residency"]),
            "copies": where,
            **_sealing(row),
        },
        ArtefactView,
    )


def _sealing(row: Row) -> Row:
    """What names who can open the bytes; a row of before keys existed has nulls."""
    return {
        "key": row["key"] or "",
        "key_version": row["key_version"] or 0,
        "envelope": row["envelope"] or "",
    }
