"""`sekisho config set NAME VALUE`: keeps one setting."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sekisho_client import settings
from sekisho_client.refusals import Refused
from sekisho_client.session import Session


def run(session: Session, values: dict[str, Any]) -> int:
    """Check the value and replace the file. A new address forgets the token, which was for the old one."""
    name, value = values["name"], values["value"]
    if name == "language" and value and value not in settings.LANGUAGES:
        raise Refused("config.value", name=name, value=value, hint="sekisho config set language ja")
    if name == "certificates" and value and not Path(value).is_file():
        raise Refused("input.no_file", path=value)
    if name in {"url", "custodian"} and value:
        value = settings.check_url(value)
    file = settings.path(os.environ)
    stored = settings.read(file)
    if name == "url" and value != stored.get("url", ""):
        stored.pop("token", None)
    stored[name] = value
    settings.write(file, {known: text for known, text in stored.items() if text})
    if session.screen.as_json:
        session.screen.json({"name": name, "value": value})
    else:
        session.screen.line("✓", f"{name} = {value or '-'}")
    return 0
