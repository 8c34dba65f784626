"""Handlers of what sites' agents say about attempts: one sealed message in, one sealed answer out."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from sekisho.compute import rules, tables, tables_keepsakes
from sekisho.compute.candidates import placing, way_out
from sekisho.compute.egress import EgressNotes, was_heard
from sekisho.compute.endings import forget_attempt
from sekisho.compute.errors import FENCED, LOG_STAYS, UNKNOWN_SECRET, UNSEALED
from sekisho.compute.held import attempt_target, digest_of, held, taken
from sekisho.compute.jobs import entity_of, spec_of_row
from sekisho.compute.leaving import LEVEL_STAYS, PLACE_LEVEL, is_placed, may_leave, may_run
from sekisho.compute.model import AttemptState, JobState, NoteProgress, RenewAttempt, ReportAttempt
from sekisho.compute.releases import key_hold, sealed_with
from sekisho.compute.rounds import settle_job
from sekisho.compute.seals import Seals
from sekisho.compute.submitters import submitter_of, teams_of
from sekisho.data import (
    ArtefactKind,
    ArtefactView,
    Tickets,
    envelope_elsewhere,
    note_copy,
    register_artefact,
)
from sekisho.kernel import heartbeats, lanes
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Entity, Principals, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import away_seconds, find_site
from sekisho_verify import canonical
from sekisho_wire import keying, messages
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
        egress: EgressNotes,
    ) -> None:
        """Everything an answer may need."""
        self._egress = egress
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
            ctx.tx, (envelope.agent, envelope.lane), envelope.seq, digest_of(command.sealed)
        )
        if stored:
            return stored
        row = held(ctx.tx, envelope)
        # Answers with secrets or tickets are made again for a repeat: neither belongs into a table.
        transient = isinstance(envelope.body, (messages.WantSecret, messages.WantTicket))
        body = self._give(ctx, row, envelope) if transient else self._step(ctx, row, command)
        answer = self._signer.answer(envelope, body, ctx.now_ms)
        kept = b"" if transient else answer
        lanes.applied(
            ctx.tx, (envelope.agent, envelope.lane), envelope.seq, (digest_of(command.sealed), kept)
        )
        return answer

    def _step(self, ctx: Ctx, row: Row, command: ReportAttempt) -> Body:
        body = command.envelope.body
        self._beat(ctx, row)
        match body:
            case messages.Accept():
                _check_place(ctx, row, command.envelope)
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
                if _is_bare(ctx, row, body.envelope):
                    raise SekishoError(UNSEALED, attempt=row["id"])
                _register(ctx, row, ("checkpoint", "checkpoint"), body)
            case messages.Ended():
                self._ended(ctx, row, body, command.agent_key)
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
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        _move(
            ctx,
            row,
            rules.Event.STARTED,
            wall=rules.storable(body.wall),
            canaries=body.canaries,
            limits=body.limits,
            image=rules.storable(body.image),
        )
        results = rules.canary_results(body.wall, body.canaries)
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
        site = find_site(ctx.tx, row["site"])
        if job["level"] >= PLACE_LEVEL and not may_run(
            ctx, self._principals, job, site=site, agent=row["agent"]
        ):
            found = keying.REASON_PLACE_UNPROVEN
            _end(ctx, {**row, "state": AttemptState.RUNNING}, rules.Event.FAIL, found)
        elif not rules.same_wall(site.wall, body.wall):
            found = messages.REASON_WALL_MISSING
            _end(ctx, {**row, "state": AttemptState.RUNNING}, rules.Event.FAIL, found)
        elif set(results) != {"closed"} and not self._bears(
            ctx, job, row["site"], wall=body.wall, results=results
        ):
            found = messages.REASON_CANARY_OPEN if "open" in results else messages.REASON_CANARY_UNPROVEN
            _end(ctx, {**row, "state": AttemptState.RUNNING}, rules.Event.FAIL, found)

    def _bears(self, ctx: Ctx, job: Row, site: str, *, wall: str, results: list[str]) -> bool:
        """Whether the charter lets the job run behind the wall as its canaries found it."""
        submitter = submitter_of(ctx.tx, self._principals, job["submitter"])
        if submitter is None:
            return False
        spec = spec_of_row(job)
        egress = way_out(ctx.tx, wall, spec, results)
        asked = placing(ctx, submitter, entity_of(job), site=site, egress=egress, key=spec.key)
        return ctx.decide(asked).allowed

    def _ended(self, ctx: Ctx, row: Row, body: messages.Ended, agent_key: str) -> None:
        """Register outputs under the checked token, then settle the job.

        Nothing comes of a payload that a listener outside has heard of, unless the charter bears an open wall, nor of
        one whose outputs were not sealed as its level asks.
        """
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        event = rules.ending(body.reason, body.exit_status, cancelling=bool(job["cancelling"]))
        if AttemptState(row["state"]) is not AttemptState.RUNNING and event is rules.Event.SUCCEED:
            event = rules.Event.FAIL
        changes, reason = self._egress.take(ctx, row, body, agent_key), body.reason
        outputs: list[messages.OutputReport] = []
        if was_heard(changes) and not self._bears(ctx, job, row["site"], wall=row["wall"], results=["open"]):
            event, reason = rules.Event.FAIL, messages.REASON_CANARY_OPEN
        elif any(_is_bare(ctx, row, output.envelope) for output in body.outputs):
            event, reason = rules.Event.FAIL, keying.REASON_KEY_UNSEALED
        else:
            outputs = body.outputs
            _left_behind(ctx, row, body)
        usage = {
            "seconds": body.seconds,
            "cpu_s": body.cpu_s,
            "max_rss_bytes": body.max_rss_bytes,
            "oom_kills": body.oom_kills,
        }
        changes |= {"usage": usage, "detail": rules.storable(body.detail)}
        if body.exit_status is not None:
            changes["exit_status"] = body.exit_status
        if body.canaries:
            changes["canaries"] = body.canaries
            ctx.detail(canaries=dict(body.canaries), level=job["level"])
        ctx.detail(outputs={output.name: output.object for output in outputs}, reason=reason)
        _end(ctx, row, event, rules.storable(reason), **changes)

    def _give(self, ctx: Ctx, row: Row, envelope: Envelope) -> Body:
        """Hand out a secret that the job names, or a ticket; recorded without the value."""
        taken(row, envelope)
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        body = envelope.body
        if isinstance(body, messages.WantSecret):
            site = find_site(ctx.tx, row["site"])
            if not may_run(ctx, self._principals, job, site=site, agent=envelope.agent):
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
            ctx.tx, (envelope.agent, envelope.lane), envelope.seq, digest_of(command.sealed)
        )
        if stored:
            return stored
        row = held(ctx.tx, envelope)
        taken(row, envelope)
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        patience, reason = self._beat(ctx, row), key_hold(ctx, row, job["level"])
        body = messages.Lease(
            lease_s=patience.lease_seconds,
            cancel=bool(job["cancelling"] or reason),
            reason="" if job["cancelling"] else reason,
            grace_s=spec_of_row(job).grace_s,
        )
        answer = self._signer.answer(envelope, body, ctx.now_ms)
        lanes.applied(
            ctx.tx, (envelope.agent, envelope.lane), envelope.seq, (digest_of(command.sealed), answer)
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
        row = held(ctx.tx, envelope, ended_too=True)
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
            if spec_of_row(job).key:
                raise SekishoError(LOG_STAYS, level=job["level"])
            self._logs.write(row["id"], body.offset, canonical.from_base64url(body.text))
        return self._signer.answer(envelope, messages.Ok(), ctx.now_ms)


def _check_place(ctx: Ctx, row: Row, envelope: Envelope) -> None:
    """An offer is taken only by the agent whose place was shown: problem `attempt.fenced` for another of its site."""
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    if not is_placed(ctx, envelope.agent, find_site(ctx.tx, row["site"]), job["level"]):
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
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    _move(ctx, row, rules.Event.STAGED)
    for item in spec_of_row(job).inputs:
        note_copy(ctx, item.object, row["site"])


def _left_behind(ctx: Ctx, row: Row, body: messages.Ended) -> None:
    """Outputs as artefacts, and a log that was sealed or stays; the caller has looked whether outputs may be such."""
    for output in body.outputs:
        _register(ctx, row, ("output", output.name), output)
    said = body.log
    if said is None or _is_bare(ctx, row, said.envelope):
        return
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    if said.envelope or job["level"] >= LEVEL_STAYS:
        # Nowhere else is it known: what is not sent here can still be exported.
        found = messages.CheckpointSaved(said.digest, said.bytes, said.envelope)
        _register(ctx, row, ("log", "log"), found)


def _end(ctx: Ctx, row: Row, event: rules.Event, reason: str, **changes: Any) -> None:
    state = rules.step(AttemptState(row["state"]), event)
    tables.move_attempt(ctx.tx, row["id"], state, ctx.now_ms, reason=reason, **changes)
    forget_attempt(ctx.tx, row["id"])
    settle_job(ctx, row["job"], state, "refused" if state is AttemptState.REFUSED else reason)


def _is_bare(ctx: Ctx, row: Row, envelope: str) -> bool:
    """Whether something of a job whose traces are sealed is not, or under no key that this attempt was ever given.

    Nor is it sealed where its envelope is another object's, which the next attempt would have opened in its name.
    """
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    if not spec_of_row(job).key:
        return False
    given = sealed_with(ctx.tx, row["id"]) is not None
    return not envelope or not given or envelope_elsewhere(ctx.tx, envelope, row["id"])


def _register(
    ctx: Ctx,
    row: Row,
    what: tuple[ArtefactKind, str],
    stored: messages.OutputReport | messages.CheckpointSaved,
) -> None:
    """An output, training checkpoint or log inherits the job's joined label without anybody typing it."""
    job = tables.find_job(ctx.tx, row["job"], "") or {}
    kind, name = what
    key, version = (sealed_with(ctx.tx, row["id"]) if stored.envelope else None) or ("", 0)
    artefact = ArtefactView(
        id=ctx.new_id("art"),
        name=name,
        kind=kind,
        owner=job["owner"],
        owners=msgspec.json.decode(job["owners"]),
        level=job["level"],
        labels=msgspec.json.decode(job["labels"]),
        residency=msgspec.json.decode(job["residency"]),
        object=stored.object,
        object_kind="file" if kind == "log" and not stored.envelope else "tree",
        size_bytes=stored.size_bytes,
        job=row["job"],
        attempt=row["id"],
        created_ms=ctx.now_ms,
        copies=[],
        record_id=ctx.record_id,
        key=key,
        key_version=version,
        envelope=stored.envelope if key else "",
    )
    register_artefact(ctx, artefact, row["site"])


def _target(tx: Tx, principal: Entity, command: ReportAttempt | RenewAttempt | NoteProgress) -> Target:
    return attempt_target(tx, principal, command.envelope)


def handlers(actions: AttemptActions) -> tuple[Handler[Any], ...]:
    """Every command about attempts."""
    return (
        Handler(ReportAttempt, _target, actions.report),
        Handler(RenewAttempt, _target, actions.renew),
        Handler(NoteProgress, _target, actions.note),
    )
