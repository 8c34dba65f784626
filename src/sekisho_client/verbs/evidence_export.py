"""`sekisho evidence export JOB`: asks for a job's bundle, waits for its checkpoint, writes the file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sekisho_client.client import Client, connect
from sekisho_client.refusals import ProblemError, Refused
from sekisho_client.session import Session

WAIT_SECONDS = 60
NOT_COVERED = "ledger.not_covered"


def run(session: Session, values: dict[str, Any]) -> int:
    """The bundle is whole or not there; an existing file is never replaced without being told to."""
    target = Path(values.get("to") or f"{values['job']}.bundle.zip")
    if target.exists() and not session.yes:
        raise Refused("input.exists", path=str(target), hint="--yes")
    with connect(session.settings) as client:
        size_bytes = export(client, values["job"], target)
    if session.screen.as_json:
        session.screen.json({"file": str(target), "size_bytes": size_bytes})
    else:
        session.screen.line("✓", f"{target}  {size_bytes:,} B")
        session.screen.hint(f"sekisho-verify {target} --trust trust.json")
    return 0


def export(client: Client, job: str, target: Path) -> int:
    """Record the export, then read the bundle once a checkpoint covers it; answers its bytes."""
    asked = client.call("ledger.bundle.export", job=job)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return client.download("ledger.bundle.read", target, export=asked["record"])
        except ProblemError as problem:
            if problem.code != NOT_COVERED or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
