"""`sekisho artefact fetch ARTEFACT`: writes an artefact's files to a folder, opened where a key seals them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sekisho_client import download
from sekisho_client.client import connect
from sekisho_client.refusals import Refused
from sekisho_client.session import Session


def run(session: Session, values: dict[str, Any]) -> int:
    """The folder must not exist yet, so that nothing is mixed with what was there."""
    target = Path(values.get("to") or values["artefact"])
    if target.exists():
        raise Refused("input.exists", path=str(target))
    with connect(session.settings) as client:
        ticket = client.call("data.artefact.fetch", artefact=values["artefact"])
        found = download.bring(session, client, (ticket, values["artefact"]), target=target, values=values)
    session.screen.answer(found, ())
    return 0
