"""What a ticket opens, written to a folder: as it is stored, or opened where it is encrypted under a key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sekisho_client import transfer
from sekisho_client.client import Client
from sekisho_client.session import Session
from sekisho_client.settings import Settings
from sekisho_wire.packing import SEALED_NAME


def bring(
    session: Session,
    client: Client,
    what: tuple[Mapping[str, Any], str],
    *,
    target: Path,
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """Fetch a ticket's object, which is stored as the named artefact; answers folder, bytes and, if opened, the key.

    With `sealed` among the values nothing is opened. Otherwise as `written`.
    """
    if values.get("sealed"):
        return {"folder": str(target), "size_bytes": transfer.resume(client, what[0], target)}
    file, tell = str(values.get("token_file") or ""), session.screen.progress
    return written(client, what, target, settings=session.settings, token_file=file, tell=tell)


def written(
    client: Client,
    what: tuple[Mapping[str, Any], str],
    target: Path,
    *,
    settings: Settings,
    token_file: str = "",
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """As `bring`, for a program of somebody's own; `tell` gets what a person should hear of a stand-in.

    Refused as `opening.opened`, before a byte is fetched where that can be told.
    """
    ticket, artefact = what
    stored: Mapping[str, Any] = {}
    if [one.path for one in transfer.listed(client, ticket)] == [SEALED_NAME]:
        stored = client.call("data.artefact.show", artefact=artefact)
    if not stored.get("envelope"):
        return {"folder": str(target), "size_bytes": transfer.resume(client, ticket, target)}
    from sekisho_client import opening, sealing  # noqa: PLC0415 - slow to load, and needed only to decrypt

    custodian = sealing.Custodian(settings.custodian, sealing.token(token_file))
    opening.check_free(target)
    key = client.call("data.key.show", key=stored["key"])
    sealing.address_of(key, custodian)
    if key["stand_in"]:
        tell(sealing.warning(key["name"], settings.language))
    with opening.draft(target) as folder:
        transfer.resume(client, ticket, folder / opening.FETCHED)
        size_bytes = opening.opened(
            folder / opening.FETCHED, target, stored=stored, key=key, custodian=custodian
        )
    return {"folder": str(target), "size_bytes": size_bytes, "key": key["name"]}
