"""The gate against the bare driver: one command against one durable commit, 64 callers against bulk inserts.

Everything around the gate is real: the shipped charter under Cedar, the ledger, identity, a capability with one table.
The raw side inserts the very rows that commands left, columns and indexes included, into a second database of the same
kind and durability, through the driver alone. A decision is fresh where the job's labels were never seen before: then
the facts it rests on are new too, and their row is among those that are written.
"""

from __future__ import annotations

import functools
import itertools
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import msgspec
import psycopg

from benchmarks.harness import KINDS, Goal, durable, goal, percentile, report, seconds
from sekisho import identity, ledger
from sekisho.app import MODULES, Control, Recorder, initialise, opened
from sekisho.compute import SubmitJob
from sekisho.kernel import config
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.db import open_database
from sekisho.kernel.errors import BusyError
from sekisho.kernel.facts import Actor, Entity, Ref, Target
from sekisho.kernel.gate import Gate
from sekisho.kernel.migrate import migrate
from sekisho.kernel.tx import Row, Tx
from tests.journeys.world import founding

CALLERS = 64
EACH = {"sqlite": 24, "postgres": 12}
"""Commands of each of the 64 callers in one round."""
SINGLE, ROUNDS, WARM_UP = 120, 5, 1
SCHEMA = (
    "create table bench_notes (id text primary key, owner text not null, body text not null,"
    " amount bigint not null, record_id text not null);"
)


def _target(tx: Tx, principal: Entity, asked: SubmitJob) -> Target:
    """The charter is asked what it is asked of every job; the name of the workdir is the one label."""
    del tx
    owner = principal.attributes["org"]
    attributes = {
        "owner": owner,
        "level": 1,
        "labels": frozenset({asked.workdir}),
        "residency": frozenset({"JP"}),
    }
    return Target(resource=Entity(Ref("Job", asked.file), attributes), stream=f"notes-{len(asked.file) % 7}")


def _put(ctx: Ctx, asked: SubmitJob) -> str:
    row = ctx.tx.one(
        "insert into bench_notes (id, owner, body, amount, record_id)"
        " values (:id, :owner, :body, 1, :record_id)",
        id=asked.file,
        owner=ctx.actor.ref.id,
        body="a note of a hundred characters " * 3,
    )
    return str(row["id"]) if row else ""


class Bench:
    """A gate with a capability of one table behind the action of submitting a job, and an engineer who calls it."""

    def __init__(self, control: Control, engineer: str) -> None:
        log = ledger.Ledger(control.log_keys.stream_key)
        self.database = control.database
        self.database.script(SCHEMA, lambda _tx: None)
        self.database.reload_keys()
        self.engineer = Actor(Ref("Service", engineer))
        self._numbers = itertools.count()
        self.gate = Gate(
            control.database,
            clock=control.clock,
            decider=control.engine,
            principals=identity.IdentityPrincipals(control.clock),
            recorder=Recorder(log, control.engine),
            handlers=(Handler(SubmitJob, _target, _put),),
        )

    def call(self, *, fresh: bool) -> str:
        """One command with an idempotency key; answers the id of its note."""
        name = f"note_{next(self._numbers):010}"
        asked = SubmitJob(file=name, workdir=name if fresh else "seen")
        while True:
            try:
                self.gate.perform(self.engineer, asked, idempotency_key=name)
            except BusyError:
                continue
            return name

    def many(self, each: int, *, fresh: bool, callers: int = CALLERS) -> list[str]:
        """So many threads, each calling one after the other; one alone is this thread."""
        if callers == 1:
            return self._several(each, 0, fresh=fresh)
        with ThreadPoolExecutor(callers) as threads:
            work = functools.partial(self._several, each, fresh=fresh)
            return [name for names in threads.map(work, range(callers)) for name in names]

    def _several(self, each: int, _caller: int, *, fresh: bool) -> list[str]:
        return [self.call(fresh=fresh) for _ in range(each)]

    def written(self, names: Sequence[str], *, fresh: bool) -> list[dict[str, list[Row]]]:
        """For each command, the rows it left, by table; new facts only of a fresh decision."""
        return self.database.read(lambda tx: [_rows_of(tx, name, fresh=fresh) for name in names])


def _rows_of(tx: Tx, name: str, *, fresh: bool) -> dict[str, list[Row]]:
    note = tx.all("select * from bench_notes where id = :id", id=name)
    record = note[0]["record_id"]
    bodies = tx.all("select * from ledger_bodies where id = :id", id=record)
    facts = msgspec.json.decode(bodies[0]["body"])["facts"] if fresh else ""
    return {
        "bench_notes": note,
        "ledger_bodies": bodies,
        "ledger_outbox": tx.all("select id, stream, digest from ledger_outbox where id = :id", id=record),
        "ledger_facts": tx.all("select * from ledger_facts where digest = :digest", digest=facts),
        "kernel_idempotency": tx.all("select * from kernel_idempotency where key = :key", key=name),
    }


class Raw(Protocol):
    """The bare driver on an empty database of the same schema."""

    def commit(self, rows: dict[str, list[Row]]) -> None:
        """Insert everything and commit, durably."""
        ...


class RawSqlite:
    """As durable as the kernel's own: WAL, synchronous FULL."""

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(url.removeprefix("sqlite:"), isolation_level=None)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=full")

    def commit(self, rows: dict[str, list[Row]]) -> None:
        """As `Raw`."""
        self._connection.execute("begin immediate")
        for table, values in rows.items():
            if values:
                self._connection.executemany(_insert(table, tuple(values[0]), ":{}"), values)
        self._connection.execute("commit")


class RawPostgres:
    """The server's own defaults; fsync is on."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def commit(self, rows: dict[str, list[Row]]) -> None:
        """As `Raw`."""
        with self._connection.cursor() as cursor:
            cursor.execute("begin")
            for table, values in rows.items():
                if values:
                    cursor.executemany(_insert(table, tuple(values[0]), "%({})s").encode(), values)
            cursor.execute("commit")


@functools.cache
def _insert(table: str, columns: tuple[str, ...], form: str) -> str:
    values = ", ".join(form.format(column) for column in columns)
    return f"insert into {table} ({', '.join(columns)}) values ({values})"  # noqa: S608 - names of our own tables


RAW: dict[str, Callable[[str], Raw]] = {"sqlite": RawSqlite, "postgres": RawPostgres}


def timed(work: Callable[[], list[str]]) -> tuple[list[str], float]:
    """What the work answers, and how long it took."""
    answers: list[list[str]] = []
    taken = seconds(lambda: answers.append(work()))
    return answers[0], taken


def together(parts: Sequence[dict[str, list[Row]]]) -> dict[str, list[Row]]:
    """The rows of several commands as one commit."""
    return {table: [row for part in parts for row in part[table]] for table in parts[0]}


def single(bench: Bench, raw: Raw, *, fresh: bool) -> tuple[float, float]:
    """Median seconds of one command, and of one commit of the rows that it wrote, in turns."""
    times: list[tuple[float, float]] = []
    for _ in range(SINGLE):
        names, asked = timed(functools.partial(bench.many, 1, fresh=fresh, callers=1))
        rows = bench.written(names, fresh=fresh)[0]
        times.append((asked, seconds(functools.partial(raw.commit, rows))))
    counted = times[SINGLE // 6 :]
    return percentile([ours for ours, _ in counted], 50), percentile([bare for _, bare in counted], 50)


def crowd(bench: Bench, raw: Raw, kind: str, *, fresh: bool) -> tuple[float, float]:
    """Median ratio of commands a second to bulk-inserted commands a second, and the former."""
    ratios: list[float] = []
    rates: list[float] = []
    for number in range(WARM_UP + ROUNDS):
        names, ours = timed(functools.partial(bench.many, EACH[kind], fresh=fresh))
        parts = bench.written(names, fresh=fresh)
        commits = [together(parts[at : at + CALLERS]) for at in range(0, len(parts), CALLERS)]
        bare = sum(seconds(functools.partial(raw.commit, rows)) for rows in commits)
        if number >= WARM_UP:
            ratios.append(bare / ours)
            rates.append(len(names) / ours)
    return percentile(ratios, 50), percentile(rates, 50)


@contextmanager
def installed(url: str, folder: Path) -> Iterator[Bench]:
    """A fresh installation with one engineer."""
    settings = config.Settings(data=str(folder), database=config.Database(url=url))
    genesis = initialise(settings, founding())
    with opened(settings) as control:
        perform = control.gate.perform
        first = control.sign_in.authenticate(genesis.administrators[0].token, "127.0.0.1")
        engineer = perform(first, identity.CreateService(name="bench", organisation=genesis.organisation)).id
        perform(first, identity.GrantRole(account=engineer, role="engineer"))
        while control.advance_log():
            pass
        yield Bench(control, engineer)


def prepared(kind: str, url: str) -> Raw:
    """The bare driver on a second database with the same tables."""
    database = open_database(url)
    migrate(database, MODULES, SystemClock().now_ms())
    database.script(SCHEMA, lambda _tx: None)
    database.close()
    return RAW[kind](url)


def database_goals(kind: str, figures: dict[str, Any]) -> list[Goal]:
    """The three ratios of one database."""
    with durable(kind, 2) as (url, bare_url), TemporaryDirectory() as folder:
        raw = prepared(kind, bare_url)
        with installed(url, Path(folder)) as bench:
            ours, bare = single(bench, raw, fresh=True)
            goals = [goal(f"{kind}_one_command_fresh", ours / bare, "<=", 5.0)]
            figures |= {f"{kind}_command_ms": ours * 1000, f"{kind}_commit_ms": bare * 1000}
            for name, fresh, bar in (("memoised", False, 0.10), ("fresh", True, 0.02)):
                ratio, rate = crowd(bench, raw, kind, fresh=fresh)
                goals.append(goal(f"{kind}_64_callers_{name}", ratio, ">=", bar))
                figures[f"{kind}_64_callers_{name}_commands_per_second"] = rate
    return goals


def main() -> int:
    """All goals of the gate."""
    figures: dict[str, Any] = {}
    goals = [each for kind in KINDS for each in database_goals(kind, figures)]
    return report("gate", goals, figures)


if __name__ == "__main__":
    sys.exit(main())
