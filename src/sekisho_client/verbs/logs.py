"""`sekisho logs JOB`: the log of a job's newest attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sekisho_client import follow
from sekisho_client.client import Client, connect
from sekisho_client.render import clean
from sekisho_client.session import Session

_FETCH_LEVEL_MAX: Final = 1
"""As the server has it; a test holds the two equal."""


def run(session: Session, values: dict[str, Any]) -> int:
    """Print the log, and go on with `--follow`. As JSON: one object per piece. Says where a sealed log lies."""
    attempt, silent = int(values.get("attempt") or 0), True
    with connect(session.settings) as client:
        pieces = follow.log_pieces(client, values["job"], attempt=attempt, follow=bool(values.get("follow")))
        for piece in pieces:
            silent = False
            if session.screen.as_json:
                session.screen.json({"text": piece})
            else:
                session.screen.out.write("".join(clean(line) + "\n" for line in piece.splitlines()))
                session.screen.out.flush()
        if silent:
            _say_where(session, client, values["job"], attempt)
    return 0


def _say_where(session: Session, client: Client, job: str, number: int) -> None:
    """A log under a key is no text that a server could send: one sentence names the artefact, and what opens it."""
    found = client.call("compute.job.show", job=job)
    named = {one["id"] for one in found["attempts"] if number in {0, one["number"]}}
    sealed = [
        one
        for one in client.pages("data.artefact.list", job=found["job"]["id"])
        if one["kind"] == "log" and one["envelope"] and one["attempt"] in named
    ]
    if sealed:
        newest = max(sealed, key=lambda one: str(one["id"]))
        artefact, opens = newest["id"], command_for(newest)
        session.screen.progress(
            session.screen.say(
                f"The log is sealed under its owner's key and lies in artefact {artefact}: {opens}",
                f"ログは所有者の鍵で封印され、成果物{artefact}にあります：{opens}",
            )
        )


def command_for(artefact: Mapping[str, Any]) -> str:
    """What brings an artefact here: a fetch, or above level 1 and where others own it too, an approved export."""
    if artefact["level"] <= _FETCH_LEVEL_MAX and not set(artefact["owners"]) - {artefact["owner"]}:
        return f"sekisho artefact fetch {artefact['id']} --to log"
    asked = "--to COUNTRY --approver PERSON --reason TEXT --folder log"
    return f"sekisho artefact export {artefact['id']} {asked}"
