"""Handlers of jobs: submit, plan, list, show, explain, cancel, and their logs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from sekisho.charter import Labels
from sekisho.compute import arrays, candidates, placement, rules, tables, texts, views
from sekisho.compute.endings import cancel_job, mark_cancelling
from sekisho.compute.errors import ENDED, LEVEL_FIVE
from sekisho.compute.model import (
    GROUPS,
    AttemptState,
    CancelJob,
    ExplainJob,
    Explanation,
    JobDetail,
    JobPage,
    JobState,
    JobView,
    ListJobs,
    LogText,
    Plan,
    PlanJob,
    ReadLog,
    ShowJob,
    SubmitJob,
)
from sekisho.compute.model_rounds import CancelMembers, PlaceRound
from sekisho.compute.reach import Arrived, within_reach
from sekisho.compute.snapshot import read_sites
from sekisho.compute.spec import Asker, JobSpec, Resolved, resolve
from sekisho.compute.submitters import teams_of
from sekisho.data import owner_of
from sekisho.kernel import heartbeats
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.evidence import Evidence
from sekisho.kernel.facts import Actor, Entity, Principals, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import all_sites
from sekisho_verify import canonical

LEVEL_MAX = 4
ATTEMPTS_SHOWN = 100
"""The newest: a replica that cannot stay up has more of them every day."""
EVENTS_SHOWN = 1_000


class Logs(Protocol):
    """Where the control plane keeps logs that sites sent."""

    def read(self, attempt: str, offset: int, *, final: bool) -> tuple[bytes, int]:
        """Bytes from an offset, and the log's present length."""
        ...


KeepFile = Callable[[Tx, str, bytes], None]
"""Stores evidence bytes under their digest in this transaction; the ledger's."""


def find_job(tx: Tx, job: str, principal: Entity) -> Row:
    """A job's row by id or by name within the asker's organisation; NotFoundError otherwise."""
    row = tables.find_job(tx, job, owner_of(principal))
    if row is None:
        raise NotFoundError(id=job)
    return row


def entity_of(row: Row) -> Entity:
    """A stored job as the charter sees it."""
    return candidates.job_entity(
        row["id"],
        owner=row["owner"],
        level=row["level"],
        labels=msgspec.json.decode(row["labels"]),
        residency=msgspec.json.decode(row["residency"]),
    )


def spec_of_row(row: Row) -> JobSpec:
    """The resolved job file of a stored job."""
    return msgspec.json.decode(row["spec"].encode(), type=JobSpec)


class JobActions:
    """The handlers, with what they need from outside the database."""

    def __init__(
        self,
        principals: Principals,
        keep_file: KeepFile,
        logs: Logs,
        patience: rules.Patience,
        *,
        arrived: Arrived,
    ) -> None:
        """`keep_file` stores the job file as evidence; `logs` holds what sites sent, `arrived` knows what came here."""
        self._arrived = arrived
        self._principals = principals
        self._keep_file = keep_file
        self._logs = logs
        self._patience = patience

    def _resolve(self, tx: Tx, principal: Entity, text: str, workdir: str = "") -> Resolved:
        resolved = resolve(tx, text, Asker(owner_of(principal), workdir, teams_of(principal)))
        if resolved.label.level > LEVEL_MAX:
            raise SekishoError(LEVEL_FIVE)
        return resolved

    def submit_target(self, tx: Tx, principal: Entity, command: SubmitJob) -> Target:
        """The job as it would be: the join of its inputs is known before the charter is asked."""
        resolved = self._resolve(tx, principal, command.file, command.workdir)
        return Target(resource=_draft(principal, resolved.label), stream=owner_of(principal))

    def look_for_bytes(self, tx: Tx, principal: Entity, command: SubmitJob) -> None:
        """Look for what the job names while others write; `submit` finds it remembered."""
        self._reached(tx, principal, command.file, command.workdir)

    def _reached(self, tx: Tx, principal: Entity, text: str, workdir: str = "") -> Resolved:
        resolved = self._resolve(tx, principal, text, workdir)
        return msgspec.structs.replace(resolved, spec=within_reach(tx, resolved.spec, self._arrived))

    def submit(self, ctx: Ctx, command: SubmitJob) -> JobView:
        """Queue the job and wake the placement round."""
        resolved = self._reached(ctx.tx, ctx.principal, command.file, command.workdir)
        job, label = ctx.new_id("job"), resolved.label
        digest = canonical.digest(command.file.encode())
        self._keep_file(ctx.tx, digest, command.file.encode())
        new = tables.NewJob(
            id=job,
            name=resolved.file.name,
            team=resolved.file.team,
            owner=owner_of(ctx.principal),
            submitter=ctx.actor.ref.id,
            kind=resolved.file.kind,
            level=label.level,
            labels=sorted(label.labels),
            residency=sorted(label.residency),
            owners=sorted(label.owners),
            file=command.file,
            spec=msgspec.to_builtins(resolved.spec),
            now_ms=ctx.now_ms,
        )
        row = tables.insert_job(ctx.tx, new)
        tables.add_event(ctx.tx, job, "accepted", ctx.now_ms, level=str(label.level))
        ctx.into(job, Ref("Job", job))
        evidence = _submission(resolved, digest)
        ctx.detail(**evidence)
        if resolved.spec.size:
            members = arrays.add_members(ctx, new, resolved.spec.size, evidence)
            ctx.detail(members=[*members])
        ctx.later(PlaceRound(), dedupe="place")
        return self._view(ctx, row)

    def plan(self, ctx: Ctx, command: PlanJob) -> Plan:
        """Everything submit would find out, without a job."""
        resolved = self._reached(ctx.tx, ctx.principal, command.file)
        label = resolved.label
        judged = candidates.judge(
            ctx, ctx.principal, _draft(ctx.principal, label), spec=resolved.spec, sites=all_sites(ctx.tx)
        )
        allowed = frozenset(item.site.id for item in judged if item.decision.allowed)
        waiting = placement.Waiting("plan", resolved.spec.need, allowed)
        snapshot = placement.Snapshot(ctx.now_ms, (waiting,), read_sites(ctx.tx, ctx.now_ms, self._patience))
        chosen = placement.choose(snapshot)[0].site
        return Plan(
            resolved.file.name,
            label.level,
            sorted(label.labels),
            sorted(label.residency),
            [item.choice(chosen) for item in judged],
        )

    def plan_target(self, tx: Tx, principal: Entity, command: PlanJob) -> Target:
        """As for submitting."""
        return self.submit_target(tx, principal, SubmitJob(file=command.file))

    def show(self, ctx: Ctx, command: ShowJob) -> JobDetail:
        """The whole job."""
        row = find_job(ctx.tx, command.job, ctx.principal)
        names = {site.id: site.name for site in all_sites(ctx.tx)}
        return JobDetail(
            self._view(ctx, row),
            [views.member(item, names) for item in tables.members_of(ctx.tx, row["id"])],
            [views.attempt_view(one, names) for one in tables.attempts_of(ctx.tx, row["id"], ATTEMPTS_SHOWN)],
            views.site_choices(row),
            tables.events_of(ctx.tx, row["id"], EVENTS_SHOWN),
            row["file"],
        )

    def explain(self, ctx: Ctx, command: ExplainJob) -> Explanation:
        """Ask the charter again, now, for every site; of an array, the first job in it that waits."""
        row = find_job(ctx.tx, command.job, ctx.principal)
        row = tables.waiting_member(ctx.tx, row["id"]) or row
        submitter = self._principals.principal(ctx.tx, Actor(Ref("User", row["submitter"])))
        submitter = submitter or self._principals.principal(ctx.tx, Actor(Ref("Service", row["submitter"])))
        sites = views.site_choices(row)
        if JobState(row["state"]) is JobState.WAITING and submitter is not None:
            judged = candidates.judge(
                ctx, submitter, entity_of(row), spec=spec_of_row(row), sites=all_sites(ctx.tx)
            )
            sites = [item.choice("") for item in judged]
        view = self._view(ctx, row)
        sentence = texts.reason_sentence(view)
        return Explanation(view, row["reason"], sentence.en, sentence.ja, sites)

    def list_jobs(self, ctx: Ctx, command: ListJobs) -> JobPage:
        """Exactly the jobs for which the charter allows showing."""
        names = {site.id: site.name for site in all_sites(ctx.tx)}
        rows, following = ctx.page(
            functools.partial(
                tables.page_jobs,
                ctx.tx,
                state=command.state.value if command.state else "",
                submitter=ctx.actor.ref.id if command.mine else "",
                array=command.array,
            ),
            start=command.cursor,
            limit=command.limit,
            key=lambda row: row["id"],
            seen=lambda row: ctx.allows(ShowJob, entity_of(row)),
        )
        notes = _notes(ctx.tx, rows)
        return JobPage([views.job_view(row, names, notes.get(row["id"])) for row in rows], following)

    def cancel(self, ctx: Ctx, command: CancelJob) -> JobView:
        """End a job that waits at once; tell the site of one that runs. An array is cancelled job by job."""
        row = find_job(ctx.tx, command.job, ctx.principal)
        state = JobState(row["state"])
        if state.ended:
            raise SekishoError(ENDED, job=row["id"], state=state.value)
        if row["kind"] in GROUPS:
            mark_cancelling(ctx, row)
            arrays.cancel_some(
                ctx, CancelMembers(job=row["id"], asked_by=ctx.actor.ref.id, asked=ctx.record_id)
            )
        else:
            cancel_job(ctx, row)
        return self._view(ctx, find_job(ctx.tx, row["id"], ctx.principal))

    def read_log(self, ctx: Ctx, command: ReadLog) -> LogText:
        """A piece of one attempt's log; the newest attempt's unless a number is given."""
        row = find_job(ctx.tx, command.job, ctx.principal)
        chosen = tables.attempt_numbered(ctx.tx, row["id"], command.attempt)
        ended = JobState(row["state"]).ended
        if chosen is None:
            return LogText("", command.offset, command.offset, ended)
        final = AttemptState(chosen["state"]).ended
        content, length = self._logs.read(chosen["id"], command.offset, final=final)
        following = command.offset + len(content)
        done = final and following >= length and (ended or command.attempt > 0)
        return LogText(content.decode(errors="replace"), command.offset, following, done)

    def _view(self, ctx: Ctx, row: Row) -> JobView:
        # A job that was never placed has no site to name.
        names = {site.id: site.name for site in all_sites(ctx.tx)} if row["site"] else {}
        return views.job_view(row, names, _notes(ctx.tx, [row]).get(row["id"]))


def _submission(resolved: Resolved, file_digest: str) -> dict[str, Evidence]:
    """What a job's first record says of its file, inputs and joined label."""
    label = resolved.label
    return {
        "files": {"job.yaml": file_digest},
        "inputs": [{"source": item.source, "object": item.object} for item in resolved.spec.inputs],
        "label": _label(label),
        "join": [{"of": name, **_label(part)} for name, part in resolved.joined],
    }


def _label(label: Labels) -> dict[str, Evidence]:
    return {
        "level": label.level,
        "labels": [*sorted(label.labels)],
        "residency": [*sorted(label.residency)],
    }


def _notes(tx: Tx, rows: list[Row]) -> dict[str, str]:
    """The latest progress line of each job; of an array, how many of its jobs are in which state."""
    begun = [row["id"] for row in rows if row["kind"] not in GROUPS and row["attempts"]]
    notes = {job: beat["note"] for job, beat in heartbeats.last_of_each(tx, "progress", begun).items()}
    for row in rows:
        if row["kind"] in GROUPS:
            counts = tables.member_counts(tx, row["id"])
            notes[row["id"]] = views.as_json({state.value: count for state, count in counts.items()})
    return notes


def _draft(principal: Entity, label: Labels) -> Entity:
    return candidates.job_entity(
        "new",
        owner=owner_of(principal),
        level=label.level,
        labels=sorted(label.labels),
        residency=sorted(label.residency),
    )


def job_target(tx: Tx, principal: Entity, command: ShowJob | ExplainJob | CancelJob | ReadLog) -> Target:
    """A stored job, for every command that names one."""
    row = find_job(tx, command.job, principal)
    return Target(resource=entity_of(row), stream=row["id"])


def _listing(tx: Tx, principal: Entity, command: ListJobs) -> Target:
    """All jobs of the asker's organisation; each row is then asked about by itself."""
    del tx, command
    owner = owner_of(principal)
    entity = candidates.job_entity("all", owner=owner, level=0, labels=[], residency=["any"])
    return Target(resource=entity, stream=owner)


def handlers(actions: JobActions) -> tuple[Handler[Any], ...]:
    """Every command about jobs."""
    return (
        Handler(SubmitJob, actions.submit_target, actions.submit, prepare=actions.look_for_bytes),
        Handler(PlanJob, actions.plan_target, actions.plan),
        Handler(ShowJob, job_target, actions.show),
        Handler(ExplainJob, job_target, actions.explain),
        Handler(ListJobs, _listing, actions.list_jobs),
        Handler(CancelJob, job_target, actions.cancel),
        Handler(ReadLog, job_target, actions.read_log),
    )
