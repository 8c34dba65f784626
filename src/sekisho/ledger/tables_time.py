"""SQL of time stamps."""

from __future__ import annotations

from sekisho.kernel.tx import Row, Tx


def insert_stamp(tx: Tx, *, size: int, authority: str, token: bytes, time_s: int) -> None:
    """Keep a token; the first of an authority under a head stays."""
    tx.run(
        "insert into ledger_timestamps (size, authority, token, time_s) values (:size, :authority, :token, :time)"
        " on conflict (size, authority) do nothing",
        size=size,
        authority=authority,
        token=token,
        time=time_s,
    )


def stamps_from(tx: Tx, size: int) -> list[Row]:
    """Size and authority of every stamp at sizes of at least this."""
    return tx.all(
        "select size, authority from ledger_timestamps where size >= :size order by size, authority",
        size=size,
    )


def stamps_at(tx: Tx, size: int) -> dict[str, bytes]:
    """Tokens under the head of a size, by authority."""
    rows = tx.all("select authority, token from ledger_timestamps where size = :size", size=size)
    return {row["authority"]: bytes(row["token"]) for row in rows}


def newest_stamp(tx: Tx, authority: str) -> Row | None:
    """The newest stamp by an authority."""
    return tx.one(
        "select size, time_s from ledger_timestamps where authority = :authority order by size desc limit 1",
        authority=authority,
    )


def stamped_since(tx: Tx, time_s: int) -> Row | None:
    """The newest head that anybody has stamped since a moment."""
    return tx.one(
        "select size from ledger_timestamps where time_s >= :time order by size desc limit 1", time=time_s
    )


def every_stamp(tx: Tx) -> list[Row]:
    """All stamps: one an interval and authority."""
    return tx.all("select size, authority, token, time_s from ledger_timestamps order by size, authority")
