"""SQL of what may leave."""

from __future__ import annotations

import msgspec

from sekisho.data.model_release import ReleaseView
from sekisho.data.rules import as_json
from sekisho.kernel.tx import Row, Tx


def insert(tx: Tx, release: ReleaseView) -> None:
    """Add a release; who may fetch it and until when never changes."""
    tx.run(
        "insert into data_releases (id, artefact, owner, object, object_kind, size_bytes, destination, licence,"
        " reason, requester, approvers, proposal, created_ms, expires_ms, record_id) values (:id, :artefact, :owner,"
        " :object, :object_kind, :size_bytes, :destination, :licence, :reason, :requester, :approvers, :proposal,"
        " :created_ms, :expires_ms, :record_id)",
        id=release.id,
        artefact=release.artefact,
        owner=release.owner,
        object=release.object,
        object_kind=release.object_kind,
        size_bytes=release.size_bytes,
        destination=release.destination,
        licence=release.licence,
        reason=release.reason,
        requester=release.requester,
        approvers=as_json(release.approvers),
        proposal=release.proposal,
        created_ms=release.created_ms,
        expires_ms=release.expires_ms,
    )


def find(tx: Tx, release: str) -> ReleaseView | None:
    """By its own id or its proposal's."""
    row = tx.one("select * from data_releases where id = :id or proposal = :id", id=release)
    return _release(row) if row else None


def page(tx: Tx, before: str, limit: int, *, artefact: str) -> list[ReleaseView]:
    """Releases newest first, of one artefact where it is named."""
    rows = tx.all(
        "select * from data_releases where (:artefact = '' or artefact = :artefact)"
        " and (:before = '' or id < :before) order by id desc limit :limit",
        artefact=artefact,
        before=before,
        limit=limit,
    )
    return [_release(row) for row in rows]


def wanted_from(tx: Tx, site: str, now_ms: int) -> list[ReleaseView]:
    """Releases that still hold of what attempts at a site left behind, oldest first.

    Never by digest: whoever names the digest of somebody else's bytes would be handed them.
    """
    rows = tx.all(
        "select r.* from data_releases r join data_artefacts a on a.id = r.artefact"
        " where a.site = :site and r.expires_ms > :now order by r.id limit 50",
        site=site,
        now=now_ms,
    )
    return [_release(row) for row in rows]


def _release(row: Row) -> ReleaseView:
    return msgspec.convert({**row, "approvers": msgspec.json.decode(row["approvers"])}, ReleaseView)
