"""`sekisho login`: gets a token for a server and keeps it in a file that only its owner can read."""

from __future__ import annotations

import getpass
import os
import sys
import time
from typing import Any

from sekisho_client import settings
from sekisho_client.client import Client
from sekisho_client.refusals import ProblemError, Refused
from sekisho_client.session import Session

_ME = "identity.me"
_DONE = 200


def run(session: Session, values: dict[str, Any]) -> int:
    """Take the token, show it to the server once, keep it. A refused token is not kept."""
    url = settings.check_url(session.settings.url)
    token = (values.get("token_file") or _in_browser(session, url) or _ask(session)).strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Refused("config.value", name="token", value="***", hint="sekisho login")
    account = _check(session, url, token)
    file = settings.path(os.environ)
    settings.write(file, {**settings.read(file), "url": url, "token": token})
    screen = session.screen
    if screen.as_json:
        screen.json({"url": url, "account": account})
    else:
        screen.line("✓", screen.say(f"Signed in at {url}.", f"{url}にサインインしました。"))
        screen.hint("sekisho status")
    return 0


def _in_browser(session: Session, url: str) -> str:
    """Sign in through the server's identity provider; nothing where it has none."""
    chosen, screen = session.settings, session.screen
    with Client(url, "", language=chosen.language, certificates=chosen.certificates) as client:
        status, device = client.ask("/device/start", {})
        if status != _DONE:
            return ""
        where = device["verification_uri_complete"] or device["verification_uri"]
        english = f"Open {where} and confirm the code {device['user_code']}."
        screen.progress(
            screen.say(english, f"{where}を開き、コード{device['user_code']}を確認してください。")
        )
        deadline = time.monotonic() + float(device["expires_seconds"])
        pause = float(device["interval_seconds"])
        while time.monotonic() < deadline:
            time.sleep(pause)
            status, answer = client.ask("/device/poll", {"device_code": device["device_code"]})
            if status != _DONE:
                raise ProblemError(answer)
            if "secret" in answer:
                return str(answer["secret"])
            pause = float(answer["interval_seconds"])
    raise Refused("client.device_expired", hint="sekisho login")


def _ask(session: Session) -> str:
    """From the terminal, without echo; anywhere else there must be a file."""
    if not sys.stdin.isatty():
        raise Refused("input.missing", name="--token-file", hint="sekisho login --token-file -")
    return getpass.getpass(session.screen.say("Token (not shown): ", "トークン（表示されません）："))


def _check(session: Session, url: str, token: str) -> object:
    """Whose token it is, asked of the server; ProblemError when it is nobody's."""
    chosen = session.settings
    with Client(url, token, language=chosen.language, certificates=chosen.certificates) as client:
        return client.call(_ME) if _ME in session.screen.catalogue.by_name else client.look("/healthz")[1]
