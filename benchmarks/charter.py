"""Decisions per second against Cedar itself with everything prepared: policies, all entities and the schema parsed.

One charter of 60 policies over the program's whole schema, 1,000 slow entities, one engineer, and jobs that have
never been seen: for the fresh goal each differs in its labels, so that nothing can be remembered; for the memoised
goal each differs in its id alone, and the slice is read and hashed every time.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import cedarpy
import msgspec

import sekisho.app  # noqa: F401 - registers every command, so that the schema is the program's own
from benchmarks.harness import goal, paired, report
from sekisho import charter
from sekisho.charter import tables
from sekisho.charter.convert import cedar_entity, cedar_moment, cedar_value, encoder
from sekisho.charter.engine import CharterEngine
from sekisho.kernel.db import Database, open_database
from sekisho.kernel.facts import Entity, Request
from sekisho.kernel.migrate import migrate
from sekisho.kernel.tx import Tx
from tests.charter import yard

POLICIES, ENTITIES = 60, 1_000
ROUNDS, DECISIONS = 15, 400
ACTION = "processing.any"


def policies() -> str:
    """The shipped charter, a permit for the abstract action, and more forbids of its kind up to 60 policies."""
    text = yard.JAPAN + (
        '@id("P20-any") permit (principal, action in Action::"processing", resource)'
        ' when { principal has roles && principal.roles.contains("engineer") && resource.owner == principal.org };'
    )
    missing = POLICIES - text.count("@id(")
    more = (
        f'@id("C09-more-{number}") forbid (principal, action in Action::"processing", resource)'
        f' when {{ resource.level >= {number % 3 + 2} && resource.labels.contains("kept-{number}") }}'
        f' unless {{ context.site.operator.certs.contains("cert-{number}") }};'
        for number in range(missing)
    )
    return text + "\n".join(more)


class Slow:
    """The thousand entities: the federation of the tests, filled up with organisations."""

    def __init__(self) -> None:
        """Made once; every transaction reads the same."""
        self.all = [*yard.SLOW]
        self.all += [yard.org(f"org-{number}") for number in range(ENTITIES - len(self.all))]

    def entities(self, tx: Tx) -> Iterator[Entity]:
        """All of them."""
        del tx
        return iter(self.all)


def request(job: Entity) -> Request:
    """May this job be processed at a good site: yes, after every rule was looked at."""
    return yard.ask(
        "mio", ACTION, job, **yard.at("ishikari-1", "k-north-hsm"), egress="none", egress_attested=True
    )


def install(database: Database, text: str) -> str:
    """Put the charter in force, past the gate; answers its schema."""
    schema = charter.schema_text(charter.program_specs())

    def work(tx: Tx) -> None:
        with tx.claimed_by("rec_bench"):
            tables.insert(
                tx,
                version="chv_bench",
                digest="sha256:bench",
                policies=text,
                schema=schema,
                state="active",
                drafted_by="bench",
                drafted_ms=0,
                activated_ms=0,
            )

    database.write(work)
    return schema


def prepared(schema: str, text: str, slow: Slow) -> Callable[[], None]:
    """Cedar alone, its four inputs parsed beforehand; the request's context is a dict, as its users write it."""
    job = yard.data("Job", "job-known", "ministry", 2)
    handle = cedarpy.Schema.from_json_str(schema)
    shapes = charter.CharterEngine([]).compiled(schema, text).shapes
    everything = [*slow.all, yard.PEOPLE["mio"], job]
    unique = {entity.ref: entity for entity in everything}
    known = cedarpy.Entities.from_json_str(
        encoder.encode([cedar_entity(entity, shapes) for entity in unique.values()]).decode(), handle
    )
    rules = cedarpy.PolicySet.from_str(text)
    asked = request(job)
    context = cedar_value(asked.context) | {
        "now": {"__extn": {"fn": "datetime", "arg": cedar_moment(yard.NOW)}}
    }
    question = {
        "principal": {"type": "User", "id": "mio"},
        "action": {"type": "Action", "id": ACTION},
        "resource": {"type": "Job", "id": "job-known"},
        "context": context,
    }

    def work() -> None:
        for _ in range(DECISIONS):
            result = cedarpy.is_authorized(question, rules, known, handle)
            if not result.allowed or result.diagnostics.errors:
                raise RuntimeError(result.diagnostics.errors)

    return work


def decided(engine: CharterEngine, tx: Tx, jobs: Iterator[Entity]) -> Callable[[], None]:
    """The engine, from the kernel's request to its decision."""

    def work() -> None:
        for job in itertools.islice(jobs, DECISIONS):
            if not engine.decide(tx, request(job)).allowed:
                raise RuntimeError(engine.explain(tx, request(job), engine.decide(tx, request(job))))

    return work


def unlike() -> Iterator[Entity]:
    """Jobs that differ in a label nobody asks for, so that each is a slice of its own."""
    for number in itertools.count():
        yield yard.data("Job", f"job-{number}", "ministry", 2, labels=frozenset({f"label-{number}"}))


def alike() -> Iterator[Entity]:
    """Jobs that differ in nothing but their id."""
    for number in itertools.count():
        yield yard.data("Job", f"job-{number}", "ministry", 2)


def main() -> int:
    """Both goals of the charter."""
    text, slow = policies(), Slow()
    if text.count("@id(") != POLICIES or len(slow.all) != ENTITIES:
        raise RuntimeError("the benchmark measures something else than it says")
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:{folder}/charter.db")
        migrate(database, ("kernel", "charter"), 0)
        schema = install(database, text)
        cedar = prepared(schema, text, slow)
        engine = CharterEngine([slow], memo_slices=2_048)

        def measure(tx: Tx) -> tuple[float, float, dict[str, float]]:
            fresh = paired(decided(engine, tx, unlike()), cedar, rounds=ROUNDS, clock=time.thread_time)
            memoised = paired(decided(engine, tx, alike()), cedar, rounds=ROUNDS, clock=time.thread_time)
            figures = {
                "prepared_us": fresh.second_seconds / DECISIONS * 1e6,
                "fresh_us": fresh.first_seconds / DECISIONS * 1e6,
                "memoised_us": memoised.first_seconds / DECISIONS * 1e6,
            }
            return fresh.ratio, memoised.ratio, figures

        fresh, memoised, figures = database.read(measure)
        database.close()
    goals = [
        goal("fresh_against_prepared", fresh, ">=", 0.5),
        goal("memoised_against_prepared", memoised, ">=", 10.0),
    ]
    figures |= {"policies": POLICIES, "entities": ENTITIES, "schema_bytes": len(msgspec.json.encode(schema))}
    return report("charter", goals, figures)


if __name__ == "__main__":
    sys.exit(main())
