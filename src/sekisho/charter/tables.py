"""Charter versions as rows. A version's text never changes; only its state does, and one version is active."""

from __future__ import annotations

from sekisho.kernel.tx import Row, Tx


def insert(
    tx: Tx,
    *,
    version: str,
    digest: str,
    policies: str,
    schema: str,
    state: str,
    drafted_by: str,
    drafted_ms: int,
    activated_ms: int | None,
) -> None:
    """Add one version; its digest must be new."""
    tx.run(
        "insert into charter_versions"
        " (id, digest, policies, schema_text, state, drafted_by, drafted_ms, activated_ms, record_id)"
        " values (:version, :digest, :policies, :schema, :state, :drafted_by, :drafted_ms, :activated_ms, :record_id)",
        version=version,
        digest=digest,
        policies=policies,
        schema=schema,
        state=state,
        drafted_by=drafted_by,
        drafted_ms=drafted_ms,
        activated_ms=activated_ms,
    )


def active(tx: Tx) -> Row | None:
    """The version in force, with its texts; None before the first."""
    return tx.one("select * from charter_versions where state = 'active'")


def by_id(tx: Tx, version: str) -> Row | None:
    """One version with its texts."""
    return tx.one("select * from charter_versions where id = :version", version=version)


def by_digest(tx: Tx, digest: str) -> Row | None:
    """The version with exactly this text, with its texts."""
    return tx.one("select * from charter_versions where digest = :digest", digest=digest)


def page(tx: Tx, before: str, limit: int) -> list[Row]:
    """Versions without their texts, newest first, from the one after `before` (empty: from the newest)."""
    return tx.all(
        "select id, digest, state, drafted_by, drafted_ms, activated_ms, retired_ms from charter_versions"
        " where :before = '' or id < :before order by id desc limit :limit",
        before=before,
        limit=limit,
    )


def retire_active(tx: Tx, now_ms: int) -> None:
    """Take the version in force out of force."""
    tx.run(
        "update charter_versions set state = 'retired', retired_ms = :now, record_id = :record_id"
        " where state = 'active'",
        now=now_ms,
    )


def activate(tx: Tx, version: str, now_ms: int) -> None:
    """Put a version in force; the caller has retired the one before."""
    tx.run(
        "update charter_versions set state = 'active', activated_ms = :now, retired_ms = null, record_id = :record_id"
        " where id = :version",
        version=version,
        now=now_ms,
    )
