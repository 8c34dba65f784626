"""A capability small enough to see through, for tests of the gate and of everything around it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from sekisho.kernel import heartbeats
from sekisho.kernel.clock import Clock, ManualClock
from sekisho.kernel.command import Command, Kind, command
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.db import Database
from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.evidence import Draft, Recorder
from sekisho.kernel.facts import Actor, Decider, Decision, Entity, Principals, Ref, Request, Sentence, Target
from sekisho.kernel.gate import Gate
from sekisho.kernel.tx import Tx

START_MS = 1_795_000_000_000
SCHEMA = (
    "create table if not exists toy_things ("
    " id text primary key, name text not null, amount bigint not null, note text, blob bytea,"
    " record_id text not null);"
)

ANN = Actor(Ref("User", "usr_ann"))
BEN = Actor(Ref("User", "usr_ben"))


class Thing(msgspec.Struct, frozen=True):
    """One toy."""

    id: str
    name: str
    amount: int


@command("toy.thing.put", kind=Kind.RECORDED, resource="Thing", ja="玩具を置きます。")
class PutThing(Command[Thing]):
    """Put a thing or change it."""

    id: str
    name: str = "thing"
    amount: int = 0
    fail: bool = False


@command("toy.thing.drop", kind=Kind.RECORDED, resource="Thing", ja="玩具を捨てます。")
class DropThing(Command[bool]):
    """Drop a thing."""

    id: str


@command("toy.thing.show", kind=Kind.READ, resource="Thing", ja="玩具を見せます。")
class ShowThing(Command[Thing]):
    """Show a thing."""

    id: str


@command(
    "toy.thing.seal", kind=Kind.RECORDED, resource="Thing", two_people=True, ja="2人で玩具を封印します。"
)
class SealThing(Command[Thing]):
    """Seal a thing, with two people."""

    id: str


@command(
    "toy.thing.tick",
    kind=Kind.RECORDED,
    resource="Thing",
    principals=("System",),
    ja="背景処理で1を加えます。",
)
class TickThing(Command[int]):
    """Add one, in the background."""

    id: str
    only_if_below: int = 1 << 40


@command(
    "toy.thing.greet",
    kind=Kind.PLUMBING,
    resource="Thing",
    rarely_writes=True,
    ja="訪れた人を、初めてのときだけ控えます。",
)
class Greet(Command[bool]):
    """Note who comes, the first time only."""

    id: str


class AllowAll:
    """A charter that allows everything but what it was told to deny, and counts how often it was asked."""

    def __init__(self) -> None:
        self.denied: set[tuple[str, str]] = set()
        self.asked = 0

    def decide(self, tx: Tx, request: Request) -> Decision:
        """Deny (actor id, action) pairs in `denied`."""
        tx.facts_version()
        self.asked += 1
        denied = (request.principal.ref.id, request.action) in self.denied
        digest = "sha256:" + hashlib.sha256(request.action.encode()).hexdigest()
        return Decision(
            allowed=not denied,
            rules=("toy-deny",) if denied else ("toy-allow",),
            charter=digest,
            facts=digest,
        )

    def explain(self, tx: Tx, request: Request, decision: Decision) -> tuple[Sentence, ...]:
        """One sentence per denial."""
        del tx, request
        return (
            ()
            if decision.allowed
            else (Sentence("toy-deny", "The toy charter says no.", "玩具の憲章は不可です。"),)
        )


class Anyone:
    """Every actor exists, except those in `gone`."""

    def __init__(self) -> None:
        self.gone: set[str] = set()

    def principal(self, tx: Tx, actor: Actor) -> Entity | None:
        """The bare entity."""
        del tx
        return None if actor.ref.id in self.gone else Entity(actor.ref)


class Memory:
    """A recorder that keeps drafts in a list; not transactional, so look only after `perform` returned."""

    def __init__(self) -> None:
        self.drafts: dict[str, Draft] = {}

    def append(self, tx: Tx, *drafts: Draft) -> None:
        """Keep them."""
        del tx
        self.drafts |= {draft.id: draft for draft in drafts}

    def known(self, tx: Tx, record_id: str) -> bool:
        """Whether it was kept."""
        del tx
        return record_id in self.drafts

    @property
    def last(self) -> Draft:
        """The newest draft."""
        return list(self.drafts.values())[-1]


def _target(tx: Tx, principal: Entity, command: Any) -> Target:
    del tx, principal
    return Target(resource=Entity(Ref("Thing", command.id)), stream=command.id)


def _known_target(tx: Tx, principal: Entity, command: Any) -> Target:
    if tx.one("select id from toy_things where id = :id", id=command.id) is None:
        raise NotFoundError(id=command.id)
    return _target(tx, principal, command)


def _put(ctx: Ctx, command: PutThing) -> Thing:
    row = ctx.tx.one(
        "insert into toy_things (id, name, amount, record_id) values (:id, :name, :amount, :record_id)"
        " on conflict (id) do update set name = :name, amount = :amount, record_id = :record_id",
        id=command.id,
        name=command.name,
        amount=command.amount,
    )
    if command.fail:
        message = "told to fail"
        raise RuntimeError(message)
    return msgspec.convert({k: (row or {})[k] for k in ("id", "name", "amount")}, Thing)


def _drop(ctx: Ctx, command: DropThing) -> bool:
    return ctx.tx.run("delete from toy_things where id = :id", id=command.id) == 1


def _show(ctx: Ctx, command: ShowThing) -> Thing:
    row = ctx.tx.one("select id, name, amount from toy_things where id = :id", id=command.id)
    return msgspec.convert(row, Thing)


def _seal(ctx: Ctx, command: SealThing) -> Thing:
    ctx.tx.run(
        "update toy_things set note = :note, record_id = :record_id where id = :id",
        id=command.id,
        note="sealed",
    )
    return _show(ctx, ShowThing(id=command.id))


def _tick(ctx: Ctx, command: TickThing) -> int:
    return ctx.tx.run(
        "update toy_things set amount = amount + 1, record_id = :record_id where id = :id and amount < :below",
        id=command.id,
        below=command.only_if_below,
    )


def _greet(ctx: Ctx, command: Greet) -> bool:
    if heartbeats.last(ctx.tx, f"toy:{command.id}"):
        return False
    heartbeats.beat(ctx.tx, f"toy:{command.id}", at_ms=ctx.now_ms, until_ms=ctx.now_ms)
    return True


def handlers(
    contention: Callable[[Any], str] | None = None, prepare: Callable[[Tx, Entity, Any], None] | None = None
) -> tuple[Handler[Any], ...]:
    """The toy capability's handlers.

    `contention` names what callers of `PutThing` take turns for, `prepare` is what `DropThing` does first.
    """
    return (
        Handler(PutThing, _target, _put, contention),
        Handler(DropThing, _target, _drop, prepare=prepare),
        Handler(ShowThing, _known_target, _show),
        Handler(SealThing, _known_target, _seal),
        Handler(TickThing, _target, _tick),
        Handler(Greet, _target, _greet),
    )


class World:
    """A gate over a migrated database, with everything around it in reach of the test."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock | None = None,
        decider: Decider | None = None,
        principals: Principals | None = None,
        recorder: Recorder | None = None,
        more: Iterable[Handler[Any]] = (),
        contention: Callable[[Any], str] | None = None,
        prepare: Callable[[Tx, Entity, Any], None] | None = None,
    ) -> None:
        """Plug toys in wherever nothing else is given."""
        self.database = database
        self.clock = clock or ManualClock(START_MS)
        self.decider = decider or AllowAll()
        self.principals = principals or Anyone()
        self.recorder = recorder or Memory()
        database.script(SCHEMA, lambda _tx: None)
        database.reload_keys()
        self.gate = Gate(
            database,
            clock=self.clock,
            decider=self.decider,
            principals=self.principals,
            recorder=self.recorder,
            handlers=(*handlers(contention, prepare), *more),
        )

    def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        """Read past the gate, as only a test may."""
        return self.database.read(lambda tx: tx.all(sql, **params))
