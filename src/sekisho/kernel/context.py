"""What a handler is given, and how a capability names its handlers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from sekisho.kernel import work
from sekisho.kernel.command import Command, spec_of
from sekisho.kernel.errors import ConflictError
from sekisho.kernel.evidence import Draft, Evidence, Outcome
from sekisho.kernel.facts import Actor, Decider, Decision, Entity, Ref, Request, Sentence, Target
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Tx

CommandT = TypeVar("CommandT", bound=Command[Any])
ItemT = TypeVar("ItemT")


class Consent(msgspec.Struct, Generic[CommandT], frozen=True):
    """Whose yes a command for several people waits for, where it names them itself.

    `named` are their account ids. `check` raises for people who will not do, and is asked again before the command
    runs. `bound` is what exactly they say yes to: once it is another, nobody approved that. A proposal is over after
    `valid_ms`.
    """

    named: Callable[[CommandT], tuple[str, ...]]
    check: Callable[[Tx, Entity, CommandT], None]
    bound: Callable[[Tx, CommandT], Mapping[str, Evidence]]
    valid_ms: int


class Handler(msgspec.Struct, Generic[CommandT], frozen=True):
    """One command's code: what it is about, and what it does.

    `target` loads what the charter is asked about and raises NotFoundError for what does not exist. `run` has
    no outside effect, because a transaction may be tried again. `contention` names a thing that many such
    commands write at once (a quota, a queue). `prepare` does slow work on a reader, before the command waits for
    its turn to write and before anybody asked the charter; it remembers by itself what it found. `consent` names the
    people who approve it; without one, any second person does whom the charter lets do the same.
    """

    command: type[CommandT]
    target: Callable[[Tx, Entity, CommandT], Target]
    run: Callable[[Ctx, CommandT], Any]
    contention: Callable[[CommandT], str] | None = None
    prepare: Callable[[Tx, Entity, CommandT], None] | None = None
    consent: Consent[CommandT] | None = None


def level_of(resource: Entity) -> int:
    """How sensitive a resource is; 0 for one that has no level."""
    level = resource.attributes.get("level", 0)
    return level if isinstance(level, int) else 0


class Ctx:
    """One command on its way through the gate. Dies with its transaction."""

    def __init__(
        self,
        *,
        tx: Tx,
        actor: Actor,
        principal: Entity,
        target: Target,
        decision: Decision,
        decider: Decider,
        record_id: str,
        now_ms: int,
        approvers: tuple[str, ...] = (),
    ) -> None:
        """Hold what the gate found out; handlers only read it."""
        self.tx = tx
        self.actor = actor
        self.principal = principal
        self.target = target
        self.decision = decision
        self.record_id = record_id
        self.now_ms = now_ms
        self.approvers = approvers
        self.proposal = ""
        self.evidence: dict[str, Evidence] = {}
        self.rows: list[Draft] = []
        self.level_shown = 0
        self._decider = decider

    def detail(self, **values: Evidence) -> None:
        """Add to the record's detail. No names of people, no secrets: the record may be public one day."""
        self.evidence.update(values)

    def into(self, stream: str, resource: Ref) -> None:
        """Put the record into the stream of what this command made, under its name.

        The charter was asked about a thing that had no id yet; the evidence belongs with the thing.
        """
        self.target = msgspec.structs.replace(
            self.target, stream=stream, resource=Entity(resource, self.target.resource.attributes)
        )

    def new_id(self, prefix: str) -> str:
        """A sortable id of this command's time."""
        return new_id(prefix, self.now_ms)

    def later(self, command: Command[Any], *, delay_ms: int = 0, dedupe: str = "") -> None:
        """Do `command` as the system after this commit. With `dedupe`, at most one of that name waits."""
        work.enqueue(self.tx, command, due_ms=self.now_ms + delay_ms, dedupe=dedupe, now_ms=self.now_ms)

    def request(
        self, command: type[Command[Any]] | str, resource: Entity, context: Mapping[str, Any] | None = None
    ) -> Request:
        """A question this actor could ask, about another resource or another action."""
        name = command if isinstance(command, str) else spec_of(command).name
        return Request(
            principal=self.principal,
            action=name,
            resource=resource,
            context=context or {},
            now_ms=self.now_ms,
        )

    def decide(self, request: Request) -> Decision:
        """Ask the charter one more question, inside this transaction."""
        return self._decider.decide(self.tx, request)

    def explain(self, request: Request, decision: Decision) -> tuple[Sentence, ...]:
        """Why a further question was answered no."""
        return self._decider.explain(self.tx, request, decision)

    def allows(self, command: type[Command[Any]], resource: Entity) -> bool:
        """Whether this actor may do `command` (one without context) to `resource`; for filtering lists.

        What is allowed counts as shown: a list with a row of a high level leaves a record as that row alone would.
        """
        allowed = self.decide(self.request(command, resource)).allowed
        if allowed:
            self.level_shown = max(self.level_shown, level_of(resource))
        return allowed

    def page(
        self,
        fetch: Callable[[str, int], list[ItemT]],
        *,
        start: str,
        limit: int,
        key: Callable[[ItemT], str],
        seen: Callable[[ItemT], bool],
    ) -> tuple[list[ItemT], str | None]:
        """Up to `limit` items that the actor may see, and the cursor that continues after them.

        `fetch(after, count)` gives rows in order after a key; `seen` asks the charter for one row, so that the
        rows listed are exactly the rows allowed, however they are spread.
        """
        items: list[ItemT] = []
        after = start
        while True:
            rows = fetch(after, limit)
            for row in rows:
                after = key(row)
                if seen(row):
                    items.append(row)
                    if len(items) == limit:
                        return items, after
            if len(rows) < limit:
                return items, None

    @contextlib.contextmanager
    def row(
        self,
        *,
        action: str,
        resource: Ref,
        stream: str,
        decision: Decision | None = None,
        outcome: Outcome = "done",
        detail: Mapping[str, Evidence] | None = None,
    ) -> Iterator[str]:
        """A record of its own for one row of bulk work; writes inside are its effects. Yields the record's id."""
        record_id = new_id("rec", self.now_ms)
        with self.tx.claimed_by(record_id):
            yield record_id
        self.rows.append(
            Draft(
                id=record_id,
                time_ms=self.now_ms,
                actor=self.actor.ref.id,
                action=action,
                resource=resource,
                decision=decision or self.decision,
                outcome=outcome,
                effects=[],
                stream=stream,
                detail=detail or {},
            )
        )

    def expect(self, condition: object, what: str) -> None:
        """Raise ConflictError naming `what` unless the condition holds."""
        if not condition:
            raise ConflictError(what=what)
