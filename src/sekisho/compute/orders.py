"""Handlers of orders: what a site's agent gets when it polls, and nothing of any other site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sekisho.compute import rules, tables
from sekisho.compute.jobs import spec_of_row
from sekisho.compute.leaving import may_leave
from sekisho.compute.model import AttemptState, FindAgent, OrdersWaiting, PollOrders
from sekisho.compute.seals import Seals
from sekisho.compute.spec import JobSpec
from sekisho.data import Tickets, newest_checkpoint
from sekisho.identity import AgentView, find_agent
from sekisho.kernel import heartbeats, lanes
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.facts import Entity, Principals, Ref, Target
from sekisho.kernel.tx import Row, Tx
from sekisho.sites import ReportCapabilities, entity_of_site, find_site
from sekisho_wire import messages
from sekisho_wire.messages import Body

LOG_BYTES_MAX = 16 << 20
TMP_BYTES = 256 << 20
PROCESSES = 512
TOLD_MS = 10_000
"""How long an agent that was told to cancel is left to do it before it is told again."""

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
    ) -> None:
        """Orders are signed, and open exactly the objects they name."""
        self._signer = signer
        self._principals = principals
        self._tickets = tickets
        self._under_checkpoint = under_checkpoint
        self._patience = patience

    def waiting(self, ctx: Ctx, command: OrdersWaiting) -> bool:
        """Cheap and often: whether polling would give something."""
        del command
        return bool(self._ready(ctx.tx, _site_of(ctx.principal))) or bool(
            _cancelling(ctx.tx, ctx.principal, ctx.now_ms)
        )

    def poll(self, ctx: Ctx, command: PollOrders) -> list[str]:
        """Note that the site lives and what it can hold, and hand out its offers and cancels."""
        agent, site = ctx.actor.ref.id, _site_of(ctx.principal)
        for subject in (f"agent:{agent}", f"site:{site}"):
            heartbeats.beat(ctx.tx, subject, at_ms=ctx.now_ms, until_ms=ctx.now_ms, note="")
        wall = rules.storable(command.capabilities.wall)
        if find_site(ctx.tx, site).wall != wall:
            ctx.later(ReportCapabilities(site=site, wall=wall), dedupe=f"capabilities:{site}")
        orders: list[tuple[Row, Body]] = [(row, self._offer(ctx, row)) for row in self._ready(ctx.tx, site)]
        for row in _cancelling(ctx.tx, ctx.principal, ctx.now_ms):
            heartbeats.beat(ctx.tx, _told(row), at_ms=ctx.now_ms, until_ms=ctx.now_ms + TOLD_MS)
            orders.append((row, messages.Cancel()))
        return [self._seal(ctx, agent, row, body) for row, body in orders]

    def _ready(self, tx: Tx, site: str) -> list[Row]:
        return [row for row in tables.offered_at(tx, site) if self._under_checkpoint(tx, row["offer_record"])]

    def _seal(self, ctx: Ctx, agent: str, row: Row, body: Body) -> str:
        lane = (agent, messages.LANE_ORDER)
        seq = lanes.last_seq(ctx.tx, lane) + 1
        lanes.applied(ctx.tx, lane, seq, ("", b""))
        return self._signer.order(agent, (row["id"], row["token"]), body, seq=seq, now_ms=ctx.now_ms)

    def _offer(self, ctx: Ctx, row: Row) -> Body:
        job = tables.find_job(ctx.tx, row["job"], "") or {}
        spec = spec_of_row(job)
        leaves = may_leave(ctx, self._principals, job)
        return messages.Offer(
            job=job["id"],
            job_name=job["name"],
            level=job["level"],
            image=spec.image or messages.IMAGE_SYSTEM,
            limits=_limits(spec),
            lease_s=self._patience.lease_seconds,
            run=spec.run,
            env={**spec.envs, **_rendezvous(job, row)},
            secrets=spec.secrets,
            data=[
                messages.DataMount(
                    mount=item.mount,
                    object=item.object,
                    kind="tree" if item.kind == "tree" else "file",
                    size_bytes=item.size_bytes,
                    source="control",
                    ticket=self._ticket(item.object, item.kind, item.size_bytes),
                )
                for item in spec.inputs
            ],
            outputs=[
                messages.OutputMount(name=item.name, mount=item.mount, upload=leaves)
                for item in spec.outputs
            ],
            image_lock=self._reference(spec.lock, "file", spec.lock_bytes) if spec.lock else None,
            setup=spec.setup,
            setup_workdir=spec.setup_workdir,
            workdir=(
                self._reference(spec.workdir.object, "tree", spec.workdir.size_bytes)
                if spec.workdir
                else None
            ),
            checkpoint=messages.CheckpointPlan(**spec.checkpoint, upload=leaves)
            if spec.checkpoint
            else None,
            resume=self._resume(ctx.tx, job["id"], row["site"], leaves=leaves),
            egress="none" if isinstance(spec.egress, str) else messages.EgressAllow(allow=spec.egress),
        )

    def _resume(self, tx: Tx, job: str, site: str, *, leaves: bool) -> messages.ObjectRef | None:
        """The newest training checkpoint, where this site can get it: from itself, or from here.

        One that stays at another site is out of reach, and the job starts over.
        """
        newest = newest_checkpoint(tx, job)
        if newest is None:
            return None
        if site in newest.copies:
            return messages.ObjectRef(object=newest.object, kind="tree", size_bytes=newest.size_bytes)
        return self._reference(newest.object, "tree", newest.size_bytes) if leaves else None

    def _reference(self, digest: str, kind: str, size_bytes: int) -> messages.ObjectRef:
        return messages.ObjectRef(
            object=digest,
            kind="tree" if kind == "tree" else "file",
            size_bytes=size_bytes,
            source="control",
            ticket=self._ticket(digest, kind, size_bytes),
        )

    def _ticket(self, digest: str, kind: str, size_bytes: int) -> str:
        return self._tickets.issue("get", digest, "tree" if kind == "tree" else "file", size_bytes)


def _limits(spec: JobSpec) -> messages.Limits:
    return messages.Limits(
        cpus=spec.need.cpus,
        memory_bytes=spec.need.memory_bytes,
        processes=PROCESSES,
        wall_s=spec.need.seconds,
        output_bytes=spec.disk_bytes,
        log_bytes=LOG_BYTES_MAX,
        tmp_bytes=TMP_BYTES,
        grace_s=int(spec.checkpoint.get("grace_s", 10)),
    )


def _rendezvous(job: Row, row: Row) -> dict[str, str]:
    return {"SEKISHO_JOB": job["id"], "SEKISHO_ATTEMPT": row["id"], "SEKISHO_JOB_NAME": job["name"]}


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
    told = {row["id"]: heartbeats.last(tx, _told(row)) for row in wanted}
    return [row for row in wanted if (told[row["id"]] or {"until_ms": 0})["until_ms"] <= now_ms]


def _told(row: Row) -> str:
    return f"cancel:{row['id']}"


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
