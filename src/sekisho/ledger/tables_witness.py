"""SQL of witnesses: their lines under signed heads, and what is known of each."""

from __future__ import annotations

from sekisho.kernel.tx import Row, Tx


def head_before(tx: Tx, moment_ms: int) -> Row | None:
    """The greatest head signed before a moment."""
    return tx.one(
        "select * from ledger_checkpoints where signed_ms < :moment order by size desc limit 1",
        moment=moment_ms,
    )


def head_at(tx: Tx, size: int) -> Row | None:
    """The signed head of exactly this size, if it is still kept."""
    return tx.one("select * from ledger_checkpoints where size = :size", size=size)


def lines_at(tx: Tx, size: int) -> dict[str, str]:
    """Signature lines under the head of a size, by the witness's verifier key."""
    rows = tx.all("select vkey, line from ledger_cosignatures where size = :size", size=size)
    return {row["vkey"]: row["line"] for row in rows}


def cosignatures_from(tx: Tx, size: int) -> list[Row]:
    """Size, verifier key and line of all that are kept for sizes of at least this; a few hundred at most."""
    return tx.all(
        "select size, vkey, line, time_s from ledger_cosignatures where size >= :size order by size, vkey",
        size=size,
    )


def insert_cosignature(tx: Tx, *, size: int, vkey: str, line: str, time_s: int) -> bool:
    """Keep a line; False where this witness has one under this head already."""
    return bool(
        tx.run(
            "insert into ledger_cosignatures (size, vkey, line, time_s) values (:size, :vkey, :line, :time)"
            " on conflict (size, vkey) do nothing",
            size=size,
            vkey=vkey,
            line=line,
            time=time_s,
        )
    )


def drop_cosignatures(tx: Tx, size: int) -> None:
    """Forget the lines under a head; the head itself goes with the next one that is signed."""
    tx.run("delete from ledger_cosignatures where size = :size", size=size)


def witness(tx: Tx, vkey: str) -> Row | None:
    """What is known of a witness."""
    return tx.one("select * from ledger_witnesses where vkey = :vkey", vkey=vkey)


def put_cosigned(tx: Tx, vkey: str, *, size: int, now_ms: int) -> None:
    """A witness cosigned this size: whatever was wrong with it is over."""
    tx.run(
        "insert into ledger_witnesses (vkey, size, cosigned_ms, finding, finding_size, finding_ms)"
        " values (:vkey, :size, :now, '', 0, 0) on conflict (vkey) do update"
        " set size = :size, cosigned_ms = :now, finding = '', finding_size = 0, finding_ms = 0",
        vkey=vkey,
        size=size,
        now=now_ms,
    )


def put_finding(tx: Tx, vkey: str, *, finding: str, size: int, now_ms: int) -> None:
    """Something is wrong with a witness, about this size."""
    tx.run(
        "insert into ledger_witnesses (vkey, size, cosigned_ms, finding, finding_size, finding_ms)"
        " values (:vkey, 0, 0, :finding, :size, :now) on conflict (vkey) do update"
        " set finding = :finding, finding_size = :size, finding_ms = :now",
        vkey=vkey,
        finding=finding,
        size=size,
        now=now_ms,
    )
