"""`sekisho data add NAME PATH`: hashes a folder or file, asks, sends it, seals it; with --key encrypts it before."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sekisho_client import transfer
from sekisho_client.client import connect
from sekisho_client.session import Session


def run(session: Session, values: dict[str, Any]) -> int:
    """The charter is asked before a byte is sent; a dataset that broke off is sealed by adding it again."""
    screen = session.screen

    def progress(verb: str) -> transfer.Progress:
        def show(done: int, total: int) -> None:
            if session.progress:
                screen.overwrite(f"{verb} {done * 100 // max(1, total):3d} %  {done:,} / {total:,}")

        return show

    local = transfer.scan(Path(values["path"]), progress(screen.say("Hashing", "検査中")))
    with connect(session.settings) as client, contextlib.ExitStack() as stack:
        named: Mapping[str, Any] = {}
        if values.get("key"):
            from sekisho_client import sealing  # noqa: PLC0415 - slow to load, and needed only to encrypt

            key = client.call("data.key.show", key=values["key"])
            if key["stand_in"]:
                screen.progress(sealing.warning(key["name"], screen.language))
            custodian = sealing.Custodian(
                session.settings.custodian, sealing.token(values.get("token_file") or "")
            )
            sealed = stack.enter_context(sealing.sealed(local, key, custodian))
            local, named = sealed.local, sealed.named
        upload = client.call(
            "data.dataset.add",
            name=values["name"],
            object=local.digest,
            size_bytes=local.size_bytes,
            files=len(local.files),
            level=int(values["level"]),
            residency=_words(values["residency"]),
            labels=_words(values.get("labels") or ""),
            licence=values.get("licence") or "",
            **named,
        )
        transfer.send(client, local, upload["ticket"], progress(screen.say("Sending", "転送中")))
        dataset = client.call("data.dataset.seal", dataset=upload["id"])
    screen.answer(dataset, ())
    return 0


def _words(value: str | list[str]) -> list[str]:
    """`JP,US` or repeated options as a list."""
    items = value.split(",") if isinstance(value, str) else value
    return [item.strip() for item in items if item.strip()]
