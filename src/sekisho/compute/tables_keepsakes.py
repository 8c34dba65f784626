"""SQL of what jobs refer to by name: secrets and images."""

from __future__ import annotations

from sekisho.compute.model import ImageView, SecretView
from sekisho.kernel.tx import Tx


def put_secret(tx: Tx, owner: str, secret: tuple[str, str, bytes], now_ms: int) -> SecretView:
    """Keep a secret: name, team and encrypted value."""
    name, team, value = secret
    tx.run(
        "insert into compute_secrets (owner, name, team, value, changed_ms, record_id)"
        " values (:owner, :name, :team, :value, :now, :record_id)"
        " on conflict (owner, name) do update set team = :team, value = :value, changed_ms = :now,"
        " record_id = :record_id",
        owner=owner,
        name=name,
        team=team,
        value=value,
        now=now_ms,
    )
    return SecretView(name, team, now_ms)


def secret_value(tx: Tx, owner: str, name: str, teams: frozenset[str]) -> bytes | None:
    """The encrypted value, for a job of the same organisation whose submitter is in the secret's team, if it has one.

    `teams` are the ids of the submitter's teams.
    """
    row = tx.one(
        "select value, team from compute_secrets where owner = :owner and name = :name",
        owner=owner,
        name=name,
    )
    return bytes(row["value"]) if row and row["team"] in {"", *teams} else None


def list_secrets(tx: Tx, owner: str) -> list[SecretView]:
    """Names only."""
    rows = tx.all(
        "select name, team, changed_ms from compute_secrets where owner = :owner order by name", owner=owner
    )
    return [SecretView(row["name"], row["team"], row["changed_ms"]) for row in rows]


def delete_secret(tx: Tx, owner: str, name: str) -> int:
    """1 when there was one."""
    return tx.run("delete from compute_secrets where owner = :owner and name = :name", owner=owner, name=name)


def put_image(tx: Tx, owner: str, name: str, lock: tuple[str, int], *, now_ms: int) -> ImageView:
    """Point a name at a lock file (its digest and size in bytes); jobs already submitted keep theirs."""
    digest, size_bytes = lock
    tx.run(
        "insert into compute_images (owner, name, lock, lock_bytes, created_ms, record_id)"
        " values (:owner, :name, :lock, :size, :now, :record_id)"
        " on conflict (owner, name) do update set lock = :lock, lock_bytes = :size, created_ms = :now, record_id = :record_id",
        owner=owner,
        name=name,
        lock=digest,
        size=size_bytes,
        now=now_ms,
    )
    return ImageView(name, digest, owner, now_ms)


def find_image(tx: Tx, owner: str, name: str) -> tuple[str, int] | None:
    """The lock file's digest and size in bytes, or None."""
    row = tx.one(
        "select lock, lock_bytes from compute_images where owner = :owner and name = :name",
        owner=owner,
        name=name,
    )
    return (row["lock"], row["lock_bytes"]) if row else None


def list_images(tx: Tx, owner: str) -> list[ImageView]:
    """Every image of an organisation."""
    rows = tx.all("select * from compute_images where owner = :owner order by name", owner=owner)
    return [ImageView(row["name"], row["lock"], row["owner"], row["created_ms"]) for row in rows]
