"""`sekisho release fetch RELEASE`: waits until an export is approved and its bytes are there, then writes them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sekisho_client import download
from sekisho_client.client import Client, connect
from sekisho_client.refusals import ProblemError, Refused
from sekisho_client.session import Session

LOOK_SECONDS = 1.0
STILL_WAITING = 8
_NOT_FOUND = "not_found"
_OVER = "over"


def run(session: Session, values: dict[str, Any]) -> int:
    """A release, or the proposal that becomes one."""
    with connect(session.settings) as client:
        return follow(session, client, values["release"], values)


def follow(session: Session, client: Client, release: str, values: Mapping[str, Any]) -> int:
    """Wait, say what for, fetch what is missing in the folder, check every byte; exit 8 when the time is over."""
    target = Path(values.get("folder") or release)
    seconds = float(values.get("timeout") or 0)
    deadline, said = time.monotonic() + seconds, ""
    while True:
        found = _look(client, release)
        if found.get("state") == "ready":
            return _write(session, client, found, {**values, "folder": str(target)})
        if found.get("state") == _OVER:
            raise Refused("release.over", release=release)
        doing = _sentence(session, found)
        if doing != said:
            session.screen.progress(doing)
            said = doing
        if seconds and time.monotonic() > deadline:
            session.screen.answer(found, ())
            return STILL_WAITING
        time.sleep(LOOK_SECONDS)


def _look(client: Client, release: str) -> dict[str, Any]:
    """The release, or the proposal while it waits; the server's "not found" for neither."""
    try:
        return client.call("data.release.show", release=release)
    except ProblemError as problem:
        if problem.code != _NOT_FOUND:
            raise
        waiting = [one for one in client.call("kernel.proposal.list")["items"] if one["id"] == release]
        if not waiting:
            raise
        return waiting[0]


def _sentence(session: Session, found: Mapping[str, Any]) -> str:
    say = session.screen.say
    if "state" not in found:
        left = ", ".join(one for one in found["approvers"] if one not in found["approved"])
        return say(
            f"Waiting for {left} to approve {found['id']}, until {found['expires_at']}",
            f"{found['id']}の承認を待っています：{left}（期限{found['expires_at']}）",
        )
    if found["state"] == "sealing":
        return say(
            "Approved; waiting for the log's next checkpoint", "承認されました。台帳の確認点を待っています"
        )
    sites = ", ".join(found["sites"])
    return say(
        f"Approved; site {sites} is sending the bytes", f"承認されました。拠点{sites}から届くのを待っています"
    )


def _write(session: Session, client: Client, release: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    ticket = client.call("data.release.fetch", release=release["id"])
    found = download.bring(
        session, client, (ticket, release["artefact"]), target=Path(values["folder"]), values=values
    )
    session.screen.answer({**found, "object": ticket["object"]}, ())
    return 0
