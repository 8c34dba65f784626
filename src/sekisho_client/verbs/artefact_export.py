"""`sekisho artefact export ARTEFACT --to JP`: asks for an export, waits for its approvers, writes the files."""

from __future__ import annotations

from typing import Any

from sekisho_client.client import connect
from sekisho_client.session import Session
from sekisho_client.verbs import release_fetch


def run(session: Session, values: dict[str, Any]) -> int:
    """With --detach it only asks; `sekisho release fetch PROPOSAL` goes on from wherever it broke off."""
    with connect(session.settings) as client:
        proposed = client.call(
            "data.artefact.export",
            artefact=values["artefact"],
            destination=values["to"],
            approvers=_words(values["approver"]),
            reason=values["reason"],
            licence=values.get("licence") or "",
        )
        session.screen.hint(f"sekisho release fetch {proposed['proposal']}")
        if values.get("detach"):
            session.screen.answer(proposed, ())
            return 0
        return release_fetch.follow(session, client, proposed["proposal"], values)


def _words(value: str | list[str]) -> list[str]:
    """`usr_a,usr_b` or repeated options as a list."""
    items = value.split(",") if isinstance(value, str) else value
    return [item.strip() for item in items if item.strip()]
