"""Jobs as the ledger sees them: whose evidence may be exported, and by whom."""

from __future__ import annotations

from sekisho.compute import tables
from sekisho.compute.jobs import entity_of
from sekisho.kernel.facts import Entity
from sekisho.kernel.tx import Tx


class JobSubjects:
    """Finds the entity behind an evidence stream of a job."""

    def subject(self, tx: Tx, kind: str, name: str) -> Entity | None:
        """The job as the charter sees it, or None for another kind or an unknown id."""
        row = tables.find_job(tx, name, "") if kind == "Job" else None
        return entity_of(row) if row else None
