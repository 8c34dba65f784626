"""`sekisho config`: the settings of this client and where each comes from."""

from __future__ import annotations

import os
from typing import Any

from sekisho_client import settings
from sekisho_client.session import Session


def run(session: Session, values: dict[str, Any]) -> int:
    """Show each setting; a token only as present or absent."""
    del values
    chosen = session.settings
    shown = {
        "url": chosen.url,
        "language": chosen.language,
        "certificates": chosen.certificates,
        "custodian": chosen.custodian,
    }
    rows = [{"name": name, "value": value, "source": chosen.source[name]} for name, value in shown.items()]
    rows.append({"name": "token", "value": "***" if chosen.token else "", "source": chosen.source["token"]})
    rows.append({"name": "file", "value": str(settings.path(os.environ)), "source": ""})
    session.screen.answer({"items": rows, "next": None}, ("name", "value", "source"))
    return 0
