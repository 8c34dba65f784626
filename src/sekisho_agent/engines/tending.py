"""A task that a scheduler runs, as its agent tends it: what each of its wrappers says, and what all of it has come to.

Most tasks have one wrapper. A gang has one for each node, with a lease and a claim of its own; what they have come to
together is `gangs.merge`. Nothing here locks: the engine's condition guards it.
"""

from __future__ import annotations

import msgspec
import structlog

from sekisho_agent import clock
from sekisho_agent.engines import gangs
from sekisho_agent.engines.contract import EndReport, Observation, Phase, Task
from sekisho_agent.engines.gang_log import GangLog
from sekisho_agent.engines.handoff import Handoff, Orders, State
from sekisho_agent.engines.verdicts import UNKNOWN, NativeJob, Verdict, View, judge
from sekisho_wire.messages import REASON_PEERS_FOREIGN

GRACE_SECONDS = 3.0
"""From TERM to KILL, for an end that nobody asked for."""
ENDING_SECONDS = 5.0
"""What a wrapper needs to end its payload once the lease is over."""

log = structlog.get_logger(__name__)


class Wrapped:
    """One wrapper: its files, and what is known of it."""

    def __init__(self, handoff: Handoff, lease_deadline: float) -> None:
        self.handoff = handoff
        self.state = State()
        self.orders = handoff.ordered()
        self.end: EndReport | None = None
        # Until the wrapper was answered by this process, an earlier one may have given it a lease of this length.
        self._answered_until = lease_deadline + ENDING_SECONDS
        self._cancelled_at: float | None = None
        self._told_at: float | None = None
        self._heard_at = clock.monotonic()

    def hear(self, state: State, lease_deadline: float) -> None:
        """Take the wrapper's word, and answer what it asks while the lease holds."""
        if state != self.state:
            self.state, self._heard_at = state, clock.monotonic()
        left = lease_deadline - clock.monotonic()
        if state.end is not None:
            self._told_at = self._told_at or clock.monotonic()
        elif state.asks > self.orders.answers and left > 0:
            self._answered_until = lease_deadline + ENDING_SECONDS
            self._say(msgspec.structs.replace(self.orders, answers=state.asks, lease_seconds=left))

    def order_end(self, reason: str, grace_seconds: float) -> None:
        """The first reason stays, a shorter grace is honoured."""
        grace = min(grace_seconds, self.orders.grace_seconds) if self.orders.cancel else grace_seconds
        self._cancelled_at = self._cancelled_at or clock.monotonic()
        cancel = self.orders.cancel or reason
        self._say(msgspec.structs.replace(self.orders, cancel=cancel, grace_seconds=grace))

    def complete(self, view: View) -> View:
        """A view of the whole task with what is known of this wrapper."""
        moment = clock.monotonic()
        return msgspec.structs.replace(
            view,
            claimed=self.handoff.claimed(),
            told=self.state.end,
            told_age=_age(self._told_at),
            silent_age=_age(self._heard_at),
            answered_left=self._answered_until - moment,
            cancel=self.orders.cancel,
            cancel_age=_age(self._cancelled_at),
            cancel_grace=self.orders.grace_seconds,
        )

    def observation(self, job: NativeJob) -> Observation:
        """Its part, as the contract shows a task."""
        phase: Phase = "ended" if self.end else "starting" if self.state.phase == "starting" else "running"
        return Observation(
            phase=phase,
            wall=self.state.wall,
            end=self.end,
            progress=self.state.progress,
            progress_lines=self.state.progress_lines,
            log_bytes=self.state.log_bytes,
            log_dropped_bytes=self.state.log_dropped_bytes,
            healthy=self.state.healthy,
            queued=job.said if phase == "starting" and job.phase == "queued" else "",
        )

    def _say(self, orders: Orders) -> None:
        """What a full disk does not take now is said with the next answer."""
        self.orders = orders
        try:
            self.handoff.order(orders)
        except OSError as error:
            log.warning("engine.order_unwritten", error=type(error).__name__)


class Tended:
    """A task and what is known of it."""

    def __init__(self, task: Task, native: str, queue_max: float) -> None:
        self.task = task
        self.native = native
        self.lease_deadline = task.lease_deadline
        self.job = NativeJob("queued")
        self.end: EndReport | None = None
        self.pressing = False
        self.wrappers = [Wrapped(handoff, task.lease_deadline) for handoff in handoffs(task)]
        self._log = GangLog(task.folder, task.nodes, task.limits.log_bytes) if task.nodes > 1 else None
        self._failed: tuple[int, ...] = ()
        self._introduced = task.nodes == 1
        self._queue_max = queue_max
        self._queued_at = clock.monotonic()
        self._first_up_at: float | None = None
        self._gone_at: float | None = None

    @property
    def ending(self) -> bool:
        """Whether somebody wants it to end, or part of it has."""
        return any(one.state.end is not None or one.orders.cancel for one in self.wrappers)

    @property
    def bringing_together(self) -> bool:
        """Whether a gang's nodes are up and wait for the scheduler's word on them."""
        return not self._introduced and any(one.state.port for one in self.wrappers)

    def hear(self, states: list[State | None]) -> None:
        """Take the wrappers' words, answer them, and bring those of a gang together."""
        for one, state in zip(self.wrappers, states, strict=True):
            if state is not None and one.end is None:
                one.hear(state, self.lease_deadline)
        if not self._introduced:
            self._introduce()

    def look(self, job: NativeJob) -> None:
        """Take the scheduler's word; what it says of another's job is none about ours."""
        self.job = job if job.attempt in {"", self.task.attempt} else UNKNOWN
        self._gone_at = (self._gone_at or clock.monotonic()) if self.job.phase == "gone" else None

    def order_end(self, reason: str, grace_seconds: float) -> None:
        """End all of it that has not ended."""
        for one in self.wrappers:
            if one.end is None:
                one.order_end(reason, grace_seconds)

    def follow(self) -> None:
        """Bring the logs of a gang together, unless the disk takes none now. By one thread, outside of any lock."""
        if self._log is not None and self.end is None:
            try:
                self._log.follow()
            except OSError as error:
                log.warning("engine.log_behind", attempt=self.task.attempt, error=type(error).__name__)

    def let_go(self) -> None:
        """Nobody tends it any more in this process; it goes on."""
        if self._log is not None and self.end is None:
            self._log.close()

    def judge(self) -> None:
        """Say what holds now, and give the orders that follow from it."""
        verdicts = [self._verdict(one) for one in self.wrappers]
        for one, verdict in zip(self.wrappers, verdicts, strict=True):
            one.end = verdict.end
        for verdict in verdicts:
            if verdict.order:
                self.order_end(verdict.order, GRACE_SECONDS)
        self.pressing = any(verdict.press for verdict in verdicts)
        ends = {rank: one.end for rank, one in enumerate(self.wrappers) if one.end is not None}
        before, self._failed = self._failed, gangs.first_failure(ends, self._failed)
        if self._failed and not before:
            self.order_end(ends[self._failed[0]].reason, self.task.limits.grace_s)
        if len(ends) == len(self.wrappers):
            if self._log is not None:
                self._log.follow(to_end=True)
                self._log.close()
            self.end = self._seen().end

    def observation(self) -> Observation:
        """The task as the contract shows it."""
        seen = self._seen()
        if self._log is None:
            return seen
        return msgspec.structs.replace(
            seen,
            phase="ended" if self.end else "running" if seen.phase == "ended" else seen.phase,
            end=self.end,
            log_bytes=self._log.kept_bytes,
            log_dropped_bytes=seen.log_dropped_bytes + self._log.dropped_bytes,
        )

    def _seen(self) -> Observation:
        nodes = [one.observation(self.job) for one in self.wrappers]
        return gangs.merge(nodes, self._failed) if len(nodes) > 1 else nodes[0]

    def _verdict(self, one: Wrapped) -> Verdict:
        """What holds of one wrapper; an end stays."""
        if one.end is not None:
            return Verdict(end=one.end)
        if self._first_up_at is None and len(self.wrappers) > 1 and one.handoff.claimed():
            self._first_up_at = clock.monotonic()
        view = View(
            job=self.job,
            claimed=False,
            gone_age=_age(self._gone_at),
            queued_age=_age(self._queued_at),
            queue_max=self._queue_max,
            lease_left=self.lease_deadline - clock.monotonic(),
            alone_age=_age(self._first_up_at),
        )
        return judge(one.complete(view))

    def _introduce(self) -> None:
        """Once every node's relay listens, on machines that the scheduler gave to this job and no other."""
        states = [one.state for one in self.wrappers]
        if not self.job.nodes or not all(state.port for state in states):
            return
        if not all(self.job.nodes.get(state.node) in {"", state.host} for state in states):
            self._introduced = True
            self.order_end(REASON_PEERS_FOREIGN, 0)
            return
        addresses = [(state.host, state.port) for state in states]
        for one in self.wrappers:
            one.handoff.introduce(addresses)
        self._introduced = True


def handoffs(task: Task) -> list[Handoff]:
    """One for each wrapper of a task."""
    if task.nodes == 1:
        return [Handoff(task.folder)]
    return [Handoff(gangs.rank_folder(task.folder, rank)) for rank in range(task.nodes)]


def _age(since: float | None) -> float:
    return clock.monotonic() - since if since is not None else 0.0
