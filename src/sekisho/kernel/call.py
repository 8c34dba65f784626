"""One command under way, and what became of it where that is neither an answer nor an error."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.kernel import work
from sekisho.kernel.command import Command, Spec, spec_of
from sekisho.kernel.facts import Actor, Decision, Sentence, Target
from sekisho.kernel.ids import new_id


class Call:
    """One command under way. Owned by the thread in `perform`; the last attempt's findings stay on it."""

    def __init__(
        self,
        actor: Actor,
        command: Command[Any],
        now_ms: int,
        *,
        key: str = "",
        held: work.Claim | None = None,
    ) -> None:
        """`key` is the idempotency key, `held` the piece of background work this is."""
        self.actor = actor
        self.command = command
        self.spec: Spec = spec_of(type(command))
        self.key = key
        self.held = held
        self.now_ms = now_ms
        self.record_id = new_id("rec", now_ms)
        self.approvers: tuple[str, ...] = ()
        self.target: Target | None = None
        self.decision: Decision | None = None
        self.level_shown = 0

    def begin_again(self) -> None:
        """Forget what an attempt found that was rolled back."""
        self.spec = spec_of(type(self.command))
        self.approvers = ()
        self.decision = self.target = None


class Denied(msgspec.Struct, frozen=True):
    """The charter said no; that it did is on record under `record` (empty for a read)."""

    sentences: tuple[Sentence, ...]
    rules: tuple[str, ...]
    record: str
    foreign: bool
    """Somebody else's thing: whoever asked is not told that it exists."""


class Stored(msgspec.Struct, frozen=True):
    """The same request was done before, under the same idempotency key."""

    answer: bytes
    """What the same request was answered before."""
