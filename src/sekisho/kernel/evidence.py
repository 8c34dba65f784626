"""What the gate hands to the ledger: the draft of a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from sekisho.kernel.facts import Decision, Ref
from sekisho.kernel.tx import Effect, Tx

Outcome: TypeAlias = Literal["done", "denied", "failed", "proposed"]

Evidence: TypeAlias = "str | int | bool | list[Evidence] | Mapping[str, Evidence]"
"""What a record's `detail` may hold: the canonical subset, with ASCII keys."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A record before the ledger gives it salt and place. `stream` is the plain name; records carry a pseudonym."""

    id: str
    time_ms: int
    actor: str
    approvers: tuple[str, ...] = ()
    action: str
    resource: Ref
    decision: Decision
    outcome: Outcome
    effects: list[Effect]
    stream: str
    detail: Mapping[str, Evidence] = {}


class Recorder(Protocol):
    """The ledger as the gate sees it. `app.py` plugs it in."""

    def append(self, tx: Tx, *drafts: Draft) -> None:
        """Store the records in this transaction, in this order; they get their places in the log after the commit."""
        ...

    def known(self, tx: Tx, record_id: str) -> bool:
        """Whether a record with this id was committed."""
        ...
