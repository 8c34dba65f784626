"""`sekisho plan FILE`: what would happen to a job file, without submitting it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sekisho_client.client import connect
from sekisho_client.session import Session
from sekisho_client.verbs.run import read_translated


def run(session: Session, values: dict[str, Any]) -> int:
    """Joined label, and the charter's answer for every site."""
    with connect(session.settings) as client:
        plan = client.call("compute.job.plan", file=read_translated(session, Path(values["path"]), values))
    session.screen.answer(plan, ())
    return 0
