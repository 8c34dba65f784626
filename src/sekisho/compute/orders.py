"""Handlers of orders: what a site's agent gets when it polls, and nothing of any other site."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from sekisho.compute import rules, tables
from sekisho.compute.endings import told_cancel, told_offer
from sekisho.compute.jobs import spec_of_row
from sekisho.compute.leaving import may_leave, may_run
from sekisho.compute.model import AttemptState, FindAgent, OrdersWaiting, PollOrders
from sekisho.compute.reach import Arrived, can_resume
from sekisho.compute.seals import Seals
from sekisho.compute.spec import JobSpec
from sekisho.data import (
    ReleaseActions,
    Tickets,
    arrived_for,
    find_artefact,
    made_at,
    newest_checkpoint,
)
from sekisho.identity import AgentView, find_agent
from sekisho.kernel import heartbeats, lanes
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.facts import Entity, Principals, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import ReportCapabilities, SiteView, away_seconds, entity_of_site, find_site
from sekisho_wire import messages
from sekisho_wire.messages import Body

LOG_BYTES_MAX = 16 << 20
TMP_BYTES = 256 << 20
PROCESSES = 512
ORDERS_BYTES_MAX = 400_000
"""Sealed orders in one answer; escaped once more inside it, they stay below what a sealed message may weigh."""
TOLD_MS = 10_000
"""How long an agent that was told to cancel is left to do it before it is told again."""
OFFERED_MS = 2_000
"""How long an offer that was handed out may be on its way before it is handed out again."""
ASKED_MS = 60_000
"""How long a site that was asked to hand over an export is left to do it before it is asked again."""

UnderCheckpoint = Callable[[Tx, str], bool]
"""Whether a record is under a checkpoint: what leaves the house because of it waits for that. The ledger's."""


class OrderActions:
    """The handlers, with what an order needs."""

    def __init__(
        self,
        signer: Seals,
        *,
        principals: Principals,
        tickets: Tickets,
        under_checkpoint: UnderCheckpoint,
        patience: rules.Patience,
        releases: ReleaseActions,
        arrived: Arrived,
    ) -> None:
        """Orders are signed, and open exactly the objects they name; `releases` knows which exports wait.

        `arrived` knows what came in here.
        """
        self._arrived = arrived
        self._releases = releases
        self._signer = signer
        self._principals = principals
        self._tickets = tickets
        self._under_checkpoint = under_checkpoint
        self._patience = patience

    def waiting(self, ctx: Ctx, command: OrdersWaiting) -> bool:
        """Cheap and often: whether polling would give something."""
        del command
        if _cancelling(ctx.tx, ctx.principal, ctx.now_ms):
            return True
        site = find_site(ctx.tx, _site_of(ctx.principal))
        return next(self._ready(ctx, site), next(self._exports(ctx, site), None)) is not None

    def poll(self, ctx: Ctx, command: PollOrders) -> list[str]:
        """Note that the site lives and what it can hold, and hand out its cancels and offers.

        As many as one answer holds; the rest follows with the next poll. What ends work goes first.
        """
        agent, site = ctx.actor.ref.id, _site_of(ctx.principal)
        wall = rules.storable(command.capabilities.wall)
        found = find_site(ctx.tx, site)
        heartbeats.beat(ctx.tx, f"agent:{agent}", f"site:{site}", at_ms=ctx.now_ms, until_ms=ctx.now_ms)
        said = command.capabilities
        known = (found.wall, found.nodes, found.holds_leases, found.asks_health)
        if known != (wall, said.nodes, said.holds_leases, said.asks_health):
            report = ReportCapabilities(
                site=site,
                wall=wall,
                nodes=said.nodes,
                holds_leases=said.holds_leases,
                asks_health=said.asks_health,
            )
            ctx.later(report, dedupe=f"capabilities:{site}")
        orders: list[str] = []
        size, lane = 0, (agent, messages.LANE_ORDER)
        for row, body in self._due(ctx, msgspec.structs.replace(found, wall=wall)):
            seq = lanes.last_seq(ctx.tx, lane) + len(orders) + 1
            attempt = (row["id"], row["token"])
            order = self._signer.order(agent, attempt, body, seq=seq, now_ms=ctx.now_ms)
            size += len(order)
            if orders and size > ORDERS_BYTES_MAX:
                break
            told, pause_ms = _telling(row, body)
            heartbeats.beat(ctx.tx, told, at_ms=ctx.now_ms, until_ms=ctx.now_ms + pause_ms)
            orders.append(order)
            if len(orders) == messages.ORDERS_MAX:
                break
        if orders:
            lanes.applied(ctx.tx, lane, lanes.last_seq(ctx.tx, lane) + len(orders), ("", b""))
        return orders

    def _due(self, ctx: Ctx, site: SiteView) -> Iterator[tuple[Row, Body]]:
        for row in _cancelling(ctx.tx, ctx.principal, ctx.now_ms):
            yield row, messages.Cancel()
        for row in self._ready(ctx, site):
            yield row, self._offer(ctx, row)
        yield from self._exports(ctx, site)

    def _exports(self, ctx: Ctx, site: SiteView) -> Iterator[tuple[Row, Body]]:
        """Exports that everybody agreed to and whose bytes lie at this site alone."""
        for release in self._releases.wanted_from(ctx, site.id):
            if _was_told(ctx.tx, _told_export(release.id), ctx.now_ms):
                continue
            ticket = self._releases.hand_over(ctx, release)
            if ticket:
                wanted = messages.ObjectRef(
                    object=release.object,
                    kind=release.object_kind,
                    size_bytes=release.size_bytes,
                    ticket=ticket,
                )
                yield {"id": release.id, "token": 0}, messages.HandOver(wanted)

    def _ready(self, ctx: Ctx, site: SiteView) -> Iterator[Row]:
        """Offers that may leave now. One that the charter no longer allows is lost in time, and placed anew.

        One that was handed out lately and not taken yet is not handed out again at once: an agent that cannot read it
        would poll in circles.
        """
        for row in tables.active_attempts(ctx.tx, site.id):
            if AttemptState(row["state"]) is not AttemptState.OFFERED:
                continue
            if _was_told(ctx.tx, told_offer(row["id"]), ctx.now_ms):
                continue
            job = tables.find_job(ctx.tx, row["job"], "") or {}
            if self._under_checkpoint(ctx.tx, row["offer_record"]) and may_run(
                ctx, self._principals, job, site=site, agent=ctx.actor.ref.id
            ):
                yield row

    def _offer(self, ctx: Ctx, row: Row) -> Body:
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        spec = spec_of_row(job)
        leaves = may_leave(ctx, self._principals, job)
        patience = self._patience.with_site(away_seconds(ctx.tx, row["site"]))
        # As long as the attempt may be silent: a transfer that breaks off is begun again with the same ticket.
        reference = functools.partial(self._reference, valid_ms=patience.silence_ms)
        return messages.Offer(
            job=job["id"],
            job_name=job["name"],
            level=job["level"],
            image=spec.image or messages.IMAGE_SYSTEM,
            limits=_limits(spec),
            lease_s=patience.lease_seconds,
            run=spec.run,
            env={**spec.envs, **_rendezvous(job, row, spec)},
            secrets=spec.secrets,
            data=[
                messages.DataMount(
                    mount=item.mount,
                    object=item.object,
                    kind="tree" if item.kind == "tree" else "file",
                    size_bytes=item.size_bytes,
                    source="control",
                    ticket=reference(
                        item.object, item.kind, item.size_bytes, into=arrived_for(ctx.tx, item.source)
                    ).ticket,
                )
                for item in spec.inputs
            ],
            outputs=[
                messages.OutputMount(name=item.name, mount=item.mount, upload=leaves) for item in spec.outputs
            ],
            image_lock=reference(spec.lock, "file", spec.lock_bytes, into="") if spec.lock else None,
            setup=spec.setup,
            setup_workdir=spec.setup_workdir,
            workdir=(
                reference(spec.workdir.object, "tree", spec.workdir.size_bytes, into=spec.workdir_id)
                if spec.workdir
                else None
            ),
            checkpoint=messages.CheckpointPlan(**spec.checkpoint, upload=leaves) if spec.checkpoint else None,
            resume=self._resume(ctx, row, reference, leaves=leaves),
            egress="none" if isinstance(spec.egress, str) else messages.EgressAllow(allow=spec.egress),
            gpus=spec.need.gpus,
            gpu_type=spec.need.gpu_type if spec.need.gpus else "",
            nodes=spec.need.nodes,
            health=spec.health,
            sealed=_sealed(ctx.tx, job, spec),
            seal=("leaves" if leaves else "stays") if spec.key else "none",
        )

    def _reference(
        self, digest: str, kind: str, size_bytes: int, *, into: str, valid_ms: int
    ) -> messages.ObjectRef:
        asked = "tree" if kind == "tree" else "file"
        ticket = self._tickets.issue("get", digest, asked, size_bytes, into=into, valid_ms=valid_ms)
        return messages.ObjectRef(
            object=digest, kind=asked, size_bytes=size_bytes, source="control", ticket=ticket
        )

    def _resume(
        self, ctx: Ctx, row: Row, reference: Callable[..., messages.ObjectRef], *, leaves: bool
    ) -> messages.ObjectRef | None:
        """The newest training checkpoint, where this site can get it: from itself, or from here.

        One that stays at another site, or never came from it, is out of reach, and the job starts over.
        """
        newest = newest_checkpoint(ctx.tx, row["job"])
        if newest is None:
            return None
        # Not by who holds a like digest: an agent may have named the digest of somebody else's bytes.
        if row["site"] == made_at(ctx.tx, newest.id):
            return messages.ObjectRef(object=newest.object, kind="tree", size_bytes=newest.size_bytes)
        if not leaves or not can_resume(ctx.tx, newest, self._arrived):
            return None
        return reference(newest.object, "tree", newest.size_bytes, into=newest.attempt)


def _sealed(tx: Tx, job: Row, spec: JobSpec) -> list[str]:
    """Which of the offered objects are ciphertext."""
    found = {item.object for item in spec.inputs if item.key}
    if spec.workdir and find_artefact(tx, spec.workdir_id).key:
        found.add(spec.workdir.object)
    newest = newest_checkpoint(tx, job["id"])
    if newest and newest.key:
        found.add(newest.object)
    return sorted(found)


def _limits(spec: JobSpec) -> messages.Limits:
    return messages.Limits(
        cpus=spec.need.cpus,
        memory_bytes=spec.need.memory_bytes,
        processes=PROCESSES,
        wall_s=spec.need.seconds,
        output_bytes=spec.disk_bytes,
        log_bytes=LOG_BYTES_MAX,
        tmp_bytes=TMP_BYTES,
        grace_s=spec.grace_s,
    )


def _rendezvous(job: Row, row: Row, spec: JobSpec) -> dict[str, str]:
    own = {"SEKISHO_JOB": job["id"], "SEKISHO_ATTEMPT": row["id"], "SEKISHO_JOB_NAME": job["name"]}
    if job["array_job"]:
        own["SEKISHO_ARRAY"] = job["array_job"]
        own["SEKISHO_ARRAY_INDEX"] = str(job["array_index"])
        own["SEKISHO_ARRAY_SIZE"] = str(spec.size)
    return own


def _site_of(principal: Entity) -> str:
    site = principal.attributes.get("site")
    return site.id if isinstance(site, Ref) else ""


def _cancelling(tx: Tx, principal: Entity, now_ms: int) -> list[Row]:
    """Attempts at the agent's site whose job is to be cancelled, and whose agent was not told lately.

    Telling it again at once would let it poll in circles for the whole grace; every renewal says it too.
    """
    rows = tables.active_attempts(tx, _site_of(principal))
    held = [row for row in rows if AttemptState(row["state"]) is not AttemptState.OFFERED]
    wanted = [row for row in held if (tables.find_job(tx, row["job"], "") or {}).get("cancelling")]
    return [row for row in wanted if not _was_told(tx, told_cancel(row["id"]), now_ms)]


def _told_export(release: str) -> str:
    return f"export:{release}"


def _telling(row: Row, body: Body) -> tuple[str, int]:
    """Under which name it is kept that an order was handed out, and for how long it is not handed out again."""
    match body:
        case messages.Cancel():
            return told_cancel(row["id"]), TOLD_MS
        case messages.HandOver():
            return _told_export(row["id"]), ASKED_MS
        case _:
            return told_offer(row["id"]), OFFERED_MS


def _was_told(tx: Tx, subject: str, now_ms: int) -> bool:
    beat = heartbeats.last(tx, subject)
    return beat is not None and beat["until_ms"] > now_ms


def _target(tx: Tx, principal: Entity, command: OrdersWaiting | PollOrders) -> Target:
    del command
    site = entity_of_site(tx, _site_of(principal))
    return Target(resource=site, stream=site.ref.id)


def find(ctx: Ctx, command: FindAgent) -> AgentView | None:
    """For the door that opens seals: only agents that may speak now."""
    return find_agent(ctx.tx, command.agent)


def _agent_target(tx: Tx, principal: Entity, command: FindAgent) -> Target:
    del tx, principal
    return Target(resource=Entity(Ref("Agent", command.agent)), stream=command.agent)


def handlers(actions: OrderActions) -> tuple[Handler[Any], ...]:
    """Every command about orders."""
    return (
        Handler(FindAgent, _agent_target, find),
        Handler(OrdersWaiting, _target, actions.waiting),
        Handler(PollOrders, _target, actions.poll),
    )
