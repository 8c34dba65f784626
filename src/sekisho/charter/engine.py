"""The decider: one answer for one request under the charter in force, remembered for as long as it holds.

Order of doubt: no charter, unknown action, a reference that leads nowhere, a value no charter can speak of, the
floor, then Cedar's `Allow and no errors`. Each doubt is a no with a rule of its own.

A decision is constant between breakpoints (each moment in the slice, give or take each duration of the policies),
so it is remembered per slice and interval. Caches follow facts versions: two states of the database, also one that
is rolled back later, must never share a version.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sekisho.charter import explain, rules, tables
from sekisho.charter.compiled import NO_CHARTER, Charter, document, document_digest
from sekisho.charter.convert import encoder, misfit
from sekisho.charter.judge import UNFIT, ask, judge, prepare, question
from sekisho.charter.lru import Lru
from sekisho.charter.worlds import Expiry, World, Worlds
from sekisho.kernel.facts import SYSTEM, Decision, EntitySource, Request, Sentence
from sekisho.kernel.tx import Tx

GENESIS_ACTION = "identity.genesis"
"""The one thing that can happen without a charter: it brings the first one."""

_compiled: Lru[str, Charter] = Lru(16)
"""By digest, for every engine of this process: a charter depends on its two texts alone."""


class _Slot(msgspec.Struct, frozen=True):
    """What is remembered of one slice: its bytes, breakpoints, and the decision of each interval asked about.

    `points` is None when there are no breakpoints to rely on. `results` is shared by threads, which only ever add
    the same answer twice.
    """

    body: bytes
    points: tuple[int, ...] | None
    results: dict[tuple[int, bool], Decision]


class CharterEngine:
    """Implements the kernel's Decider. Made once by the wiring; shared by all threads."""

    def __init__(
        self,
        sources: Sequence[EntitySource],
        *,
        expiries: Sequence[Expiry] = (),
        memo_slices: int = 16_384,
    ) -> None:
        """`sources` own the slow entities, `expiries` tell when a fact of theirs will be over.

        `memo_slices` bounds what is remembered, about 3 kB each.
        """
        self._worlds = Worlds(sources, expiries=expiries)
        self._active: Lru[int, Charter] = Lru(4)
        self._slots: Lru[tuple[str, str], _Slot] = Lru(memo_slices)
        self._stubs: Lru[str, bytes] = Lru(1024)

    def decide(self, tx: Tx, request: Request) -> Decision:
        """Answer under the charter in force at the transaction's snapshot; every doubt is a no."""
        charter = self.active(tx)
        if charter is None:
            return self._without_charter(request)
        return self.decide_under(charter, self._worlds.at(tx, request.now_ms), request)

    def explain(self, tx: Tx, request: Request, decision: Decision) -> tuple[Sentence, ...]:
        """One sentence per rule of a denial, most important first; empty for an allowed request."""
        if decision.allowed:
            return ()
        return self.explain_under(self.active(tx), self._worlds.at(tx, request.now_ms), request, decision)

    def facts_body(self, decision: Decision) -> bytes | None:
        """The canonical JSON whose digest is the decision's `facts`; None once forgotten.

        To be asked for in the transaction that writes the record, so that body and record stand or fall together.
        """
        slot = self._slots.get((decision.charter, decision.facts))
        return slot.body if slot else self._stubs.get(decision.facts)

    def active(self, tx: Tx) -> Charter | None:
        """The charter in force, compiled; None before the first activation."""
        version = tx.facts_version()
        charter = self._active.get(version)
        if charter is None:
            row = tables.active(tx)
            if row is None:
                return None
            charter = self.compiled(row["schema_text"], row["policies"])
            self._active.put(version, charter)
        return charter

    def compiled(self, schema: str, policies: str) -> Charter:
        """A charter from its texts, validated once and then remembered by digest."""
        digest = document_digest(document(schema, policies))
        charter = _compiled.get(digest)
        if charter is None:
            charter = Charter(schema, policies)
            _compiled.put(digest, charter)
        return charter

    def world(self, tx: Tx) -> World:
        """The slow entities at the transaction's snapshot."""
        return self._worlds.at(tx)

    def decide_under(
        self, charter: Charter, world: World, request: Request, *, fresh: bool = False
    ) -> Decision:
        """As `decide`, under any charter and world. `fresh` asks Cedar even where the answer is remembered."""
        plan = charter.plan(request.action)
        if plan is None:
            return self._refused(charter.digest, request, rules.CLOSED + "Action")
        try:
            asked = question(charter, world, plan, request)
            body = asked.body()
            key = (charter.digest, document_digest(body))
            slot = None if fresh else self._slots.get(key)
            if slot is not None and slot.points is not None:
                remembered = slot.results.get(rules.interval(slot.points, request.now_ms))
                if remembered is not None:
                    return remembered
            prepared = prepare(charter, asked)
        except UNFIT:
            # Before anything is remembered: a record must never name facts that have no canonical form.
            return self._refused(charter.digest, request, rules.MALFORMED)
        allowed, found = judge(charter, asked, prepared)
        decision = Decision(allowed=allowed, rules=found, charter=key[0], facts=key[1])
        if slot is None:
            slot = _Slot(body, asked.breakpoints(), {})
            self._slots.put(key, slot)
        if slot.points is not None:
            slot.results[rules.interval(slot.points, request.now_ms)] = decision
        return decision

    def explain_under(
        self, charter: Charter | None, world: World, request: Request, decision: Decision
    ) -> tuple[Sentence, ...]:
        """As `explain`, under any charter and world."""
        fault = _fault(charter, world, request) if rules.MALFORMED in decision.rules else ""
        return explain.sentences(charter, world, request, decision.rules, fault=fault)

    def _without_charter(self, request: Request) -> Decision:
        if request.action == GENESIS_ACTION and request.principal.ref == SYSTEM.ref:
            return Decision(
                allowed=True, rules=(rules.GENESIS,), charter=NO_CHARTER, facts=self._stub(request)
            )
        return self._refused(NO_CHARTER, request, rules.NO_CHARTER_RULE)

    def _refused(self, charter: str, request: Request, rule: str) -> Decision:
        return Decision(allowed=False, rules=(rule,), charter=charter, facts=self._stub(request))

    def _stub(self, request: Request) -> str:
        """Facts of a request that no charter can look into: who asked for what, and nothing else."""
        parts = {"principal": request.principal.ref, "resource": request.resource.ref}
        body = encoder.encode({"action": request.action, **parts, "v": 1})
        facts = document_digest(body)
        self._stubs.put(facts, body)
        return facts


def _fault(charter: Charter | None, world: World, request: Request) -> str:
    """What did not fit the schema; worked out again because only an explanation needs it."""
    plan = charter.plan(request.action) if charter else None
    if charter is None or plan is None:
        return ""
    try:
        asked = question(charter, world, plan, request)
        ours = (request.principal, request.resource, *asked.closure.entities.values())
        shapes = charter.shapes.entities
        found = [misfit(one.ref.type, one.attributes, shapes.get(one.ref.type, {})) for one in ours]
        found.append(misfit("context", request.context, plan.action.context))
        answer = ask(asked, prepare(charter, asked))
        text = next(filter(None, found), "") or "; ".join(answer.errors)
    except UNFIT as error:
        text = f"{type(error).__name__} {error}"
    return " ".join(text.split())[:300]
