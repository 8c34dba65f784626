"""Handlers of background rounds: placing what waits, finding what was lost."""

from __future__ import annotations

from typing import Any

import msgspec

from sekisho.compute import candidates, placement, rules, tables, views
from sekisho.compute.arrays import REPLICA
from sekisho.compute.candidates import Judged
from sekisho.compute.endings import end_job, forget_attempt, settle_later
from sekisho.compute.jobs import entity_of, spec_of_row
from sekisho.compute.model import AttemptState, JobState, PlaceJob, SiteChoice
from sekisho.compute.model_rounds import PlaceRound, ReconcileAttempts
from sekisho.compute.placement import Choice
from sekisho.compute.snapshot import read_sites
from sekisho.compute.submitters import submitter_of
from sekisho.kernel import heartbeats
from sekisho.kernel.command import spec_of
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.evidence import Evidence
from sekisho.kernel.facts import Entity, Principals, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import SiteView, all_sites, evidence_files

ROUND_MAX = 100
"""Jobs looked at in one round; the round for those behind them follows at once."""
RETRY_ROUND_MS = 5_000
PLACE_LEVEL = 2
"""From here on a placement rests on a proof of place, whose file and territory go into the job's bundle."""
ENGINE_LAG_SECONDS = 900
"""How much later than its time limit an engine that holds no lease may end a payload: its least limit, its delay."""


class RoundActions:
    """The handlers, with identity's view of who submitted what."""

    def __init__(self, principals: Principals, patience: rules.Patience) -> None:
        """A job is judged in its submitter's name as that account stands now, not as it stood then."""
        self._principals = principals
        self._patience = patience

    def place(self, ctx: Ctx, command: PlaceRound) -> int:
        """Take a stretch of the queue, judge, choose, offer: one record per job whose standing changed."""
        rows = tables.waiting_jobs(ctx.tx, command.after, ROUND_MAX, ctx.now_ms)
        sites = all_sites(ctx.tx)
        judged = {row["id"]: self._judge(ctx, row, sites) for row in rows}
        snapshot = placement.Snapshot(
            ctx.now_ms,
            tuple(_waiting(row, judged[row["id"]]) for row in rows),
            read_sites(ctx.tx, ctx.now_ms, self._patience),
            tables.members_under_way(ctx.tx),
        )
        choices = placement.choose(snapshot)
        for row, choice in zip(rows, choices, strict=True):
            _apply(ctx, row, choice, judged[row["id"]])
        if len(rows) == ROUND_MAX:
            # Jobs that nobody can place must not hide the ones behind them.
            ctx.later(PlaceRound(after=rows[-1]["id"]), dedupe=f"place:{rows[-1]['id']}")
        if any(not choice.site for choice in choices):
            ctx.later(PlaceRound(), delay_ms=RETRY_ROUND_MS, dedupe="place-again")
        return sum(1 for choice in choices if choice.site)

    def _judge(self, ctx: Ctx, row: Row, sites: list[SiteView]) -> list[Judged]:
        submitter = submitter_of(ctx.tx, self._principals, row["submitter"])
        if submitter is None:
            return []
        return candidates.judge(ctx, submitter, entity_of(row), spec=spec_of_row(row), sites=sites)

    def reconcile(self, ctx: Ctx, command: ReconcileAttempts) -> int:
        """Attempts whose agent was not heard for too long are lost; their jobs wait again, under a new token.

        An array is told when its jobs move; whose end was not settled then, also because a charter of before an upgrade
        did not know how, is told again.
        """
        del command
        sites = {site.id: site for site in all_sites(ctx.tx)}
        lost = 0
        for attempt in tables.active_attempts(ctx.tx):
            beat = heartbeats.last(ctx.tx, f"attempt:{attempt['id']}")
            patience = self._patience.with_site(_away_seconds(ctx, attempt, sites[attempt["site"]]))
            heard_ms = max(attempt["offered_ms"], beat["at_ms"] if beat else 0)
            if heard_ms < patience.silent_since_ms(ctx.now_ms):
                lose(ctx, attempt)
                lost += 1
        for over in tables.arrays_over(ctx.tx):
            settle_later(ctx, over)
        ctx.later(ReconcileAttempts(), delay_ms=self._patience.reconcile_ms, dedupe="reconcile")
        return lost


def _away_seconds(ctx: Ctx, attempt: Row, site: SiteView) -> int:
    """How long the agent may be silent while its payload goes on; without leases, until the time limit is over.

    Of an offer that no agent has accepted nothing runs, and nothing will: from then on its acceptance is fenced.
    """
    if site.holds_leases or AttemptState(attempt["state"]) is AttemptState.OFFERED:
        return site.away_seconds
    job = tables.find_job(ctx.tx, attempt["job"], "") or {}
    return max(site.away_seconds, spec_of_row(job).need.seconds + ENGINE_LAG_SECONDS)


def _waiting(row: Row, judged: list[Judged]) -> placement.Waiting:
    spec = spec_of_row(row)
    allowed = frozenset(item.site.id for item in judged if item.decision.allowed)
    return placement.Waiting(row["id"], spec.need, allowed, row["array_job"] or "", spec.parallel)


def lose(ctx: Ctx, attempt: Row) -> None:
    """Give up on one attempt, with a record in the job's stream."""
    with ctx.row(
        action=spec_of(ReconcileAttempts).name,
        resource=Ref("Attempt", attempt["id"]),
        stream=attempt["job"],
        detail={"attempt": attempt["id"], "token": attempt["token"]},
    ):
        state = rules.step(AttemptState(attempt["state"]), rules.Event.LOSE)
        forget_attempt(ctx.tx, attempt["id"])
        tables.move_attempt(ctx.tx, attempt["id"], state, ctx.now_ms, reason="lost")
        settle_job(ctx, attempt["job"], state, "lost")


def settle_job(ctx: Ctx, job: str, state: AttemptState, reason: str) -> None:
    """Move a job to where its ended attempt leaves it: the end, or the queue again."""
    row = tables.find_job(ctx.tx, job, "")
    if row is None or JobState(row["state"]).ended:
        return
    lasting = row["kind"] == REPLICA
    following = rules.job_after(
        state, reason, row["attempts"], cancelling=bool(row["cancelling"]), lasting=lasting
    )
    if following.ended:
        end_job(ctx, row, following, reason)
        return
    tables.move_job(ctx.tx, job, following, ctx.now_ms, reason=reason)
    tables.add_event(ctx.tx, job, "again", ctx.now_ms, reason=reason)
    pause_ms = rules.restart_pause_ms(_runs_ms(ctx, job)) if lasting else 0
    if pause_ms:
        tables.hold_back(ctx.tx, job, ctx.now_ms + pause_ms)
    # Not `place:`, under which a round goes on behind a job: one of the two would be taken for the other, and dropped.
    ctx.later(PlaceRound(), delay_ms=pause_ms, dedupe=f"begin-again:{job}" if pause_ms else "place")
    settle_later(ctx, row)


def _runs_ms(ctx: Ctx, job: str) -> list[int]:
    """How long the last attempts of a job ran, in order; nothing for one whose payload never began."""
    rows = tables.attempts_of(ctx.tx, job, rules.RUNS_WEIGHED)
    return [row["ended_ms"] - row["started_ms"] if row["started_ms"] else 0 for row in rows]


def _apply(ctx: Ctx, row: Row, choice: Choice, judged: list[Judged]) -> None:
    """Write one job's outcome; a job that goes on waiting for the same reason gets no new record."""
    sites = [item.choice(choice.site) for item in judged]
    if not choice.site:
        if row["reason"] == choice.reason.value and _alike(views.site_choices(row), sites):
            return
        decision = next((item.decision for item in judged if not item.decision.allowed), ctx.decision)
        with ctx.row(
            action=spec_of(PlaceRound).name,
            resource=Ref("Job", row["id"]),
            stream=row["id"],
            decision=msgspec.structs.replace(ctx.decision, charter=decision.charter),
            detail={"reason": choice.reason.value, "sites": evidence(judged, "")},
        ):
            tables.keep_waiting(ctx.tx, row["id"], choice.reason.value, sites, now_ms=ctx.now_ms)
            tables.add_event(ctx.tx, row["id"], "waits", ctx.now_ms, reason=choice.reason.value)
        return
    _offer(ctx, row, next(item for item in judged if item.site.id == choice.site), judged)


def _alike(before: list[SiteChoice], now: list[SiteChoice]) -> bool:
    """Whether the charter says the same of every site; its sentences grow older by the minute and are no news."""
    plain = [
        [msgspec.structs.replace(choice, why="", why_ja="") for choice in choices]
        for choices in (before, now)
    ]
    return plain[0] == plain[1]


def _offer(ctx: Ctx, row: Row, chosen: Judged, judged: list[Judged]) -> None:
    """The decision that lets a job leave the house; its site's agent hears of it once this is under a checkpoint."""
    site, need = chosen.site, spec_of_row(row).need
    attempt, number = ctx.new_id("att"), row["attempts"] + 1
    country = site.facts.get("country")
    with ctx.row(
        action=spec_of(PlaceJob).name,
        resource=Ref("Job", row["id"]),
        stream=row["id"],
        decision=chosen.decision,
        detail={
            "attempt": attempt,
            "token": number,
            "level": row["level"],
            "residency": msgspec.json.decode(row["residency"]),
            "site": site.id,
            "stand_in": site.stand_in,
            "country": {"value": str(country.value), "grade": country.grade} if country else {},
            "sites": evidence(judged, site.id),
            **_proofs(ctx, row, site),
        },
    ) as record:
        tables.place_job(
            ctx.tx, row["id"], site.id, [item.choice(site.id) for item in judged], now_ms=ctx.now_ms
        )
        tables.insert_attempt(
            ctx.tx,
            {
                "id": attempt,
                "job": row["id"],
                "number": number,
                "site": site.id,
                "token": number,
                "cpus": need.cpus * need.nodes,
                "memory_bytes": need.memory_bytes * need.nodes,
                "gpus": need.gpus * need.nodes,
                "gpu_type": need.gpu_type,
                "now": ctx.now_ms,
                "offer_record": record,
            },
        )
        tables.add_event(ctx.tx, row["id"], "placed", ctx.now_ms, site=site.name, attempt=str(number))
        settle_later(ctx, row)


def _proofs(ctx: Ctx, row: Row, site: SiteView) -> dict[str, Evidence]:
    """The evidence files that the site's facts rest on, for the job's bundle; its place at levels that need one."""
    files = evidence_files(ctx.tx, site.id, ctx.now_ms)
    if row["level"] >= PLACE_LEVEL:
        files |= candidates.PROOFS.files(ctx.tx, site)
    return {"files": {**files}} if files else {}


def evidence(judged: list[Judged], chosen: str) -> list[Any]:
    """The sites considered, as a record holds them."""
    fields = ("site", "name", "country", "decision", "rules", "chosen")
    return [{name: getattr(item.choice(chosen), name) for name in fields} for item in judged]


def _round_target(tx: Tx, principal: Entity, command: PlaceRound | ReconcileAttempts) -> Target:
    del tx, principal, command
    return Target(resource=Entity(Ref("Ledger", "queue")), stream="system")


def handlers(actions: RoundActions) -> tuple[Handler[Any], ...]:
    """The background rounds. Rounds take turns: two at once would offer one GPU twice."""
    return (
        Handler(PlaceRound, _round_target, actions.place, lambda _command: "queue"),
        Handler(ReconcileAttempts, _round_target, actions.reconcile, lambda _command: "queue"),
    )
