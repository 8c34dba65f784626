"""SQL of keys and their releases."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sekisho.data.model_keys import KeyState, KeyView, RegisterKey
from sekisho.data.rules import Known, as_json, live
from sekisho.kernel.tx import Row, Tx
from sekisho_wire.custody import Facts


class HeldKey(msgspec.Struct, frozen=True):
    """A key whose data keys an attempt has: the newest decision about it, and what its owner lets it do now."""

    key: str
    decided_ms: int
    reason: str
    state: KeyState


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One answer to an attempt that asked for data keys; a `reason` says why not.

    `envelopes` are the headers to be opened, `make` counts new keys; `release_order` is the order's canonical JSON.
    """

    id: str
    attempt: str
    job: str
    key: str
    version: int
    envelopes: list[str]
    make: int
    recipient: str
    release_order: str
    reason: str
    rules: list[str]
    decided_ms: int
    record_id: str


def insert_key(tx: Tx, key: str, owner: str, said: tuple[RegisterKey, Facts], *, now_ms: int) -> None:
    """Add a key that serves, as it was registered and as its custodian describes it."""
    command, facts = said
    tx.run(
        "insert into data_keys (id, name, owner, custodian, custodian_name, country, custody, exportable, address,"
        " public_key, version, versions, destroyed, quorum, state, created_ms, record_id) values (:id, :name, :owner,"
        " :custodian, :custodian_name, :country, :custody, :exportable, :address, :public_key, :version, :versions,"
        " '[]', :quorum, 'serving', :now, :record_id)",
        id=key,
        name=command.name,
        owner=owner,
        custodian=command.custodian or owner,
        custodian_name=facts.custodian,
        country=facts.country,
        custody=facts.custody,
        exportable=int(facts.exportable),
        address=command.address,
        public_key=command.public_key,
        version=facts.newest,
        quorum=facts.quorum or None,
        versions=_numbers(live(facts)),
        now=now_ms,
    )


def set_state(tx: Tx, key: str, state: str) -> None:
    """Serving, stopped or destroyed."""
    tx.run("update data_keys set state = :state, record_id = :record_id where id = :id", id=key, state=state)


def set_versions(tx: Tx, key: str, left: Iterable[int], destroyed: Iterable[int]) -> None:
    """Which versions are left, of which the newest is used from now on, and which are gone."""
    tx.run(
        "update data_keys set version = coalesce(:version, version), versions = :versions, destroyed = :destroyed,"
        " record_id = :record_id where id = :id",
        id=key,
        version=max(left, default=None),
        versions=_numbers(left),
        destroyed=_numbers(destroyed),
    )


def set_quorum(tx: Tx, key: str, quorum: int) -> None:
    """How many witnesses its custodian demands by now."""
    tx.run(
        "update data_keys set quorum = :quorum, record_id = :record_id where id = :id",
        id=key,
        quorum=quorum or None,
    )


def find_key(tx: Tx, key: str, owner: str) -> KeyView | None:
    """By id, or by name within one organisation."""
    row = tx.one(
        "select * from data_keys where id = :key or (name = :key and owner = :owner)", key=key, owner=owner
    )
    return _key(row) if row else None


def page_keys(tx: Tx, after: str, limit: int) -> list[KeyView]:
    """Keys by id, after an id."""
    rows = tx.all(
        "select * from data_keys where id > :after order by id limit :limit", after=after, limit=limit
    )
    return [_key(row) for row in rows]


def every_key(tx: Tx) -> list[KeyView]:
    """All keys, for the charter's entities."""
    return [_key(row) for row in tx.all("select * from data_keys order by id")]


def known_envelope(tx: Tx, envelope: str) -> list[Known]:
    """Everything here whose bytes are this encrypted object."""
    rows = tx.all(
        "select level, labels, residency, '[\"' || owner || '\"]' as owners from data_datasets"
        " where envelope = :envelope union all"
        " select level, labels, residency, owners from data_artefacts where envelope = :envelope",
        envelope=envelope,
    )
    lists = ("labels", "residency", "owners")
    return [
        Known(row["level"], *(frozenset(msgspec.json.decode(row[name], type=list[str])) for name in lists))
        for row in rows
    ]


def envelope_elsewhere(tx: Tx, envelope: str, attempt: str) -> bool:
    """Whether an encrypted object is anything here but what this attempt left behind."""
    row = tx.one(
        "select 1 as found from data_datasets where envelope = :envelope union all"
        " select 1 as found from data_artefacts where envelope = :envelope and attempt <> :attempt limit 1",
        envelope=envelope,
        attempt=attempt,
    )
    return row is not None


def insert_release(tx: Tx, release: Release) -> None:
    """Keep an answer, which is the same whenever the same one-time key asks again."""
    tx.run(
        "insert into data_key_releases (id, attempt, job, key, version, envelopes, make, recipient, release_order,"
        " reason, rules, decided_ms, record_id) values (:id, :attempt, :job, :key, :version, :envelopes, :make,"
        " :recipient, :release_order, :reason, :rules, :decided_ms, :record_id)",
        id=release.id,
        attempt=release.attempt,
        job=release.job,
        key=release.key,
        version=release.version,
        envelopes=as_json(release.envelopes),
        make=release.make,
        recipient=release.recipient,
        release_order=release.release_order,
        reason=release.reason,
        rules=as_json(release.rules),
        decided_ms=release.decided_ms,
    )


def find_release(tx: Tx, attempt: str, recipient: str) -> Release | None:
    """What a one-time key was answered."""
    row = tx.one(
        "select * from data_key_releases where attempt = :attempt and recipient = :recipient",
        attempt=attempt,
        recipient=recipient,
    )
    return _release(row) if row else None


def decisions_held(tx: Tx, attempt: str) -> list[HeldKey]:
    """The newest decision about each key of an attempt, by key; ids sort by time."""
    rows = tx.all(
        "select r.key, r.decided_ms, r.reason, k.state from data_key_releases r join data_keys k on k.id = r.key"
        " where r.id in (select max(id) from data_key_releases where attempt = :attempt group by key) order by r.key",
        attempt=attempt,
    )
    return [msgspec.convert(row, HeldKey) for row in rows]


def newest_made(tx: Tx, attempt: str) -> Release | None:
    """The newest release that made new data keys for an attempt."""
    row = tx.one(
        "select * from data_key_releases where attempt = :attempt and make > 0 and reason = ''"
        " order by decided_ms desc, id desc limit 1",
        attempt=attempt,
    )
    return _release(row) if row else None


def keys_held(tx: Tx, attempt: str) -> list[KeyView]:
    """The keys under which an attempt was let have data keys."""
    rows = tx.all(
        "select * from data_keys where id in (select key from data_key_releases where attempt = :attempt and reason = '')"
        " order by id",
        attempt=attempt,
    )
    return [_key(row) for row in rows]


def count_releases(tx: Tx, attempt: str) -> int:
    """How often an attempt has asked."""
    row = tx.one("select count(*) as number from data_key_releases where attempt = :attempt", attempt=attempt)
    return int(row["number"]) if row else 0


def _numbers(values: Iterable[int]) -> str:
    return msgspec.json.encode(sorted(set(values))).decode()


def _key(row: Row) -> KeyView:
    every = range(1, row["version"] + 1)
    found = {
        **row,
        "versions": msgspec.json.decode(row["versions"]) if row["versions"] else [*every],
        "destroyed": msgspec.json.decode(row["destroyed"]) if row["destroyed"] else [],
        "exportable": bool(row["exportable"]),
        "quorum": row["quorum"] or 0,
        "stand_in": row["custody"] == "development",
        "grade": "D",
    }
    return msgspec.convert(found, KeyView)


def _release(row: Row) -> Release:
    lists = {name: msgspec.json.decode(row[name]) for name in ("rules", "envelopes")}
    return msgspec.convert({**row, **lists}, Release)
