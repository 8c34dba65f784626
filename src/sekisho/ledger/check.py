"""fsck: is every row what its record says, and every record where the log says. Reads only, in bounded memory.

Two walks over the records and one over the rows, page by page:
`check_log` goes through the log from its start (bodies, digests, order, streams, tiles, checkpoints),
`check_rows` through every table that carries effects, then through the records from the newest back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sekisho.kernel.tx import Tx
from sekisho.ledger import check_files, check_log, check_rows, check_witnesses, timestamps
from sekisho.ledger.keys import KeyFolder
from sekisho.ledger.model import CheckReport
from sekisho.ledger.notes import Notes


def check(
    tx: Tx,
    keys: KeyFolder,
    *,
    published: Path | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> CheckReport:
    """Everything that is wrong in this snapshot, and in the published folder against it.

    `progress` is called with the stage's name and how many things it has looked at.
    """
    notes = Notes(progress)
    if published is not None:
        # First, because a server at work goes on publishing: what it adds after this snapshot looks like too much.
        check_files.run(tx, keys, published, notes)
    check_log.run(tx, keys, notes)
    check_witnesses.run(tx, notes)
    timestamps.check(tx, notes)
    check_rows.run(tx, notes)
    return notes.report()
