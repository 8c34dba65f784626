"""A gate whose recorder is the real ledger, over the toy capability, for the tests of this folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sekisho.kernel.clock import Clock
from sekisho.kernel.command import Command
from sekisho.kernel.db import Database, open_database
from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.evidence import Draft
from sekisho.kernel.facts import SYSTEM, Actor, Decision, Entity, Ref, Request, Sentence
from sekisho.kernel.ids import new_id
from sekisho.kernel.proposals import ApproveProposal, Proposed
from sekisho.kernel.tx import Tx
from sekisho.ledger import (
    CheckLedger,
    CheckReport,
    CloseStream,
    KeyFolder,
    Ledger,
    Parts,
    Publisher,
    ReadTiles,
    SequenceBatch,
    ShowRoot,
    SignCheckpoint,
    TimeAuthority,
    Witness,
    handlers,
    sequencer,
)
from sekisho_verify.canonical import encode
from tests.support import toy

ORIGIN = "ledger.example/test"
CHARTER = encode({"v": 1, "schema": "", "policies": "permit (principal, action, resource);"})
CHARTER_DIGEST = "sha256:" + hashlib.sha256(CHARTER).hexdigest()
FACTS = encode({"v": 1, "principal": "anybody"})
FACTS_DIGEST = "sha256:" + hashlib.sha256(FACTS).hexdigest()


def actor(letter: str) -> Actor:
    """A person with an id of the right shape."""
    return Actor(Ref("User", "usr_" + letter * 26))


ANN, BEN, CAT = actor("a"), actor("b"), actor("c")


class Charter:
    """Allows everything but the (actor id, action) pairs in `denied`, under a charter that exists as a file."""

    def __init__(self) -> None:
        self.denied: set[tuple[str, str]] = set()

    def decide(self, tx: Tx, request: Request) -> Decision:
        denied = (request.principal.ref.id, request.action) in self.denied
        rules = ("toy-deny",) if denied else ("toy-allow",)
        return Decision(allowed=not denied, rules=rules, charter=CHARTER_DIGEST, facts=FACTS_DIGEST)

    def explain(self, tx: Tx, request: Request, decision: Decision) -> tuple[Sentence, ...]:
        return () if decision.allowed else (Sentence("toy-deny", "No.", "不可です。"),)


class Things:
    """Toy things stand in for jobs."""

    def subject(self, tx: Tx, kind: str, name: str, asker: Entity) -> Entity:
        if tx.one("select id from toy_things where id = :id", id=name) is None:
            raise NotFoundError(id=name)
        return Entity(Ref(kind, name))


class World(toy.World):
    """The toy world with a ledger, its keys and a folder to publish to."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        holder: str = "control-1",
        *,
        clock: Clock | None = None,
        witnesses: tuple[Witness, ...] = (),
        authorities: tuple[TimeAuthority, ...] = (),
    ) -> None:
        keys = folder / "keys"
        self.keys = KeyFolder(keys, ORIGIN) if keys.exists() else KeyFolder.create(keys, ORIGIN)
        self.ledger = Ledger(self.keys.stream_key)
        self.published = folder / "published"
        self.parts = Parts(self.ledger, self.keys, Things(), holder, self.published, witnesses, authorities)
        self.charter = Charter()
        super().__init__(
            database, decider=self.charter, recorder=self.ledger, more=handlers(self.parts), clock=clock
        )
        database.write(lambda tx: self.ledger.keep_charter(tx, CHARTER_DIGEST, CHARTER))
        database.write(lambda tx: self.ledger.keep_facts(tx, {FACTS_DIGEST: FACTS}))

    def put(self, name: str, amount: int = 0, who: Actor = ANN) -> None:
        self.gate.perform(who, toy.PutThing(id=name, amount=amount))

    def drop(self, name: str, who: Actor = ANN) -> None:
        self.gate.perform(who, toy.DropThing(id=name))

    def close(self, name: str) -> Any:
        return self.gate.perform(SYSTEM, CloseStream(stream=name, resource_type="Job", resource_id=name))

    def together(self, command: Command[Any]) -> Any:
        """Two people do it: Ann proposes, Ben approves."""
        proposed = self.gate.perform(ANN, command)
        assert isinstance(proposed, Proposed)
        return self.gate.perform(BEN, ApproveProposal(proposal=proposed.proposal))

    def sequence(self, *, sign: bool = True) -> int:
        """Until nothing waits; answers how many records got a place."""
        taken = 0
        while batch := self.gate.perform(SYSTEM, SequenceBatch()).taken:
            taken += batch
        if sign:
            self.gate.perform(SYSTEM, SignCheckpoint())
        return taken

    def publisher(self) -> Publisher:
        """A publisher that has passed its start."""
        publisher = Publisher(self.published)
        publisher.start(self.root_at, self.log_keys())
        return publisher

    def publish(self) -> int:
        return self.publisher().advance(self.read_tiles)

    def root_at(self, size: int) -> Any:
        return self.gate.perform(SYSTEM, ShowRoot(size=size))

    def read_tiles(self, size: int) -> Any:
        return self.gate.perform(SYSTEM, ReadTiles(size=size))

    def log_keys(self) -> tuple[str, ...]:
        return self.database.read(lambda tx: sequencer.log_keys(tx, self.keys))

    def check(self) -> CheckReport:
        return self.gate.perform(SYSTEM, CheckLedger())

    def damage(self, sql: str, **params: Any) -> None:
        """Change the database behind everybody's back."""
        self.database.write(lambda tx: tx._executor.execute(_statement(sql), params))


def _statement(sql: str) -> Any:
    from sekisho.kernel.tx import _PARAMETER, Statement, _to_pyformat

    return Statement(
        writes=True,
        table="",
        written="",
        words=frozenset(),
        deletes=False,
        needs_record=False,
        sqlite=sql,
        postgres=_PARAMETER.sub(_to_pyformat, sql),
    )


def codes(report: CheckReport) -> set[str]:
    """The kinds of things found."""
    return {finding.code for finding in report.findings}


def draft(number: int, *, stream: str = "job_x", now_ms: int = toy.START_MS, **changes: Any) -> Draft:
    """A record's draft with everything of the right shape."""
    fields: dict[str, Any] = {
        "id": new_id("rec", now_ms + number),
        "time_ms": now_ms + number,
        "actor": ANN.ref.id,
        "action": "toy.thing.put",
        "resource": Ref("Thing", stream),
        "decision": Decision(allowed=True, rules=("toy-allow",), charter=CHARTER_DIGEST, facts=FACTS_DIGEST),
        "outcome": "done",
        "effects": [],
        "stream": stream,
        "detail": {"number": number},
    }
    return Draft(**fields | changes)


@contextlib.contextmanager
def opened(
    db_url: str,
    folder: Path,
    *,
    clock: Clock | None = None,
    witnesses: tuple[Witness, ...] = (),
    authorities: tuple[TimeAuthority, ...] = (),
) -> Iterator[World]:
    """A world on this database, with its keys and published files in `folder`."""
    database = open_database(db_url)
    try:
        yield World(database, folder, clock=clock, witnesses=witnesses, authorities=authorities)
    finally:
        database.close()
