"""What a landmark is told to measure. It asks with its service account's token; nobody opens a port for it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

TASKS_MAX = 256
PORT_MAX = 65_535

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Bytes32 = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]

_split = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):([1-9][0-9]{0,4})").fullmatch
_label = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?").fullmatch


class Task(msgspec.Struct, frozen=True):
    """One measurement to make now.

    `target` is a site's id, or the name of another landmark; whoever answers at `address` (UDP, `host:port`) must hold
    `public_key` (Ed25519, base64url). The session carries `nonce` (32 bytes, base64url). The transcript goes back under
    `request` within `seconds`.
    """

    request: Name
    kind: Literal["site", "landmark"]
    target: Name
    public_key: Bytes32
    address: Annotated[str, Meta(max_length=300)]
    nonce: Bytes32
    seconds: Annotated[int, Meta(ge=0)]


def host_and_port(address: str) -> tuple[str, int]:
    """Host and port of `host:port`: a name, an IPv4 address, or an IPv6 address in brackets; ValueError for others.

    What passes here no resolver and no socket refuses by anything but an OSError.
    """
    found = _split(address)
    if found is None or int(found[3]) > PORT_MAX:
        raise ValueError("an address is host:port")
    if found[1] is not None:
        return str(ipaddress.IPv6Address(found[1])), int(found[3])
    if not all(map(_label, found[2].removesuffix(".").split("."))):
        raise ValueError("an address is host:port")
    return found[2], int(found[3])
