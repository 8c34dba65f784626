"""The ledger against what it is made of: plain inserts, the mean wait, bare hashes."""

from __future__ import annotations

import contextlib
import functools
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec

from benchmarks.harness import KINDS, Goal, durable, goal, paired, percentile, report, seconds
from sekisho.kernel import tx as kernel_tx
from sekisho.kernel.db import Database, open_database
from sekisho.kernel.errors import BusyError
from sekisho.kernel.evidence import Draft
from sekisho.kernel.facts import Decision, Ref
from sekisho.kernel.ids import new_id
from sekisho.kernel.migrate import migrate
from sekisho.kernel.tx import Row, Tx
from sekisho.ledger import KeyFolder, Ledger, bundle, sequencer, trust_file
from sekisho.ledger.tree import Tree
from sekisho_verify import Exit, parse_trust, verify_bundle
from sekisho_verify.canonical import digest, encode
from sekisho_verify.merkle import Frontier, inclusion_root

NOW_MS = 1_795_000_000_000
STREAMS = 50
WRITERS = 64
LEAVES = 1_000_000
HASHES = 50_000
ROUNDS = 5
SEQUENCE_SECONDS = 0.05
"""How often the sequencer of the waiting test runs."""
CHARTER = encode({"v": 1, "schema": "", "policies": "permit (principal, action, resource);"})
# The permanent tables of the log without the log: the same columns under the same keys. `plain_rows` has nothing
# but a primary key: the least that could be called an insert of these bytes.
_PLAIN = """
create table plain_bodies (id text primary key, body bytea not null);
create table plain_entries (log_index bigint primary key, number bigint not null, id text not null unique,
  stream text not null, stream_seq bigint not null, digest bytea not null, unique (stream, stream_seq));
create table plain_rows (log_index bigint primary key, number bigint not null, id text not null,
  stream text not null, stream_seq bigint not null, digest bytea not null, body bytea not null);
"""
_PLAIN_BODY = "insert into plain_bodies (id, body) values (:id, :body)"
_PLAIN_ENTRY = (
    "insert into plain_entries (log_index, number, id, stream, stream_seq, digest)"
    " values (:log_index, :number, :id, :stream, :stream_seq, :digest)"
)
_PLAIN_ROW = (
    "insert into plain_rows (log_index, number, id, stream, stream_seq, digest, body)"
    " values (:log_index, :number, :id, :stream, :stream_seq, :digest, :body)"
)
_WRITTEN = (
    "select e.log_index, e.number, e.id, e.stream, e.stream_seq, e.digest, b.body from ledger_entries e"
    " join ledger_bodies b on b.id = e.id where e.log_index >= :start"
)


def draft(number: int) -> Draft:
    """A record as a submitted job leaves it: about 850 bytes."""
    job = new_id("job", NOW_MS)
    fact = digest(job.encode())
    return Draft(
        id=new_id("rec", NOW_MS + number),
        time_ms=NOW_MS + number,
        actor="usr_" + "1" * 26,
        action="compute.job.submit",
        resource=Ref("Job", job),
        decision=Decision(
            allowed=True, rules=("P1-engineer", "C03-place"), charter=digest(CHARTER), facts=fact
        ),
        outcome="done",
        effects=[("compute_jobs", f'["{job}"]', fact), ("compute_quotas", '["org_1","gpu"]', fact)],
        stream=f"job_{number % STREAMS}",
        detail={"name": "train", "level": 1},
    )


class Bench:
    """One database with a ledger on it."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        migrate(database, ("kernel", "ledger"), NOW_MS)
        self.keys = KeyFolder.create(folder / "keys", "bench.example")
        self.ledger = Ledger(self.keys.stream_key)
        self.size = 0

    def log(self, drafts: Sequence[Draft]) -> None:
        """Append in one transaction, as bulk work does, then order them: two commits."""
        self.database.write(lambda tx: self.ledger.append(tx, *drafts))
        self.sequence(len(drafts))

    def log_one_by_one(self, drafts: Sequence[Draft]) -> None:
        """As `log`, with a call per record, as a group of commands does."""

        def append(tx: Tx) -> None:
            for each in drafts:
                self.ledger.append(tx, each)

        self.database.write(append)
        self.sequence(len(drafts))

    def sequence(self, batch_max: int = sequencer.BATCH_MAX) -> bool:
        """One batch; whether more waits. Tried again while the database is busy."""
        found = False

        def batch(tx: Tx) -> None:
            nonlocal found
            found = sequencer.sequence(tx, holder="bench", now_ms=NOW_MS, batch_max=batch_max).more

        _until_not_busy(self, batch)
        return found

    def written(self) -> list[Row]:
        """What the last batch came to, as rows for a plain insert."""
        rows = self.database.read(lambda tx: tx.all(_WRITTEN, start=self.size))
        self.size += len(rows)
        return rows


class Appends(NamedTuple):
    """Median ratios plain / ledger of batches, and the ledger's records a second."""

    same_tables: float
    one_table: float
    records_per_second: float


def insert(database: Database, statements: Sequence[str], rows: list[Row]) -> None:
    """The same bytes without order, hashes and tree: one commit."""
    database.write(lambda tx: [tx.run_many(sql, rows) for sql in statements])


def against_plain(
    bench: Bench, plains: tuple[Database, Database], batch: int, *, bulk: bool = True
) -> Appends:
    """Records to tiles in the database, against inserts of what they came to, in databases of their own.

    A database now and then pays at a commit for what earlier ones left in its journal, so that single batches
    cannot be compared: a round is as many as make that even out.
    """
    plain, bare = plains
    sums: list[tuple[float, float, float]] = []
    for number in range(1 + (ROUNDS if bulk else ROUNDS // 2)):
        times: list[tuple[float, float, float]] = []
        for _ in range(max(4, 3000 // batch)):
            drafts = [draft(number * batch + step) for step in range(batch)]
            logged = seconds(functools.partial(bench.log if bulk else bench.log_one_by_one, drafts))
            rows = bench.written()
            inserted = seconds(functools.partial(insert, plain, (_PLAIN_BODY, _PLAIN_ENTRY), rows))
            times.append((logged, inserted, seconds(functools.partial(insert, bare, (_PLAIN_ROW,), rows))))
        sums.append((sum(t[0] for t in times), sum(t[1] for t in times), sum(t[2] for t in times)))
    counted = sums[1:]
    return Appends(
        statistics.median(plain / logged for logged, plain, _ in counted),
        statistics.median(bare / logged for logged, _, bare in counted),
        max(4, 3000 // batch) * batch / statistics.median(logged for logged, _, _ in counted),
    )


def acknowledgements(bench: Bench, each: int) -> tuple[float, float]:
    """64 writers, one record a transaction, the sequencer at work: p99 over the mean wait, and records a second."""
    done = threading.Event()
    waits: list[float] = []

    def order() -> None:
        while not done.wait(SEQUENCE_SECONDS):
            while bench.sequence():
                pass

    def write(writer: int) -> None:
        for number in range(each):
            record = draft(writer * each + number)
            start = time.perf_counter()
            _until_not_busy(bench, functools.partial(_append, bench.ledger, record))
            waits.append(time.perf_counter() - start)

    with ThreadPoolExecutor(WRITERS + 1) as threads:
        ordering = threads.submit(order)
        start = time.perf_counter()
        for writer in [threads.submit(write, number) for number in range(WRITERS)]:
            writer.result()
        throughput = len(waits) / (time.perf_counter() - start)
        done.set()
        ordering.result()
    return percentile(waits, 99) / (WRITERS / throughput), throughput


def _append(ledger: Ledger, record: Draft, tx: Tx) -> None:
    ledger.append(tx, record)


def _until_not_busy(bench: Bench, work: Callable[[Tx], object]) -> None:
    while True:
        try:
            bench.database.write(work)
        except BusyError:
            continue
        return


def _hash_nodes() -> None:
    """The bare loop that every other rate is held against: `HASHES` node hashes."""
    left, right, hasher = bytes(32), bytes(range(32)), sha256
    for _ in range(HASHES):
        hasher(b"\x01" + left + right).digest()


def against_hashes(work: Callable[[], object], count: int) -> tuple[float, float]:
    """How often `work` does its `count` things while the bare loop does a hash, and how often in a second."""
    pair = paired(work, _hash_nodes, rounds=15, warm_up=2, clock=time.thread_time)
    return pair.ratio * count / HASHES, count / pair.first_seconds


def proof_goals(bench: Bench, figures: dict[str, float]) -> list[Goal]:
    """Warm inclusion proofs at a million leaves, and their verification."""
    chance = random.Random(1)
    leaves = [chance.randbytes(32) for _ in range(LEAVES)]
    edge, tree = Frontier(), Tree()
    grown = seconds(lambda: bench.database.write(lambda tx: sequencer.extend(tx, edge, leaves)))
    wanted = [chance.randrange(LEAVES) for _ in range(2000)]

    def prove(tx: Tx) -> tuple[float, float, list[list[bytes]]]:
        with tree.at(tx) as tiles:
            for index in range(0, LEAVES, 256):
                tiles.inclusion_path(index, LEAVES)
            rates = against_hashes(
                lambda: [tiles.inclusion_path(index, LEAVES) for index in wanted], len(wanted)
            )
            return *rates, [tiles.inclusion_path(index, LEAVES) for index in wanted]

    ratio, rate, paths = bench.database.read(prove)
    root = edge.root()

    def verify() -> None:
        for index, path in zip(wanted, paths, strict=True):
            if inclusion_root(leaves[index], index, LEAVES, path) != root:
                sys.exit("a proof does not hold")

    steps, step_rate = against_hashes(verify, sum(map(len, paths)))
    figures |= {"leaves_grown_per_second": LEAVES / grown}
    figures |= {"proofs_per_second": rate, "proof_steps_verified_per_second": step_rate}
    return [goal("inclusion_proofs_warm", ratio, ">=", 0.03), goal("proof_steps_verified", steps, ">=", 0.5)]


def bundle_goal(bench: Bench, figures: dict[str, float]) -> Goal:
    """Records of a whole bundle of a thousand: read, checked and judged."""
    drafts = [draft(number) for number in range(1000)]
    stream, facts = (
        "job_bundle",
        encode({"what": "the one slice of facts that the same question has each time"}),
    )
    decision = msgspec.structs.replace(drafts[0].decision, facts=digest(facts))
    bench.log(
        [
            msgspec.structs.replace(each, stream=stream, resource=Ref("Job", stream), decision=decision)
            for each in drafts
        ]
    )
    bench.database.write(lambda tx: bench.ledger.keep_facts(tx, {digest(facts): facts}))
    bench.database.write(lambda tx: bench.ledger.keep_charter(tx, digest(CHARTER), CHARTER))
    bench.database.write(lambda tx: sequencer.sign(tx, keys=bench.keys, now_ms=NOW_MS))
    tree, name = Tree(), bench.ledger.pseudonym(stream)

    def build(tx: Tx) -> tuple[bytes, bytes]:
        with tree.at(tx) as tiles:
            return bundle.build(tx, tiles, stream=name, subject=stream), trust_file(tx, bench.keys)

    content, trust = bench.database.read(build)
    believed = parse_trust(trust)

    def verify() -> None:
        if verify_bundle(content, believed).exit_code is not Exit.HOLDS:
            sys.exit("the bundle does not hold")

    ratio, figures["bundle_records_per_second"] = against_hashes(verify, len(drafts))
    return goal("bundle_records", ratio, ">=", 0.008)


def database_goals(name: str, figures: dict[str, float]) -> list[Goal]:
    """What depends on the database."""
    goals: list[Goal] = []
    insert_bar, wait_bar = {"sqlite": (0.30, 4.0), "postgres": (0.18, 6.0)}[name]
    with databases(name, 3) as (database, *plains), TemporaryDirectory() as folder:
        bench = Bench(database, Path(folder))
        for each in plains:
            each.script(_PLAIN, lambda _tx: None)
        for batch in (100, 1000):
            found = against_plain(bench, (plains[0], plains[1]), batch)
            goals.append(goal(f"{name}_append_{batch}", found.same_tables, ">=", insert_bar))
            figures[f"{name}_append_{batch}_against_one_table"] = found.one_table
            figures[f"{name}_append_{batch}_records_per_second"] = found.records_per_second
            single = against_plain(bench, (plains[0], plains[1]), batch, bulk=False)
            figures[f"{name}_append_{batch}_one_by_one"] = single.same_tables
        waits = sorted(acknowledgements(bench, 100) for _ in range(3))
        goals.append(goal(f"{name}_p99_wait_64", waits[1][0], "<=", wait_bar))
        figures[f"{name}_64_writers_records_per_second"] = waits[1][1]
    return goals


@contextlib.contextmanager
def databases(name: str, count: int) -> Iterator[list[Database]]:
    """Open, empty databases, closed at the end."""
    with durable(name, count) as urls, contextlib.ExitStack() as stack:
        opened = [open_database(url) for url in urls]
        for each in opened:
            stack.callback(each.close)
        yield opened


def hash_goals(figures: dict[str, float]) -> list[Goal]:
    """What depends on hashing alone."""
    with databases("sqlite", 2) as (first, second), TemporaryDirectory() as folder:
        found = bundle_goal(Bench(first, Path(folder, "bundle")), figures)
        return [*proof_goals(Bench(second, Path(folder, "proofs")), figures), found]


def main() -> int:
    """All goals of the ledger."""
    kernel_tx.PLUMBING = kernel_tx.PLUMBING | {"plain_bodies", "plain_entries", "plain_rows"}
    kernel_tx.analyse.cache_clear()
    figures: dict[str, float] = {}
    goals = [goal for name in KINDS for goal in database_goals(name, figures)]
    goals += hash_goals(figures)
    return report("ledger", goals, figures)


if __name__ == "__main__":
    sys.exit(main())
