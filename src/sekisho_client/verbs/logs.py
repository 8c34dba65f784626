"""`sekisho logs JOB`: the log of a job's newest attempt."""

from __future__ import annotations

from typing import Any

from sekisho_client import follow
from sekisho_client.client import connect
from sekisho_client.render import clean
from sekisho_client.session import Session


def run(session: Session, values: dict[str, Any]) -> int:
    """Print the log, and go on with `--follow`. As JSON: one object per piece."""
    with connect(session.settings) as client:
        pieces = follow.log_pieces(
            client, values["job"], attempt=int(values.get("attempt") or 0), follow=bool(values.get("follow"))
        )
        for piece in pieces:
            if session.screen.as_json:
                session.screen.json({"text": piece})
            else:
                session.screen.out.write("".join(clean(line) + "\n" for line in piece.splitlines()))
                session.screen.out.flush()
    return 0
