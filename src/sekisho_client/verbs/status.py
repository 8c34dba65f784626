"""`sekisho status`: which server, whether it is ready, who the caller is to it."""

from __future__ import annotations

from typing import Any

from sekisho_client.client import Client, connect
from sekisho_client.refusals import UNAVAILABLE, ProblemError
from sekisho_client.session import Session

_ME = "identity.me"
_READY = 200


def run(session: Session, values: dict[str, Any]) -> int:
    """Ask the two health addresses and, with a token, who it belongs to. Not ready is exit 7."""
    del values
    found: dict[str, Any] = {"server": session.settings.url, "client": session.screen.catalogue.version}
    with connect(session.settings, timeout_seconds=10, tries=1) as client:
        health, ready = client.look("/healthz")[1], client.look("/readyz")
        found |= {
            "version": health.get("version", ""),
            "ready": ready[0] == _READY,
            "checks": ready[1].get("checks", {}),
        }
        found |= {"token": session.settings.source["token"], **_who(session, client)}
    if session.screen.as_json:
        session.screen.json(found)
    else:
        _show(session, found)
    return 0 if found["ready"] else UNAVAILABLE


def _who(session: Session, client: Client) -> dict[str, Any]:
    """The account behind the token, or the code with which the server refused it."""
    if not session.settings.token or _ME not in session.screen.catalogue.by_name:
        return {"account": None}
    try:
        return {"account": client.call(_ME)}
    except ProblemError as problem:
        return {"account": None, "refused": problem.code}


def _show(session: Session, found: dict[str, Any]) -> None:
    screen = session.screen
    screen.line("✓", f"{found['server']}  {found['version']}")
    missing = ", ".join(name for name, there in found["checks"].items() if not there)
    if found["ready"]:
        screen.line("✓", screen.say("Ready", "稼働しています"))
    else:
        screen.line("✗", screen.say(f"Not ready: {missing}", f"準備ができていません：{missing}"))
    account = found["account"]
    if account:
        name = (
            account.get("name")
            or account.get("display_name")
            or account.get("id")
            or account.get("account", "")
        )
        screen.line("✓", screen.say(f"Signed in as {name}", f"{name}としてサインインしています"))
    elif found.get("refused"):
        refused = found["refused"]
        screen.line(
            "✗", screen.say(f"The token was refused [{refused}]", f"トークンが拒否されました [{refused}]")
        )
        screen.hint("sekisho login")
    elif found["token"]:
        screen.line(" ", screen.say("A token is set", "トークンが設定されています"))
    else:
        screen.line("!", screen.say("Not signed in", "サインインしていません"))
        screen.hint("sekisho login")
