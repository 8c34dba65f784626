"""What a landmark is told to measure. It asks with its service account's token; nobody opens a port for it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

TASKS_MAX = 256


class Task(msgspec.Struct, frozen=True):
    """One measurement to make now.

    `target` is a site's id, or the name of another landmark; whoever answers at `address` (UDP, `host:port`) must hold
    `public_key` (Ed25519, base64url). The session carries `nonce` (32 bytes, base64url). The transcript goes back under
    `request` within `seconds`.
    """

    request: str
    kind: Literal["site", "landmark"]
    target: str
    public_key: str
    address: str
    nonce: str
    seconds: Annotated[int, Meta(ge=0)]
