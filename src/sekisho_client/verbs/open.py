"""`sekisho open`: an address that signs a browser in to the console, once, so that nobody copies a token."""

from __future__ import annotations

from typing import Any

from sekisho_client.client import connect
from sekisho_client.session import Session
from sekisho_client.settings import check_url


def run(session: Session, values: dict[str, Any]) -> int:
    """Print the address; it is a secret until it was used, and for ten minutes only."""
    del values
    with connect(session.settings) as client:
        link = client.call("identity.link.create")
    address = f"{check_url(session.settings.url)}/signin/{link['secret']}"
    screen = session.screen
    if screen.as_json:
        screen.json({"url": address, "expires_at": link["expires_at"]})
        return 0
    screen.text(address)
    if screen.terminal:
        screen.line("!", screen.say("Works once, for ten minutes.", "10分以内に1回だけ使えます。"))
    return 0
