"""`sekisho logout`: forgets the token of this server, on this machine only."""

from __future__ import annotations

import os
from typing import Any

from sekisho_client import settings
from sekisho_client.session import Session


def run(session: Session, values: dict[str, Any]) -> int:
    """Remove the token from the file; a second time does nothing and succeeds."""
    del values
    file = settings.path(os.environ)
    stored = settings.read(file)
    if stored.pop("token", ""):
        settings.write(file, stored)
    if session.screen.as_json:
        session.screen.json({"token": None})
    else:
        session.screen.line("✓", session.screen.say("The token was forgotten.", "トークンを消しました。"))
        session.screen.hint("sekisho token list")
    return 0
