"""What background work asks of the ledger about trusted time."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sekisho.kernel.command import Command, Kind, command
from sekisho.ledger.model import Name, Size


class Unstamped(msgspec.Struct, frozen=True):
    """The head to have stamped: its size, -1 for none, and the SHA-256 of what its log signed."""

    size: int
    digest: bytes = b""


@command(
    "ledger.time.offer",
    kind=Kind.PLUMBING,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="時刻証明を求める確認点を読み出します。",
)
class OfferHead(Command[Unstamped]):
    """Read the head that an authority has to stamp, unless it has stamped one since `since_ms`."""

    authority: Name
    since_ms: int


@command(
    "ledger.time.keep",
    kind=Kind.PLUMBING,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="時刻証明を検証して保存します。",
)
class KeepStamp(Command[bool]):
    """Verify an authority's answer against what was asked, and keep its token."""

    authority: Name
    size: Size
    nonce: Annotated[int, Meta(ge=0)]
    answer: bytes
