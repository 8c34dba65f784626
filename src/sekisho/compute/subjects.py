"""Jobs as the ledger sees them: whose evidence may be exported, and by whom."""

from __future__ import annotations

from sekisho.compute import tables
from sekisho.compute.jobs import entity_of
from sekisho.data import owner_of
from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.facts import Entity
from sekisho.kernel.tx import Tx


class JobSubjects:
    """Finds the entity behind an evidence stream of a job."""

    def subject(self, tx: Tx, kind: str, name: str, asker: Entity) -> Entity:
        """The job as the charter sees it, by id or by name within the asker's organisation; else NotFoundError."""
        row = tables.find_job(tx, name, owner_of(asker)) if kind == "Job" else None
        if row is None:
            raise NotFoundError(id=name)
        return entity_of(row)
