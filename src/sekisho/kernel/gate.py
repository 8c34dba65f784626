"""THE way in: decide, run, record, in one transaction.

HTTP, console and background work find the actor, build a command and call `perform`. Nothing else can obtain a
transaction, so nothing is read or written without a decision, and nothing changes without its evidence.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from sekisho.kernel import denials, proposals, repeats, work
from sekisho.kernel.call import Call, Denied, Stored
from sekisho.kernel.clock import Clock
from sekisho.kernel.command import Command, Kind, Result, spec_of
from sekisho.kernel.context import Ctx, Handler, level_of
from sekisho.kernel.db import Database
from sekisho.kernel.errors import (
    BusyError,
    DeniedError,
    NotFoundError,
    SekishoError,
    StorageFullError,
    UnavailableError,
)
from sekisho.kernel.evidence import Draft, Evidence, Outcome, Recorder
from sekisho.kernel.facts import (
    SYSTEM,
    Actor,
    Decider,
    Decision,
    Entity,
    Principals,
    Ref,
    Request,
    Target,
)
from sekisho.kernel.tx import ReadOnlyError, Row, Tx
from sekisho_wire import problems
from sekisho_wire.problems import Exit, Text

ResultT = TypeVar("ResultT")

SENSITIVE_LEVEL = 2
"""Reading something at this level or above leaves a record in the reader's stream."""

NOT_FOR_YOU = problems.define(
    "auth.required", 401, Exit.SIGN_IN, Text("Sign in first.", "サインインしてください。")
)
OUT_OF_SCOPE = problems.define(
    "auth.scope",
    403,
    Exit.SIGN_IN,
    Text("This token is not good for {action}.", "このトークンでは{action}を実行できません。"),
)
_NOTHING_HAPPENED = (BusyError, UnavailableError, StorageFullError)


class Gate:
    """Made once, by `app.py`; shared by all threads."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        decider: Decider,
        principals: Principals,
        recorder: Recorder,
        handlers: Iterable[Handler[Any]],
    ) -> None:
        """Every command needs exactly one handler; two for one command is a mistake and raises."""
        self._db = database
        self._clock = clock
        self._decider = decider
        self._principals = principals
        self._recorder = recorder
        self._handlers: dict[type[Command[Any]], Handler[Any]] = {}
        for handler in (*proposals.handlers(), *handlers):
            if handler.command in self._handlers:
                message = f"two handlers for {handler.command.__name__}"
                raise ValueError(message)
            self._handlers[handler.command] = handler

    @property
    def commands(self) -> frozenset[type[Command[Any]]]:
        """Every command that somebody handles."""
        return frozenset(self._handlers) | {proposals.ApproveProposal}

    def perform(self, actor: Actor, command: Command[ResultT], *, idempotency_key: str = "") -> ResultT:
        """Decide, run and record `command` for `actor`; answer its result once it is durable.

        A command for two people answers the first with `Proposed`. Raises DeniedError, NotFoundError (also for
        what the actor may not see), InvalidInputError, ConflictError, BusyError, UnavailableError,
        StorageFullError; after each of them nothing has changed.
        """
        return self._perform(Call(actor, command, self._clock.now_ms(), key=idempotency_key))

    def do_work(self) -> bool:
        """Claim one piece of background work and do it as the system; False when nothing is due."""
        now_ms = self._clock.now_ms()
        held = self._db.write(functools.partial(work.claim, now_ms=now_ms))
        if held is None:
            return False
        try:
            self._perform(Call(SYSTEM, held.command, self._clock.now_ms(), held=held))
        except SekishoError as error:
            if error.problem is not work.LEASE_LOST:
                text, later = error.code, self._clock.now_ms()
                self._db.write(lambda tx: work.put_back(tx, held, text, later))
        except Exception as error:
            text, later = type(error).__name__, self._clock.now_ms()
            self._db.write(lambda tx: work.put_back(tx, held, text, later))
            raise
        return True

    def schedule(self, command: Command[Any], *, dedupe: str) -> None:
        """Queue background work that must always be waiting (a reconciler), at a start."""
        now_ms = self._clock.now_ms()
        self._db.write(lambda tx: work.enqueue(tx, command, due_ms=now_ms, dedupe=dedupe, now_ms=now_ms))

    def next_work_ms(self) -> int | None:
        """When the next piece of background work falls due."""
        return self._db.read(work.next_due_ms)

    def _perform(self, call: Call) -> Result:
        self._admit(call)
        match call.spec.kind:
            case Kind.READ:
                return self._read(call)
            case Kind.PLUMBING:
                return self._plumbing(call)
            case Kind.RECORDED:
                return self._recorded(call)

    def _admit(self, call: Call) -> None:
        """Refuse actors of the wrong type and tokens of too narrow a scope before anything is loaded."""
        spec, actor = call.spec, call.actor
        if actor.ref.type not in spec.principals:
            raise SekishoError(NOT_FOR_YOU) if actor.ref.type == "Anonymous" else NotFoundError(id=spec.name)
        if actor.scopes is not None and not any(
            spec.name == scope or spec.name.startswith(scope + ".") for scope in actor.scopes
        ):
            raise SekishoError(OUT_OF_SCOPE, action=spec.name)

    def _plumbing(self, call: Call) -> Result:
        work_on = functools.partial(self._plumb, call)
        if call.spec.rarely_writes:
            with contextlib.suppress(ReadOnlyError):
                return self._db.read(work_on)
        return self._db.write(work_on, contention=self._turn(call))

    def _plumb(self, call: Call, tx: Tx) -> Result:
        handler = self._handlers[type(call.command)]
        principal = self._principals.principal(tx, call.actor) or Entity(call.actor.ref)
        target = handler.target(tx, principal, call.command)
        decision = Decision(allowed=True, rules=("plumbing",), charter="", facts="")
        return handler.run(self._ctx(call, tx, (principal, target, decision)), call.command)

    def _read(self, call: Call) -> Result:
        def work_on(tx: Tx) -> Result:
            principal, target, decision = self._decide(call, tx)
            if not decision.allowed:
                return self._refusal(call, tx, principal)
            ctx = self._ctx(call, tx, (principal, target, decision))
            answer = self._handlers[type(call.command)].run(ctx, call.command)
            call.level_shown = max(ctx.level_shown, level_of(target.resource))
            return answer

        result = self._db.read(work_on)
        if isinstance(result, Denied):
            self._refuse(call, result)
        if call.level_shown >= SENSITIVE_LEVEL:
            self._db.write(functools.partial(self._append, call, outcome="done", stream=call.actor.ref.id))
        return result

    def _recorded(self, call: Call) -> Result:
        """Do it at once; only what does not go through may have been done before.

        Looking for a stored answer first would cost every command what a repeat alone needs, and inside the
        transaction it would put every reader of a key in the way of the writers of its neighbours.
        """
        try:
            self._prepare(call)
            result = self._db.write(
                functools.partial(self._attempt, call),
                contention=self._turn(call),
                committed=lambda tx: self._recorder.known(tx, call.record_id),
            )
        except _NOTHING_HAPPENED:
            raise
        except Exception as error:
            stored = self._db.read(functools.partial(_stored, call)) if call.key else None
            if stored is not None:
                return _repeat(call, stored)
            self._record_failure(call, error)
            raise
        if isinstance(result, Stored):
            return _repeat(call, result.answer)
        if isinstance(result, Denied):
            self._refuse(call, result)
        return result

    def _turn(self, call: Call) -> str:
        """What callers of this command take turns for; nothing for most."""
        handler = self._handlers.get(type(call.command))
        return handler.contention(call.command) if handler and handler.contention else ""

    def _prepare(self, call: Call) -> None:
        """Let the handler do its slow work on a reader, while other callers write."""
        handler = self._handlers.get(type(call.command))
        prepare = handler.prepare if handler else None
        if prepare is not None:
            self._db.read(lambda tx: prepare(tx, self._principal(call, tx), call.command))

    def _attempt(self, call: Call, tx: Tx) -> Result:
        """One try of a recorded command inside a write transaction; may run again after a rollback."""
        call.begin_again()
        if isinstance(call.command, proposals.ApproveProposal):
            row = proposals.find(tx, call.command.proposal)
            if row is None:
                # Asked only so that the try is on record: one for what is done already looks like any other.
                self._may_approve(call, tx, self._principal(call, tx))
                raise NotFoundError(id=call.command.proposal)
            approve = self._approve if row["approvers"] is None else self._approve_named
            return approve(call, tx, row, call.command)
        principal, target, decision = self._decide(call, tx)
        if not decision.allowed:
            # A repeat of something done is answered from memory, whatever became of its target since.
            stored = _stored(call, tx)
            if call.held is not None:
                # A charter that knows no such action yet denies it: the work waits for one that does.
                work.put_back(tx, call.held, "denied", call.now_ms)
            return self._deny(call, tx, principal) if stored is None else Stored(stored)
        if call.held is not None:
            work.finish(tx, call.held)
        ctx = self._ctx(call, tx, (principal, target, decision))
        with tx.claimed_by(call.record_id):
            if call.spec.two_people and not call.approvers:
                consent = self._handlers[type(call.command)].consent
                result: Any = proposals.propose(ctx, call.spec, call.command, consent)
                self._append(call, tx, outcome="proposed", ctx=ctx)
            else:
                result = self._run(call, tx, ctx)
        if call.key:
            repeats.keep(ctx, call.key, call.command, msgspec.json.encode(result))
        return result

    def _run(self, call: Call, tx: Tx, ctx: Ctx) -> Result:
        result = self._handlers[type(call.command)].run(ctx, call.command)
        if call.spec.changes_facts:
            tx.move_facts()
        drafts = [msgspec.structs.replace(row, effects=tx.effects(row.id)) for row in ctx.rows]
        # A round of the system that found nothing to do, or an agent's message that came twice, leaves no record.
        person = call.actor.ref.type not in {"System", "Agent"}
        if person or ctx.rows or ctx.evidence or tx.effects(call.record_id):
            drafts.append(self._draft(call, tx, outcome="done", ctx=ctx))
        self._recorder.append(tx, *drafts)
        return result

    def _approve(self, call: Call, tx: Tx, row: Row, approval: proposals.ApproveProposal) -> Result:
        """The second person: the charter must allow the proposed command to both."""
        proposals.check(row, call.actor.ref.id, call.now_ms)
        if approval.binding and approval.binding != row["binding"]:
            raise SekishoError(proposals.CHANGED)
        inner = proposals.inner_command(row)
        both = Call(call.actor, inner, call.now_ms)
        both.record_id, both.approvers = call.record_id, (row["proposer"], call.actor.ref.id)
        self._admit(both)
        proposer = Actor(msgspec.structs.replace(call.actor.ref, id=row["proposer"]))
        for actor in (proposer, call.actor):
            both.actor = actor
            principal, target, decision = self._decide(both, tx)
            if not decision.allowed:
                return self._deny(both, tx, principal)
        call.spec, call.target, call.decision, call.approvers = (
            both.spec,
            both.target,
            both.decision,
            both.approvers,
        )
        ctx = self._ctx(both, tx, (principal, target, decision))
        with tx.claimed_by(call.record_id):
            proposals.settle(ctx, row)
            answer = msgspec.json.encode(self._run(both, tx, ctx))
        return self._answer_approval(call, ctx, answer)

    def _approve_named(self, call: Call, tx: Tx, row: Row, approval: proposals.ApproveProposal) -> Result:
        """One of the people whom a proposal names says yes; with the last of them it happens.

        Whatever is wrong is found after the charter let this person approve, so that the refusal is on record.
        """
        approver = self._principal(call, tx)
        if not self._may_approve(call, tx, approver).allowed:
            return self._deny(call, tx, approver)
        proposals.check_named(tx, row, approval.binding, call.actor.ref.id, now_ms=call.now_ms)
        asked = Call(
            Actor(Ref(call.actor.ref.type, row["proposer"])), proposals.inner_command(row), call.now_ms
        )
        asked.record_id = call.record_id
        found = self._decide(asked, tx)
        if not found[2].allowed:
            asked.actor = call.actor
            return self._deny(asked, tx, found[0])
        consent = self._handlers[type(asked.command)].consent
        about = proposals.recheck(tx, row, consent, asked=(asked.spec, asked.command), proposer=found[0])
        said_yes = {*proposals.approved_by(tx, row["id"]), call.actor.ref.id}
        waiting = [person for person in proposals.named_in(row) if person not in said_yes]
        own = msgspec.structs.replace(found[1], stream=proposals.named_target(approver).stream)
        if waiting:
            return self._keep_approval(call, tx, (approver, own), (row, about, waiting))
        for person in sorted(said_yes):
            other = self._principals.principal(tx, Actor(Ref(call.actor.ref.type, person)))
            if other is None or not self._may_approve(call, tx, other).allowed:
                return self._deny(call, tx, other or approver)
        return self._release(call, tx, (asked, *found), (row, about, own))

    def _keep_approval(
        self, call: Call, tx: Tx, who: tuple[Entity, Target], what: tuple[Row, dict[str, Evidence], list[str]]
    ) -> Result:
        """Others are still waited for; the record of this yes goes to the approver's own organisation."""
        (approver, own), (row, about, waiting) = who, what
        ctx = self._ctx(call, tx, (approver, own, self._may_approve(call, tx, approver)))
        ctx.detail(**about)
        with tx.claimed_by(call.record_id):
            proposals.keep_approval(ctx, row)
        self._append(call, tx, outcome="done", ctx=ctx)
        return self._answer_approval(call, ctx, msgspec.json.encode(proposals.proposed(row, waiting)))

    def _release(
        self,
        call: Call,
        tx: Tx,
        asked: tuple[Call, Entity, Target, Decision],
        what: tuple[Row, dict[str, Evidence], Target],
    ) -> Result:
        """Nobody is waited for: run the command as its proposer, with everybody on record."""
        (inner, principal, target, decision), (row, about, own) = asked, what
        may = call.decision
        call.spec, call.target, call.decision = inner.spec, target, decision
        call.approvers = (row["proposer"], *proposals.named_in(row))
        inner.actor, inner.approvers = call.actor, call.approvers
        ctx = self._ctx(inner, tx, (principal, target, decision))
        ctx.proposal = row["id"]
        with ctx.row(
            action=proposals.APPROVE,
            resource=target.resource.ref,
            stream=own.stream,
            decision=may,
            detail=about,
        ):
            pass  # the yes itself changes nothing that the command below does not claim
        with tx.claimed_by(call.record_id):
            proposals.settle(ctx, row)
            answer = msgspec.json.encode(self._run(inner, tx, ctx))
        return self._answer_approval(call, ctx, answer)

    def _answer_approval(self, call: Call, ctx: Ctx, answer: bytes) -> Result:
        if call.key:
            repeats.keep(ctx, call.key, call.command, answer)
        return msgspec.Raw(answer)

    def _may_approve(self, call: Call, tx: Tx, approver: Entity) -> Decision:
        """Whether the charter lets somebody approve a proposal that names them, as things stand."""
        call.target = proposals.named_target(approver)
        call.decision = self._decider.decide(tx, self._request(call, approver, call.target))
        return call.decision

    def _principal(self, call: Call, tx: Tx) -> Entity:
        principal = self._principals.principal(tx, call.actor)
        if principal is None:
            raise SekishoError(NOT_FOR_YOU)
        return principal

    def _decide(self, call: Call, tx: Tx) -> tuple[Entity, Target, Decision]:
        principal = self._principal(call, tx)
        handler = self._handlers[type(call.command)]
        call.target = handler.target(tx, principal, call.command)
        call.decision = self._decider.decide(tx, self._request(call, principal, call.target))
        return principal, call.target, call.decision

    def _request(self, call: Call, principal: Entity, target: Target) -> Request:
        return Request(
            principal=principal,
            action=call.spec.name,
            resource=target.resource,
            context=target.context,
            now_ms=call.now_ms,
        )

    def _ctx(self, call: Call, tx: Tx, found: tuple[Entity, Target, Decision]) -> Ctx:
        principal, target, decision = found
        return Ctx(
            tx=tx,
            actor=call.actor,
            principal=principal,
            target=target,
            decision=decision,
            decider=self._decider,
            record_id=call.record_id,
            now_ms=call.now_ms,
            approvers=call.approvers,
        )

    def _deny(self, call: Call, tx: Tx, principal: Entity) -> Denied:
        """Record the denial, once a minute for the same actor, action and rules."""
        refusal = self._refusal(call, tx, principal)
        noted = denials.note(
            tx, (call.actor, call.spec.name, refusal.rules), record_id=call.record_id, now_ms=call.now_ms
        )
        if noted.record == call.record_id:
            # What somebody tried on another organisation's thing is no part of that organisation's evidence.
            stream = call.actor.ref.id if refusal.foreign else ""
            self._append(call, tx, outcome="denied", repeats=noted.repeats, stream=stream)
        return msgspec.structs.replace(refusal, record=noted.record)

    def _refusal(self, call: Call, tx: Tx, principal: Entity) -> Denied:
        if call.decision is None or call.target is None:
            raise SekishoError
        request = self._request(call, principal, call.target)
        sentences = self._decider.explain(tx, request, call.decision)
        return Denied(sentences, call.decision.rules, "", _is_foreign(principal, call.target.resource))

    def _refuse(self, call: Call, denied: Denied) -> None:
        if call.spec.hidden or denied.foreign:
            raise NotFoundError(id=call.target.resource.ref.id if call.target else call.spec.name)
        raise DeniedError(sentences=denied.sentences, rules=denied.rules, record=denied.record)

    def _record_failure(self, call: Call, error: Exception) -> None:
        """A handler raised: its effects are rolled back, the fact that it was allowed and failed stays."""
        if call.decision is None or not call.decision.allowed:
            return
        code = error.code if isinstance(error, SekishoError) else type(error).__name__
        self._db.write(functools.partial(self._append, call, outcome="failed", code=code))

    def _append(
        self,
        call: Call,
        tx: Tx,
        *,
        outcome: Outcome,
        ctx: Ctx | None = None,
        code: str = "",
        repeats: int = 0,
        stream: str = "",
    ) -> None:
        draft = self._draft(call, tx, outcome=outcome, ctx=ctx, code=code, repeats=repeats, stream=stream)
        self._recorder.append(tx, draft)

    def _draft(
        self,
        call: Call,
        tx: Tx,
        *,
        outcome: Outcome,
        ctx: Ctx | None = None,
        code: str = "",
        repeats: int = 0,
        stream: str = "",
    ) -> Draft:
        target = ctx.target if ctx else call.target
        if call.decision is None or target is None:
            raise SekishoError
        detail = dict(ctx.evidence) if ctx else {}
        detail |= ({"code": code} if code else {}) | ({"repeats": repeats} if repeats else {})
        detail |= {"level": call.level_shown} if call.level_shown else {}
        return Draft(
            id=call.record_id,
            time_ms=call.now_ms,
            actor=call.actor.ref.id,
            approvers=call.approvers,
            action=call.spec.name,
            resource=target.resource.ref,
            decision=call.decision,
            outcome=outcome,
            effects=tx.effects(call.record_id),
            stream=stream or target.stream,
            detail=detail,
        )


def _is_foreign(principal: Entity, resource: Entity) -> bool:
    owner = resource.attributes.get("owner")
    return owner is not None and owner != principal.attributes.get("org")


def _stored(call: Call, tx: Tx) -> bytes | None:
    return repeats.find(tx, call.actor, call.key, call.command, now_ms=call.now_ms) if call.key else None


def _repeat(call: Call, stored: bytes) -> Result:
    asked = spec_of(type(call.command))
    return msgspec.json.decode(stored, type=proposals.Proposed if asked.two_people else asked.result)
