"""SQL of the ledger. Streams are pseudonyms throughout; digests and hashes are raw bytes unless named digest text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from sekisho.kernel.tx import Row, Tx

CHECKPOINTS_KEPT = 1000
NUMBER_MAX = 2**62


class Tree(msgspec.Struct, frozen=True):
    """The sequencer's row: who holds it, and the tree after the last batch; `edge` is the right edge's hashes."""

    holder: str
    epoch: int
    size: int
    root: bytes
    edge: bytes


class Entry(msgspec.Struct, frozen=True):
    """One leaf of the log with the record it stands for."""

    log_index: int
    id: str
    stream: str
    stream_seq: int
    digest: bytes

    @classmethod
    def of(cls, row: Row) -> Entry:
        """The leaf in a row that has its columns."""
        return cls(row["log_index"], row["id"], row["stream"], row["stream_seq"], bytes(row["digest"]))


# Appending: two writes per record, both part of the command's own transaction.


def put_in_outbox(tx: Tx, *, record: str, stream: str, digest: bytes) -> bool:
    """Hand a record to the sequencer; False when its stream was closed by another record.

    The condition is part of the write, so that a closing that runs at the same time and did not count this row
    fails the one or the other (serializable transactions notice it).
    """
    return (
        tx.run(
            "insert into ledger_outbox (id, stream, digest) select :id, :stream, :digest where not exists"
            " (select 1 from ledger_closures where stream = :stream and record_id <> :id)",
            id=record,
            stream=stream,
            digest=digest,
        )
        == 1
    )


def put_body(tx: Tx, record: str, body: bytes) -> None:
    """Keep the canonical bytes."""
    tx.run("insert into ledger_bodies (id, body) values (:id, :body)", id=record, body=body)


def put_many(tx: Tx, rows: list[dict[str, str | bytes]]) -> None:
    """Outbox and bodies for many records at once, their streams known to be open: id, stream, digest, body."""
    tx.run_many("insert into ledger_outbox (id, stream, digest) values (:id, :stream, :digest)", rows)
    tx.run_many("insert into ledger_bodies (id, body) values (:id, :body)", rows)


def closed_streams_among(tx: Tx, streams: Sequence[str]) -> dict[str, str]:
    """Closing record by pseudonym, of those streams that are closed; asks stream by stream, few are distinct."""
    found = {stream: closed_by(tx, stream) for stream in streams}
    return {stream: record for stream, record in found.items() if record}


def closed_by(tx: Tx, stream: str) -> str:
    """The record that closed this stream, or nothing while it is open."""
    row = closure(tx, stream)
    return row["record_id"] if row else ""


def closure(tx: Tx, stream: str) -> Row | None:
    """How this stream was closed: count, time, record."""
    return tx.one("select * from ledger_closures where stream = :stream", stream=stream)


def count_records(tx: Tx, stream: str) -> int:
    """Records of a stream, sequenced or not, as this transaction sees them."""
    logged = tx.one("select count(*) as n from ledger_entries where stream = :stream", stream=stream)
    waiting = tx.one("select count(*) as n from ledger_outbox where stream = :stream", stream=stream)
    return (logged or {"n": 0})["n"] + (waiting or {"n": 0})["n"]


def insert_closure(tx: Tx, stream: str, *, count: int, now_ms: int) -> None:
    """Close a stream under the present record."""
    tx.run(
        "insert into ledger_closures (stream, record_count, closed_ms, record_id)"
        " values (:stream, :count, :now, :record_id)",
        stream=stream,
        count=count,
        now=now_ms,
    )


# Sequencing.


def waiting(tx: Tx) -> bool:
    """Whether any record waits for its place; by the key, because a scan would pass over all rows lately removed."""
    return tx.one("select number from ledger_outbox order by number limit 1") is not None


def hold_sequencer(tx: Tx, *, holder: str, now_ms: int, until_ms: int) -> Tree | None:
    """Lock the sequencer's row and renew or take its lease; None while somebody else holds it."""
    row = tx.one(
        "update ledger_sequencer set epoch = case when holder = :holder then epoch else epoch + 1 end,"
        " holder = :holder, until_ms = :until where id = 1 and (holder = :holder or until_ms <= :now)"
        " returning holder, epoch, size, root, edge",
        holder=holder,
        now=now_ms,
        until=until_ms,
    )
    return _tree(row) if row else None


def tree(tx: Tx) -> Tree:
    """The committed tree."""
    row = tx.one("select holder, epoch, size, root, edge from ledger_sequencer where id = 1")
    return _tree(row or {"holder": "", "epoch": 0, "size": 0, "root": None, "edge": None})


def _tree(row: Row) -> Tree:
    return Tree(
        row["holder"], row["epoch"], row["size"], bytes(row["root"] or b""), bytes(row["edge"] or b"")
    )


def order_batch(tx: Tx, *, size: int, limit: int) -> list[Entry]:
    """Give the longest-numbered waiting records their log index and stream number; answers them in log order.

    Takes rows that are there, never those after a remembered number: a transaction that commits late would be
    passed over for good.
    """
    rows = tx.all(
        "insert into ledger_entries (log_index, number, id, stream, stream_seq, digest)"
        " select :size + row_number() over (order by number) - 1, number, id, stream,"
        " coalesce((select max(e.stream_seq) + 1 from ledger_entries e where e.stream = taken.stream), 0)"
        " + row_number() over (partition by stream order by number) - 1, digest"
        " from (select number, id, stream, digest from ledger_outbox order by number limit :limit) as taken"
        " returning log_index, id, stream, stream_seq, digest",
        size=size,
        limit=limit,
    )
    return sorted((Entry.of(row) for row in rows), key=lambda entry: entry.log_index)


def empty_outbox(tx: Tx, size: int) -> int:
    """Remove the rows that got a place at `size` or later."""
    return tx.run(
        "delete from ledger_outbox where number in (select number from ledger_entries where log_index >= :size)",
        size=size,
    )


def advance(tx: Tx, *, size: int, root: bytes, edge: bytes) -> None:
    """Store the tree that the batch led to."""
    tx.run(
        "update ledger_sequencer set size = :size, root = :root, edge = :edge where id = 1",
        size=size,
        root=root,
        edge=edge,
    )


def tile(tx: Tx, level: int, index: int) -> bytes:
    """The hashes of one tile, as many as there are; nothing for a tile that is not there."""
    row = tx.one(
        "select hashes from ledger_tiles where level = :level and tile = :tile", level=level, tile=index
    )
    return bytes(row["hashes"]) if row else b""


def put_tiles(tx: Tx, tiles: Sequence[tuple[int, int, bytes]]) -> None:
    """Write tiles (level, index, hashes), in place of what a partial one held."""
    tx.run_many(
        "insert into ledger_tiles (level, tile, hashes) values (:level, :tile, :hashes)"
        " on conflict (level, tile) do update set hashes = excluded.hashes",
        [{"level": level, "tile": index, "hashes": hashes} for level, index, hashes in tiles],
    )


# Checkpoints and keys.


def put_checkpoint(tx: Tx, *, size: int, root: bytes, note: bytes, vkey: str, now_ms: int) -> None:
    """Store a signed note (in place of one of the same size) and drop what is older than the newest thousand.

    Heads that a witness has cosigned stay while their cosignatures do, those that an authority has stamped for good.
    """
    tx.run(
        "insert into ledger_checkpoints (size, root, note, vkey, signed_ms)"
        " values (:size, :root, :note, :vkey, :now)"
        " on conflict (size) do update set note = :note, vkey = :vkey, signed_ms = :now",
        size=size,
        root=root,
        note=note,
        vkey=vkey,
        now=now_ms,
    )
    tx.run(
        "delete from ledger_checkpoints where size <="
        " (select size from ledger_checkpoints order by size desc limit 1 offset :kept)"
        " and not exists (select 1 from ledger_cosignatures where ledger_cosignatures.size = ledger_checkpoints.size)"
        " and not exists (select 1 from ledger_timestamps where ledger_timestamps.size = ledger_checkpoints.size)",
        kept=CHECKPOINTS_KEPT,
    )


def latest_checkpoint(tx: Tx) -> Row | None:
    """The signed note of the greatest size."""
    return tx.one("select * from ledger_checkpoints order by size desc limit 1")


def covered_size(tx: Tx) -> int:
    """How many leaves the latest signed checkpoint covers."""
    row = tx.one("select max(size) as size from ledger_checkpoints")
    return (row["size"] if row else None) or 0


def key_changes(tx: Tx) -> list[Row]:
    """Every change of the log's key, oldest first."""
    return tx.all("select vkey, previous, since_ms from ledger_keys order by since_ms, record_id")


def insert_key(tx: Tx, *, vkey: str, previous: str, now_ms: int) -> None:
    """Let the log sign with another key from now on."""
    tx.run(
        "insert into ledger_keys (vkey, previous, since_ms, record_id) values (:vkey, :previous, :now, :record_id)",
        vkey=vkey,
        previous=previous,
        now=now_ms,
    )


# Reading.


def body(tx: Tx, record: str) -> bytes | None:
    """The record's canonical bytes; None when unknown or erased."""
    row = tx.one("select body from ledger_bodies where id = :id", id=record)
    return bytes(row["body"]) if row else None


def entry(tx: Tx, record: str) -> Entry | None:
    """The record's place in the log; None until it is sequenced."""
    row = tx.one(
        "select log_index, id, stream, stream_seq, digest from ledger_entries where id = :id", id=record
    )
    return Entry.of(row) if row else None


def waiting_digest(tx: Tx, record: str) -> bytes | None:
    """The digest of a record that has no place yet; a scan, because little waits."""
    row = tx.one("select digest from ledger_outbox where id = :id", id=record)
    return bytes(row["digest"]) if row else None


def entries_from(tx: Tx, log_index: int, limit: int) -> list[Entry]:
    """Leaves in log order."""
    rows = tx.all(
        "select log_index, id, stream, stream_seq, digest from ledger_entries"
        " where log_index >= :start order by log_index limit :limit",
        start=log_index,
        limit=limit,
    )
    return [Entry.of(row) for row in rows]


def entries_of(tx: Tx, stream: str, *, below: int) -> list[Entry]:
    """A stream's leaves under a checkpoint of size `below`, in stream order."""
    rows = tx.all(
        "select log_index, id, stream, stream_seq, digest from ledger_entries"
        " where stream = :stream and log_index < :below order by stream_seq",
        stream=stream,
        below=below,
    )
    return [Entry.of(row) for row in rows]


def newest(tx: Tx, *, before: int, limit: int) -> list[Row]:
    """Leaves with their bodies (None where erased) below a log index, newest first."""
    return tx.all(
        "select e.log_index, e.id, e.stream_seq, b.body from ledger_entries e"
        " left join ledger_bodies b on b.id = e.id"
        " where e.log_index < :before order by e.log_index desc limit :limit",
        before=before,
        limit=limit,
    )


def newest_of(tx: Tx, stream: str, *, before: int, limit: int) -> list[Row]:
    """As `newest`, of one stream."""
    return tx.all(
        "select e.log_index, e.id, e.stream_seq, b.body from ledger_entries e"
        " left join ledger_bodies b on b.id = e.id"
        " where e.stream = :stream and e.log_index < :before order by e.stream_seq desc limit :limit",
        stream=stream,
        before=before,
        limit=limit,
    )


# What records name by digest.

_KEEP = {
    "charters": "insert into ledger_charters (digest, body) values (:digest, :body) on conflict (digest) do nothing",
    "facts": "insert into ledger_facts (digest, body) values (:digest, :body) on conflict (digest) do nothing",
    "files": "insert into ledger_files (digest, body) values (:digest, :body) on conflict (digest) do nothing",
}
_KEPT = {
    "charters": "select body from ledger_charters where digest = :digest",
    "facts": "select body from ledger_facts where digest = :digest",
    "files": "select body from ledger_files where digest = :digest",
}


def keep(tx: Tx, kind: str, digest: str, content: bytes) -> None:
    """Keep content under its digest text; `kind` is charters, facts or files. The same again is nothing new."""
    tx.run(_KEEP[kind], digest=digest, body=content)


def keep_many(tx: Tx, kind: str, contents: Mapping[str, bytes]) -> None:
    """As `keep`, for several at once."""
    tx.run_many(_KEEP[kind], [{"digest": digest, "body": content} for digest, content in contents.items()])


def kept(tx: Tx, kind: str, digest: str) -> bytes | None:
    """Content by its digest text."""
    row = tx.one(_KEPT[kind], digest=digest)
    return bytes(row["body"]) if row else None


# Erasing.


def erase(tx: Tx, record: str, *, claims: str, now_ms: int) -> None:
    """Delete the body and leave a mark that is claimed by the present record."""
    tx.run("delete from ledger_bodies where id = :id", id=record)
    tx.run(
        "insert into ledger_erasures (id, claims, erased_ms, record_id) values (:id, :claims, :now, :record_id)",
        id=record,
        claims=claims,
        now=now_ms,
    )


def newest_body(tx: Tx) -> bytes | None:
    """The body of the newest record that has one, in the log or not; ids sort by time."""
    row = tx.one("select body from ledger_bodies order by id desc limit 1")
    return bytes(row["body"]) if row else None


def erased_claims(tx: Tx, record: str) -> str | None:
    """The claims that an erased record's mark keeps; None for a record that was not erased."""
    row = tx.one("select claims from ledger_erasures where id = :id", id=record)
    return row["claims"] if row else None
