"""SQL of the check alone: it reads everything, also tables of other capabilities, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sekisho.kernel.tx import PLUMBING, Row, Tx


def watched_tables(tx: Tx) -> dict[str, tuple[str, ...]]:
    """Every table that carries effects, with its primary key's columns: all that is not plumbing."""
    keys = tx.keys
    return {
        table: keys[table] for table in sorted(keys) if table not in PLUMBING and "_" in table and keys[table]
    }


def rows_of(tx: Tx, table: str, columns: Sequence[str], page: int) -> Iterator[Row]:
    """All rows of any table in the order of its primary key, `page` at a time."""
    names = ", ".join(columns)
    after: dict[str, str | int] = {}
    while True:
        places = ", ".join(f":{column}" for column in columns)
        where = f" where ({names}) > ({places})" if after else ""
        sql = f"select * from {table}{where} order by {names} limit {page}"
        rows = tx.all(sql, **after)
        yield from rows
        if len(rows) < page:
            return
        after = {column: rows[-1][column] for column in columns}


def row_by_key(tx: Tx, table: str, columns: Sequence[str], key: Sequence[str | int]) -> Row | None:
    """One row of any table by its primary key."""
    if len(columns) != len(key):
        return None
    where = " and ".join(f"{column} = :{column}" for column in columns)
    sql = f"select * from {table} where {where}"
    return tx.one(sql, **dict(zip(columns, key, strict=True)))


def logged_from(tx: Tx, log_index: int, limit: int) -> list[Row]:
    """Leaves with their bodies (None where there is none), in log order."""
    return tx.all(
        "select e.log_index, e.id, e.stream, e.stream_seq, e.digest, b.body from ledger_entries e"
        " left join ledger_bodies b on b.id = e.id"
        " where e.log_index >= :start order by e.log_index limit :limit",
        start=log_index,
        limit=limit,
    )


def waiting_before(tx: Tx, number: int, limit: int) -> list[Row]:
    """Records without a place with their bodies (None where there is none), newest first."""
    return tx.all(
        "select o.number, o.id, o.stream, o.digest, b.body from ledger_outbox o"
        " left join ledger_bodies b on b.id = o.id"
        " where o.number < :number order by o.number desc limit :limit",
        number=number,
        limit=limit,
    )


def waiting_number(tx: Tx, record: str) -> int | None:
    """The database's number of a record that has no place yet."""
    row = tx.one("select number from ledger_outbox where id = :id", id=record)
    return row["number"] if row else None


def homeless_bodies(tx: Tx, *, limit: int) -> list[str]:
    """Bodies that are neither in the log nor waiting for it."""
    rows = tx.all(
        "select b.id from ledger_bodies b where not exists (select 1 from ledger_entries e where e.id = b.id)"
        " and not exists (select 1 from ledger_outbox o where o.id = b.id) limit :limit",
        limit=limit,
    )
    return [row["id"] for row in rows]


def broken_streams(tx: Tx, *, limit: int) -> list[Row]:
    """Leaves whose stream number is not the count of their stream's earlier leaves; the database sorts."""
    return tx.all(
        "select log_index, stream_seq from (select log_index, stream_seq,"
        " row_number() over (partition by stream order by log_index) - 1 as expected from ledger_entries) as numbered"
        " where stream_seq <> expected order by log_index limit :limit",
        limit=limit,
    )


def closures_after(tx: Tx, stream: str, limit: int) -> list[Row]:
    """Closed streams in order of their pseudonyms."""
    return tx.all(
        "select * from ledger_closures where stream > :stream order by stream limit :limit",
        stream=stream,
        limit=limit,
    )


def erasures_after(tx: Tx, record: str, limit: int) -> list[Row]:
    """Erased records in order of their ids."""
    return tx.all(
        "select * from ledger_erasures where id > :id order by id limit :limit", id=record, limit=limit
    )


def checkpoints(tx: Tx) -> list[Row]:
    """Every signed note that is kept, smallest tree first; about a thousand at most."""
    return tx.all("select * from ledger_checkpoints order by size")


def count_tiles(tx: Tx) -> int:
    """Stored tiles of all levels."""
    row = tx.one("select count(*) as n from ledger_tiles")
    return row["n"] if row else 0


_CONTENTS = {
    "charters": "select digest, body from ledger_charters where digest > :digest order by digest limit :limit",
    "facts": "select digest, body from ledger_facts where digest > :digest order by digest limit :limit",
    "files": "select digest, body from ledger_files where digest > :digest order by digest limit :limit",
}


def contents_after(tx: Tx, kind: str, digest: str, limit: int) -> list[Row]:
    """What is kept by digest, in order of the digests; `kind` as in `tables.keep`."""
    return tx.all(_CONTENTS[kind], digest=digest, limit=limit)
