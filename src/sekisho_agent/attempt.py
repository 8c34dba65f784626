"""One attempt at this site, from the offer to the last report.

Its own thread walks straight through: accept, stage, run, collect, report. Other threads only call `renewed`, `stop`
and `fence`. Before the payload runs a stop is noticed by `check`; afterwards the engine is told, and its watchdog holds
the lease whatever becomes of this thread. The end is written to disk before it is sent, so that a restart can send it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from sekisho_agent import clock
from sekisho_agent.checkpoints import CheckpointWatcher
from sekisho_agent.engines.contract import EndReport, Image, Observation, Task, WallReport, Watch
from sekisho_agent.engines.local_host import WALL_NONE
from sekisho_agent.engines.log import figures
from sekisho_agent.errors import (
    AgentError,
    AttemptStoppedError,
    EngineError,
    ProblemError,
    UnreachableError,
)
from sekisho_agent.folders import remove_tree
from sekisho_agent.keys import KeyRefusedError, Keys
from sekisho_agent.preparation import Layout, check_offer, log_rests, prepare
from sekisho_agent.remains import Remains
from sekisho_agent.site import Site
from sekisho_agent.staging import Stager
from sekisho_wire.durable import replace_file
from sekisho_wire.egress import MECHANISM_OPEN, EgressReport
from sekisho_wire.messages import (
    REASON_AGENT_STOPPED,
    REASON_CANCELLED,
    REASON_ENGINE_CANCELLED,
    REASON_ENGINE_ENDED,
    REASON_ENGINE_PREEMPTED,
    REASON_ENGINE_REFUSED,
    REASON_ENGINE_REQUEUED,
    REASON_ENGINE_UNAVAILABLE,
    REASON_FAILED,
    REASON_FENCED,
    REASON_FINISHED,
    REASON_LEASE_LOST,
    REASON_OUT_OF_MEMORY,
    REASON_STAGING_FAILED,
    REASON_TIME_LIMIT,
    REASON_UNHEALTHY,
    Accept,
    Body,
    CheckpointSaved,
    Ended,
    Offer,
    OutputReport,
    Progress,
    Refused,
    Staged,
    Started,
)

ATTEMPT_FILE: Final = "attempt.json"
ENDED_FILE: Final = "ended.json"
WATCH_SECONDS: Final = 0.5
STARTING_SECONDS: Final = 2.0
PROGRESS_EVERY_SECONDS: Final = 2.0
SUBMIT_SECONDS_MAX: Final = 600.0
"""How long an engine may be silent before a task that it was not given is better placed elsewhere."""
SUBMIT_PAUSE_SECONDS: Final = 0.5
REASON_BROKEN: Final = "agent.failed"
COLLECTED_REASONS: Final = frozenset(
    {
        REASON_FINISHED,
        REASON_FAILED,
        REASON_CANCELLED,
        REASON_TIME_LIMIT,
        REASON_OUT_OF_MEMORY,
        REASON_UNHEALTHY,
    },
)

SAVED_REASONS: Final = COLLECTED_REASONS | {
    REASON_ENGINE_CANCELLED,
    REASON_ENGINE_ENDED,
    REASON_ENGINE_PREEMPTED,
    REASON_ENGINE_REQUEUED,
}
"""Ends after which the payload may have saved a checkpoint in its grace."""

log = structlog.get_logger(__name__)


class Kept(msgspec.Struct, frozen=True):
    """What is written down of an accepted attempt, for a later process of this agent."""

    token: int
    offer: Offer


class Attempt:
    """The agent's side of one attempt."""

    def __init__(self, attempt: str, token: int, offer: Offer, site: Site) -> None:
        self.id = attempt
        self.token = token
        self._offer = offer
        self._site = site
        self._layout = Layout(attempt=self.id, token=self.token, folder=site.attempts_folder / self.id)
        self._guard = threading.Lock()
        self._lease_deadline = clock.monotonic() + offer.lease_s
        self._stop_reason = ""
        self._submitted = False
        self.lease_seconds = offer.lease_s
        self.accepted = False
        """Whether the control plane has taken the acceptance: whoever renews before that is fenced."""
        self._log = log.bind(attempt=self.id)
        keys = None if offer.seal == "none" else self._keys()
        self._remains = Remains(site, self._layout, offer, keys)

    # --- called by other threads

    def renewed(self, deadline: float) -> None:
        """The lease holds until then."""
        with self._guard:
            self._lease_deadline = max(self._lease_deadline, deadline)
            submitted = self._submitted
        if submitted:
            self._tell_engine(lambda: self._site.engine.extend(self.id, deadline))

    def stop(self, reason: str, grace_seconds: float) -> None:
        """End the attempt wherever it is; the first reason stays."""
        with self._guard:
            self._stop_reason = self._stop_reason or reason
            submitted = self._submitted
        if submitted:
            self._tell_engine(lambda: self._site.engine.cancel(self.id, reason, grace_seconds))

    def fence(self) -> None:
        """Another attempt has the token: end at once, register nothing."""
        self.stop(REASON_FENCED, 0)

    def _tell_engine(self, order: Callable[[], None]) -> None:
        """The engine may have let go of an ended task meanwhile: that must not stop the thread that renews for all."""
        try:
            order()
        except EngineError as error:
            self._log.info("attempt.gone", code=error.code)

    def check(self) -> None:
        """Raise AttemptStoppedError when the attempt is to end or its lease is over."""
        with self._guard:
            reason = self._stop_reason
            lost = clock.monotonic() >= self._lease_deadline
        if reason or lost:
            raise AttemptStoppedError(reason or REASON_LEASE_LOST, "ended before the payload ran")

    # --- the attempt's own thread

    def run(self) -> None:
        """Live through the attempt; never raises."""
        self._live(self._work_accepted)

    def take_up(self, lease_deadline: float) -> bool:
        """Whether the engine still has the task that an earlier process of this agent submitted.

        EngineError while the engine does not say.
        """
        self.renewed(lease_deadline)
        if self._site.engine.adopt(self._layout.folder, lease_deadline) is None:
            return False
        self.accepted = True
        with self._guard:
            self._submitted = True
            reason = self._stop_reason
        if reason:
            self._site.engine.cancel(self.id, reason, 0)
        self._follow_log()
        return True

    def go_on(self) -> None:
        """Live through the rest of an attempt that was taken up; never raises."""
        self._live(self._work_taken_up)

    def _live(self, work: Callable[[], Ended | None]) -> None:
        try:
            end = work()
            if end is None:
                return
        except AttemptStoppedError as error:
            end = Ended(reason=error.code)
        except KeyRefusedError as error:
            end = Ended(reason=error.code, detail=error.detail[:4000])
        except AgentError as error:
            end = Ended(reason=REASON_STAGING_FAILED, detail=f"{error.detail} [{error.code}]"[:4000])
        except Exception as error:  # noqa: BLE001 (a fault of ours must end the payload and be told)
            self._log.exception("attempt.broken")
            end = Ended(reason=REASON_BROKEN, detail=type(error).__name__)
            self.stop(REASON_BROKEN, 0)
        self._deliver(end)

    def _accept(self) -> bool:
        """Whether the attempt is ours now. Its lease counts from before the acceptance was first sent."""
        try:
            check_offer(self._offer)
            free = self._site.engine.capacity()
        except AgentError as error:
            return self._refuse(error.code, error.detail)
        limits, nodes = self._offer.limits, self._offer.nodes
        if nodes > self._site.engine.capabilities().nodes:
            return self._refuse(REASON_ENGINE_REFUSED, "no gang of so many nodes can be started here")
        wanted = nodes * limits.cpus, nodes * limits.memory_bytes
        if free.attempts < 1 or free.cpus < wanted[0] or free.memory_bytes < wanted[1]:
            return self._refuse("engine.full", "no room for this attempt now")
        self._layout.folder.mkdir(mode=0o700, parents=True)
        replace_file(self._layout.folder / ATTEMPT_FILE, msgspec.json.encode(Kept(self.token, self._offer)))
        with self._guard:
            self._lease_deadline = clock.monotonic() + self._offer.lease_s
        try:
            self._site.client.send(Accept(), self.id, self.token, wanted=self._alive)
        except AgentError as error:
            self._log.info("attempt.not_taken", error=str(error))
            remove_tree(self._layout.folder)
            return False
        self.accepted = True
        return True

    def _refuse(self, reason: str, detail: str) -> bool:
        try:
            refused = Refused(reason=reason, detail=detail[:4000])
            self._site.client.send(refused, self.id, self.token, wanted=self._alive)
        except AgentError as error:
            self._log.info("attempt.refusal_not_delivered", error=str(error))
        return False

    def _alive(self) -> bool:
        with self._guard:
            return not self._stop_reason and clock.monotonic() < self._lease_deadline

    def _work_accepted(self) -> Ended | None:
        """How it ended; None for an offer that was not taken."""
        if not self._accept():
            return None
        stager = self._stager()
        task = prepare(
            self._offer,
            self._layout,
            self._site,
            stager=stager,
            lease_deadline=lambda: self._lease_deadline,
        )
        self._say(Staged(size_bytes=stager.fetched_bytes))
        self.check()
        watcher = self._watcher()
        self._submit(msgspec.structs.replace(task, watch=self._watched()))
        seen = self._watch(task.image, watcher, stager)
        return self._ended(seen, watcher)

    def _work_taken_up(self) -> Ended:
        """What was said before is said again: the control plane knows it, and what was not said is said now."""
        stager = self._stager()
        watcher = self._watcher()
        seen = self._watch(Image(name=self._offer.image, digest="", folder=None), watcher, stager)
        return self._ended(seen, watcher)

    def _stager(self) -> Stager:
        keys = self._keys(self.check)
        sealed = self._offer.sealed
        return Stager(self._site.client, self._site.store, self.check, keys=keys, sealed=sealed)

    def _keys(self, check: Callable[[], None] = lambda: None) -> Keys:
        config = self._site.config
        return Keys(
            self._site.client,
            (self.id, self.token),
            check=check,
            wanted=self._alive,
            ca_file=config.ca_file,
            custodians={each.name: each.key for each in config.custodians},
            permit_private=config.custodians_private,
        )

    def _watched(self) -> Watch | None:
        """What a listener outside waits for from now on; only where there is a wall for it to hear about."""
        if self._site.observer is None or self._site.engine.capabilities().wall == WALL_NONE:
            return None
        return self._site.observer.open(self.id, self.token, nodes=self._offer.nodes)

    def _observed(self, wall: WallReport | None) -> list[str]:
        """The listener's report, where canaries were sent behind a wall: else its silence would say nothing."""
        if self._site.observer is None or wall is None or wall.wall == WALL_NONE:
            return []
        report = self._site.observer.close(self.id, self.token)
        return [report] if report else []

    def _submit(self, task: Task) -> None:
        """Until the engine has answered. Not under the guard: a slow engine must not hold up anybody's lease.

        What was asked of the attempt meanwhile is passed on afterwards.
        """
        give_up = clock.monotonic() + SUBMIT_SECONDS_MAX
        while not self._taken(task, last=clock.monotonic() > give_up):
            threading.Event().wait(SUBMIT_PAUSE_SECONDS)
        with self._guard:
            self._submitted = True
            lease_deadline, reason = self._lease_deadline, self._stop_reason
        self._site.engine.extend(self.id, lease_deadline)
        if reason:
            self._site.engine.cancel(self.id, reason, 0)
        self._follow_log()

    def _follow_log(self) -> None:
        """A log that is to be sealed stays in the attempt's folder until it is."""
        if log_rests(self._offer):
            self._site.logs.attach(self.id, self.token)

    def _taken(self, task: Task, *, last: bool) -> bool:
        """Whether the engine has the task now; an engine that is away may have it without having said so."""
        self.check()
        with self._guard:
            lease_deadline = self._lease_deadline
        try:
            self._site.engine.submit(msgspec.structs.replace(task, lease_deadline=lease_deadline))
        except EngineError as error:
            if last or error.code != REASON_ENGINE_UNAVAILABLE:
                raise
            self._log.warning("engine.not_submitted", detail=error.detail)
            return False
        return True

    def _watcher(self) -> CheckpointWatcher | None:
        plan = self._offer.checkpoint
        if plan is None:
            return None
        folder, scratch = self._layout.checkpoint, self._layout.scratch
        return CheckpointWatcher(
            folder, scratch, self._site.store, every_seconds=plan.every_s, keys=self._remains.keys
        )

    def _watch(self, image: Image, watcher: CheckpointWatcher | None, stager: Stager) -> Observation:
        seen = self._watch_start()
        if seen.wall is not None:
            self._say(
                Started(
                    canaries=seen.wall.canaries,
                    wall=seen.wall.wall,
                    limits=seen.wall.limits,
                    image=image.digest or image.name,
                ),
            )
        told: tuple[int, bool | None] = (0, None)
        next_progress = 0.0
        while seen.end is None:
            seen = self._site.engine.observe(self.id, known="running", timeout_seconds=WATCH_SECONDS)
            news = (seen.progress_lines, seen.healthy)
            if news != told and (seen.end or clock.monotonic() >= next_progress):
                told, next_progress = news, clock.monotonic() + PROGRESS_EVERY_SECONDS
                healthy = {} if seen.healthy is None else {"healthy": seen.healthy}
                line = seen.progress if self._offer.seal == "none" else figures(seen.progress)
                self._say(Progress(line={**line, **healthy}), repeat=False)
            if watcher is not None and seen.end is None:
                self._checkpoint(watcher, stager, final=False)
        return seen

    def _watch_start(self) -> Observation:
        """Until the payload runs or has ended; why it waits in a queue of the site's is told meanwhile."""
        queued = ""
        while True:
            seen = self._site.engine.observe(self.id, known="starting", timeout_seconds=STARTING_SECONDS)
            if seen.phase != "starting":
                return seen
            if seen.queued and seen.queued != queued:
                queued = seen.queued
                engine = self._site.engine.capabilities().engine
                self._say(
                    Progress(line={"event": "queued", "engine": engine, "reason": queued[:200]}), repeat=False
                )

    def _checkpoint(self, watcher: CheckpointWatcher, stager: Stager, *, final: bool) -> None:
        """A checkpoint that cannot be kept is a warning: the payload goes on."""
        try:
            found = watcher.look(size_bytes_max=self._offer.limits.output_bytes, final=final)
            if found is None:
                return
            if self._offer.checkpoint and self._offer.checkpoint.upload:
                stager.upload_tree(found, attempt=self.id, token=self.token)
            self._say(
                CheckpointSaved(object=found.digest, size_bytes=found.size_bytes, envelope=found.envelope)
            )
        except AgentError as error:
            self._log.warning("checkpoint.not_kept", error=str(error))

    def _ended(self, seen: Observation, watcher: CheckpointWatcher | None) -> Ended:
        end = seen.end or EndReport(reason=REASON_BROKEN)
        outputs: list[OutputReport] = []
        uploader = Stager(self._site.client, self._site.store, lambda: None)
        if end.reason in SAVED_REASONS and watcher is not None:
            self._checkpoint(watcher, uploader, final=True)
        if end.reason in COLLECTED_REASONS:
            try:
                outputs = self._remains.collect(uploader)
            except UnreachableError as error:
                # Only an agent that stops gives up on the way: nothing speaks against the job, which is placed again.
                end = msgspec.structs.replace(end, reason=REASON_AGENT_STOPPED, detail=error.detail)
            except AgentError as error:
                end = msgspec.structs.replace(end, reason=error.code, detail=error.detail)
        return Ended(
            reason=end.reason,
            detail=end.detail[:4000],
            exit_status=end.exit_status,
            seconds=math.ceil(end.run_seconds),
            cpu_s=math.ceil(end.cpu_seconds),
            max_rss_bytes=end.max_rss_bytes,
            oom_kills=end.oom_kills,
            outputs=outputs,
            log=self._remains.log_report(seen, uploader),
            canaries=seen.wall.canaries if seen.wall else {},
            egress=end.egress or _unwalled(seen.wall),
            observed=self._observed(seen.wall),
        )

    def _say(self, body: Body, *, repeat: bool = True) -> None:
        """Send a report. A fenced token ends the payload; other refusals are logged, and the end will be told."""
        try:
            self._site.client.send(body, self.id, self.token, wanted=self._alive if repeat else lambda: False)
        except ProblemError as error:
            self._log.warning("message.refused", kind=type(body).__name__, code=error.code)
            if error.code == REASON_FENCED:
                self.fence()
        except UnreachableError as error:
            self._log.info("message.not_delivered", kind=type(body).__name__, error=str(error))

    def _deliver(self, end: Ended) -> None:
        """Write the end down, send it, and only then let go of the folder.

        A disk that does not take it, full of what the payload wrote perhaps, keeps it from nobody but a later process.
        """
        with self._guard:
            fenced = self._stop_reason == REASON_FENCED
        if not fenced:
            try:
                replace_file(self._layout.folder / ENDED_FILE, msgspec.json.encode(end))
            except OSError as error:
                self._log.warning("attempt.end_unwritten", error=type(error).__name__)
            if not deliver_end(self._site, self.id, self.token, end):
                return
        self._site.logs.finish(self.id, size_bytes=0, timeout_seconds=0)
        self._site.engine.forget(self.id)
        remove_tree(self._layout.folder)
        self._log.info("attempt.ended", reason=end.reason, fenced=fenced)


def _unwalled(wall: WallReport | None) -> EgressReport | None:
    """What is known of the way out where nobody counted: that it was open, if there was no wall; else nothing."""
    return EgressReport(MECHANISM_OPEN) if wall is not None and wall.wall == WALL_NONE else None


def deliver_end(site: Site, attempt: str, token: int, end: Ended) -> bool:
    """Whether the control plane has taken or refused the end; False when the agent stops before it answers."""
    try:
        site.client.send(end, attempt, token)
    except ProblemError as error:
        log.warning("end.refused", attempt=attempt, code=error.code)
    except UnreachableError as error:
        log.info("end.not_delivered", attempt=attempt, error=str(error))
        return False
    return True
