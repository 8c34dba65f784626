"""What an agent says of an attempt's way out: the part of its last message that becomes the evidence `egress.json`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

DESTINATIONS_MAX = 256
ADDRESSES_MAX = 16
REFUSED_MAX = 64
MECHANISM_NAMESPACE = "network namespace"
"""Nothing leads out of the attempt's own network namespace."""
MECHANISM_PROXY = " + proxy"
"""What the mechanism's name ends in where one proxy of the attempt's own lets listed destinations through."""
MECHANISM_OPEN = "open"
"""No wall: nothing was held back, and nothing was counted."""

_Count = Annotated[int, Meta(ge=0, lt=2**53)]
_Name = Annotated[str, Meta(max_length=300)]


class Reached(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One listed destination (`host:port`), and the addresses its name led to: the first `ADDRESSES_MAX` of them.

    Bytes are those of the payload (`sent`) and those for it (`received`), TLS and all.
    """

    destination: _Name
    connections: _Count
    sent_bytes: _Count
    received_bytes: _Count
    addresses: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=ADDRESSES_MAX)]


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A destination that was asked for and refused, why, and how often."""

    destination: _Name
    reason: Annotated[str, Meta(max_length=64)]
    count: _Count


class EgressReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By which mechanism the way out was held, what was let through, and what was refused.

    `refused` lists the first `REFUSED_MAX` kinds; `refused_count` counts every one.
    """

    mechanism: Annotated[str, Meta(max_length=256)]
    reached: Annotated[list[Reached], Meta(max_length=DESTINATIONS_MAX)] = []
    refused: Annotated[list[Held], Meta(max_length=REFUSED_MAX)] = []
    refused_count: _Count = 0
