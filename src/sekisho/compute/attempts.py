"""Handlers of what sites' agents say about attempts: one sealed message in, one sealed answer out."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import msgspec

from sekisho.compute import rules, tables, tables_keepsakes
from sekisho.compute.candidates import placing
from sekisho.compute.endings import forget_attempt
from sekisho.compute.errors import FENCED, LOG_STAYS, UNKNOWN_SECRET
from sekisho.compute.jobs import entity_of, spec_of_row
from sekisho.compute.leaving import LEVEL_STAYS, may_leave, may_run
from sekisho.compute.model import AttemptState, JobState, NoteProgress, RenewAttempt, ReportAttempt
from sekisho.compute.rounds import settle_job
from sekisho.compute.seals import Seals
from sekisho.compute.submitters import submitter_of, teams_of
from sekisho.data import ArtefactKind, ArtefactView, Tickets, note_copy, register_artefact
from sekisho.kernel import heartbeats, lanes
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Entity, Principals, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import away_seconds, find_site
from sekisho_verify import canonical
from sekisho_wire import messages
from sekisho_wire.messages import Body, Envelope


class Box(Protocol):
    """Opens secrets that were sealed for the database."""

    def open(self, sealed: bytes, name: str) -> bytes:
        """The secret's value."""
        ...


class LogSink(Protocol):
    """Where pieces of logs are written; writing the same piece twice changes nothing."""

    def write(self, attempt: str, offset: int, content: bytes) -> None:
        """Put bytes at an offset."""
        ...


class AttemptActions:
    """The handlers, with the keys and files they use."""

    def __init__(
        self,
        signer: Seals,
        *,
        principals: Principals,
        box: Box,
        tickets: Tickets,
        logs: LogSink,
        patience: rules.Patience,
    ) -> None:
        """Everything an answer may need."""
        self._signer = signer
        self._principals = principals
        self._box = box
        self._tickets = tickets
        self._logs = logs
        self._patience = patience

    def report(self, ctx: Ctx, command: ReportAttempt) -> bytes:
        """Apply one message of the main lane, once."""
        envelope = command.envelope
        stored = lanes.repeated(
            ctx.tx, (envelope.agent, envelope.lane), envelope.seq, _digest(command.sealed)
        )
        if stored:
            return stored
        row = _held(ctx.tx, envelope)
        # Answers with secrets or tickets are made again for a repeat: neither belongs into a table.
        transient = isinstance(envelope.body, (messages.WantSecret, messages.WantTicket))
        body = self._give(ctx, row, envelope) if transient else self._step(ctx, row, command)
        answer = self._signer.answer(envelope, body, ctx.now_ms)
        kept = b"" if transient else answer
        lanes.applied(ctx.tx, (envelope.agent, envelope.lane), envelope.seq, (_digest(command.sealed), kept))
        return answer

    def _step(self, ctx: Ctx, row: Row, command: ReportAttempt) -> Body:
        body = command.envelope.body
        self._beat(ctx, row)
        match body:
            case messages.Accept():
                _move(ctx, row, rules.Event.ACCEPT, agent=command.envelope.agent)
            case messages.Refused():
                _end(
                    ctx,
                    row,
                    rules.Event.REFUSE,
                    rules.storable(body.reason),
                    detail=rules.storable(body.detail),
                )
            case messages.Staged():
                _staged(ctx, row)
            case messages.Started():
                self._started(ctx, row, body)
            case messages.CheckpointSaved():
                _register(ctx, row, ("checkpoint", "checkpoint"), (body.object, body.size_bytes))
            case messages.Ended():
                _ended(ctx, row, body)
            case _:
                raise SekishoError(FENCED, attempt=row["id"], token=command.envelope.token)
        ctx.detail(
            attempt=row["id"],
            event=type(body).__name__.lower(),
            message=canonical.to_base64url(command.sealed.encode()),
            agent_key=command.agent_key,
        )
        return messages.Ok()

    def _started(self, ctx: Ctx, row: Row, body: messages.Started) -> None:
        """The canaries reported. Placement took the wall at its agent's word, so the charter is asked again now.

        A payload behind another wall than the one that was judged has lost what allowed it.
        """
        _move(
            ctx,
            row,
            rules.Event.STARTED,
            wall=rules.storable(body.wall),
            canaries=body.canaries,
            limits=body.limits,
            image=rules.storable(body.image),
        )
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        results = list(body.canaries.values())
        tables.add_event(
            ctx.tx,
            row["job"],
            "wall",
            ctx.now_ms,
            wall=body.wall,
            closed=str(results.count("closed")),
            routes=str(len(results)),
        )
        ctx.detail(canaries=dict(body.canaries), wall=body.wall, level=job["level"])
        judged = find_site(ctx.tx, row["site"]).wall
        if not rules.same_wall(judged, body.wall):
            found = messages.REASON_WALL_MISSING
            _end(ctx, {**row, "state": AttemptState.RUNNING}, rules.Event.FAIL, found)
        elif set(results) != {"closed"} and not self._bears(ctx, job, row["site"], body):
            found = messages.REASON_CANARY_OPEN if "open" in results else messages.REASON_CANARY_UNPROVEN
            _end(ctx, {**row, "state": AttemptState.RUNNING}, rules.Event.FAIL, found)

    def _bears(self, ctx: Ctx, job: Row, site: str, body: messages.Started) -> bool:
        """Whether the charter lets the job run behind the wall as its canaries found it."""
        submitter = submitter_of(ctx.tx, self._principals, job["submitter"])
        egress = rules.egress_word(body.wall, spec_of_row(job).egress, body.canaries.values())
        return (
            submitter is not None
            and ctx.decide(placing(ctx, submitter, entity_of(job), site=site, egress=egress)).allowed
        )

    def _give(self, ctx: Ctx, row: Row, envelope: Envelope) -> Body:
        """Hand out a secret that the job names, or a ticket; recorded without the value."""
        _taken(row, envelope)
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        body = envelope.body
        if isinstance(body, messages.WantSecret):
            if not may_run(ctx, self._principals, job, find_site(ctx.tx, row["site"])):
                raise SekishoError(FENCED, attempt=row["id"], token=envelope.token)
            value = None
            if body.name in spec_of_row(job).secrets:
                submitter = submitter_of(ctx.tx, self._principals, job["submitter"])
                teams = teams_of(submitter) if submitter else frozenset[str]()
                value = tables_keepsakes.secret_value(ctx.tx, job["owner"], body.name, teams)
            if value is None:
                raise SekishoError(UNKNOWN_SECRET, name=body.name)
            ctx.detail(attempt=row["id"], secret=body.name)
            opened = self._box.open(value, f"{job['owner']}/{body.name}")
            return messages.SecretValue(name=body.name, value=canonical.to_base64url(opened))
        if (
            isinstance(body, messages.WantTicket)
            and body.want == "put"
            and may_leave(ctx, self._principals, job)
        ):
            ctx.detail(attempt=row["id"], object=body.object)
            return messages.Ticket(
                self._tickets.issue("put", body.object, "tree", body.size_bytes, into=row["id"])
            )
        raise SekishoError(FENCED, attempt=row["id"], token=envelope.token)

    def renew(self, ctx: Ctx, command: RenewAttempt) -> bytes:
        """Extend the lease, and tell of a cancel."""
        envelope = command.envelope
        stored = lanes.repeated(
            ctx.tx, (envelope.agent, envelope.lane), envelope.seq, _digest(command.sealed)
        )
        if stored:
            return stored
        row = _held(ctx.tx, envelope)
        _taken(row, envelope)
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        patience = self._beat(ctx, row)
        body = messages.Lease(
            lease_s=patience.lease_seconds,
            cancel=bool(job["cancelling"]),
            grace_s=spec_of_row(job).grace_s,
        )
        answer = self._signer.answer(envelope, body, ctx.now_ms)
        lanes.applied(
            ctx.tx, (envelope.agent, envelope.lane), envelope.seq, (_digest(command.sealed), answer)
        )
        return answer

    def _beat(self, ctx: Ctx, row: Row) -> rules.Patience:
        """The attempt was heard: its lease is as long again as its site's absences ask for."""
        patience = self._patience.with_site(away_seconds(ctx.tx, row["site"]))
        heartbeats.beat(
            ctx.tx, f"attempt:{row['id']}", at_ms=ctx.now_ms, until_ms=ctx.now_ms + patience.lease_ms
        )
        return patience

    def note(self, ctx: Ctx, command: NoteProgress) -> bytes:
        """Keep a progress line or a piece of the log; a lost one is not missed."""
        envelope = command.envelope
        row = _held(ctx.tx, envelope, ended_too=True)
        body = envelope.body
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        if not may_leave(ctx, self._principals, job):
            raise SekishoError(LOG_STAYS, level=job["level"])
        if isinstance(body, messages.Progress) and not AttemptState(row["state"]).ended:
            line = msgspec.json.encode(body.line).decode()
            heartbeats.beat(
                ctx.tx, f"progress:{row['job']}", at_ms=ctx.now_ms, until_ms=ctx.now_ms, note=line
            )
        elif isinstance(body, messages.LogChunk):
            self._logs.write(row["id"], body.offset, canonical.from_base64url(body.text))
        return self._signer.answer(envelope, messages.Ok(), ctx.now_ms)


def _digest(sealed: str) -> str:
    return hashlib.sha256(sealed.encode()).hexdigest()


def _held(tx: Tx, envelope: Envelope, *, ended_too: bool = False) -> Row:
    """The attempt, while this agent's site holds it under this token; problem `attempt.fenced` otherwise."""
    row = tables.find_attempt(tx, envelope.attempt)
    if (
        row is None
        or row["token"] != envelope.token
        or row["agent"] not in {"", envelope.agent}
        or (AttemptState(row["state"]).ended and not ended_too)
    ):
        raise SekishoError(FENCED, attempt=envelope.attempt[:64], token=envelope.token)
    return row


def _taken(row: Row, envelope: Envelope) -> None:
    """Nobody holds an attempt that is only offered: problem `attempt.fenced`."""
    if AttemptState(row["state"]) is AttemptState.OFFERED:
        raise SekishoError(FENCED, attempt=row["id"], token=envelope.token)


def _move(ctx: Ctx, row: Row, event: rules.Event, **changes: Any) -> AttemptState:
    state = rules.step(AttemptState(row["state"]), event)
    tables.move_attempt(ctx.tx, row["id"], state, ctx.now_ms, **changes)
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    following = rules.job_after(state, "", job["attempts"], cancelling=bool(job["cancelling"]))
    if following.value != job["state"]:
        tables.move_job(ctx.tx, row["job"], following, ctx.now_ms)
        if following is not JobState.STAGING:
            tables.add_event(ctx.tx, row["job"], following.value, ctx.now_ms)
    return state


def _staged(ctx: Ctx, row: Row) -> None:
    """The inputs lie at the site now."""
    _move(ctx, row, rules.Event.STAGED)
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    for item in spec_of_row(job).inputs:
        note_copy(ctx, item.object, row["site"])


def _ended(ctx: Ctx, row: Row, body: messages.Ended) -> None:
    """Register outputs under the checked token, then settle the job."""
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    event = rules.ending(body.reason, body.exit_status, cancelling=bool(job["cancelling"]))
    if AttemptState(row["state"]) is not AttemptState.RUNNING and event is rules.Event.SUCCEED:
        event = rules.Event.FAIL
    for output in body.outputs:
        _register(ctx, row, ("output", output.name), (output.object, output.size_bytes))
    if body.log is not None and job["level"] >= LEVEL_STAYS:
        # Nowhere else is it known: what is not sent here can still be exported.
        _register(ctx, row, ("log", "log"), (body.log.digest, body.log.bytes))
    usage = {
        "seconds": body.seconds,
        "cpu_s": body.cpu_s,
        "max_rss_bytes": body.max_rss_bytes,
        "oom_kills": body.oom_kills,
    }
    changes: dict[str, Any] = {"usage": usage, "detail": rules.storable(body.detail)}
    if body.exit_status is not None:
        changes["exit_status"] = body.exit_status
    if body.canaries:
        changes["canaries"] = body.canaries
        ctx.detail(canaries=dict(body.canaries), level=job["level"])
    ctx.detail(outputs={output.name: output.object for output in body.outputs}, reason=body.reason)
    _end(ctx, row, event, rules.storable(body.reason), **changes)


def _end(ctx: Ctx, row: Row, event: rules.Event, reason: str, **changes: Any) -> None:
    state = rules.step(AttemptState(row["state"]), event)
    tables.move_attempt(ctx.tx, row["id"], state, ctx.now_ms, reason=reason, **changes)
    forget_attempt(ctx.tx, row["id"])
    settle_job(ctx, row["job"], state, "refused" if state is AttemptState.REFUSED else reason)


def _register(ctx: Ctx, row: Row, what: tuple[ArtefactKind, str], stored: tuple[str, int]) -> None:
    """An output, training checkpoint or log inherits the job's joined label without anybody typing it."""
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    kind, name = what
    digest, size_bytes = stored
    artefact = ArtefactView(
        id=ctx.new_id("art"),
        name=name,
        kind=kind,
        owner=job["owner"],
        owners=msgspec.json.decode(job["owners"]),
        level=job["level"],
        labels=msgspec.json.decode(job["labels"]),
        residency=msgspec.json.decode(job["residency"]),
        object=digest,
        object_kind="file" if kind == "log" else "tree",
        size_bytes=size_bytes,
        job=row["job"],
        attempt=row["id"],
        created_ms=ctx.now_ms,
        copies=[],
        record_id=ctx.record_id,
    )
    register_artefact(ctx, artefact, row["site"])


def _target(tx: Tx, principal: Entity, command: ReportAttempt | RenewAttempt | NoteProgress) -> Target:
    """The attempt at its site; a message under a stale token is fenced before anything is decided."""
    row = tables.find_attempt(tx, command.envelope.attempt)
    site = principal.attributes.get("site")
    if row is None or not isinstance(site, Ref) or site.id != row["site"]:
        raise SekishoError(FENCED, attempt=command.envelope.attempt[:64], token=command.envelope.token)
    job = tables.find_job(tx, row["job"], "") or {}
    entity = Entity(
        Ref("Attempt", row["id"]), {"site": Ref("Site", row["site"]), "owner": Ref("Org", job["owner"])}
    )
    return Target(resource=entity, stream=row["job"])


def handlers(actions: AttemptActions) -> tuple[Handler[Any], ...]:
    """Every command about attempts."""
    return (
        Handler(ReportAttempt, _target, actions.report),
        Handler(RenewAttempt, _target, actions.renew),
        Handler(NoteProgress, _target, actions.note),
    )
