"""The agent's loop: polls for orders, runs each attempt in a thread, renews leases, stops in order.

Threads: this one waits for the stop; `poll` brings orders; `lease` renews, on a connection of its own; `log-sender`
sends logs; one thread per attempt. At start, attempts that an earlier process left behind are taken up again where
their payloads outlive the agent, and reported ended where they died with that process.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sekisho_agent import clock
from sekisho_agent.attempt import ATTEMPT_FILE, ENDED_FILE, Attempt, Kept, deliver_end
from sekisho_agent.client import ControlClient, backoff
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.choice import open_engine
from sekisho_agent.engines.contract import Engine
from sekisho_agent.errors import AgentError, EngineError, ProblemError, UnreachableError, passes
from sekisho_agent.folders import remove_tree
from sekisho_agent.handing import HandOvers
from sekisho_agent.location import LocationService
from sekisho_agent.logsender import LogSender
from sekisho_agent.observer import Observer
from sekisho_agent.site import Site, open_store
from sekisho_agent.state import AgentState
from sekisho_wire.messages import (
    POLL_SECONDS_MAX,
    REASON_AGENT_RESTARTED,
    REASON_AGENT_STOPPED,
    REASON_CANCELLED,
    REASON_FENCED,
    Cancel,
    Ended,
    Envelope,
    HandOver,
    Lease,
    Offer,
    Poll,
)

RENEWALS_PER_LEASE: Final = 4
RENEW_SECONDS_MIN: Final = 0.1
PAUSE_SECONDS_FIRST: Final = 0.2
PAUSE_SECONDS_MAX: Final = 10.0
STOP_SECONDS_MAX: Final = 40.0
STOP_GRACE_SECONDS: Final = 10.0
FATAL_CODES: Final = frozenset({"agent.unknown", "agent.cancelled", "agent.version_unsupported"})
ATTEMPT_ID: Final = re.compile(r"att_[0-9a-hjkmnp-tv-z]{26}")

log = structlog.get_logger(__name__)


class AgentLoop:
    """A running agent. `run` returns after `stop`, or raises the problem that makes going on pointless."""

    def __init__(self, config: AgentConfig, state: AgentState, engine: Engine | None = None) -> None:
        self._state = state
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._attempts: dict[str, tuple[Attempt, threading.Thread]] = {}
        self._fatal: ProblemError | None = None
        self._location = (
            LocationService(config.location, state.identity().signing_key()) if config.location else None
        )
        client = ControlClient(
            config.control_url,
            state.identity(),
            state,
            ca_file=Path(config.ca_file) if config.ca_file else None,
        )
        engine = engine or open_engine(config)
        self.site = Site(
            config=config,
            client=client,
            engine=engine,
            store=open_store(config),
            logs=LogSender(client, engine),
            observer=Observer(config.listener, state.identity().signing_key()) if config.listener else None,
        )
        self._hand_overs = HandOvers(client, self.site.store)

    def run(self) -> None:
        """Work until `stop` is called, then end what runs and report it."""
        leftovers = self._recover()
        helpers = [
            threading.Thread(target=self._guarded, args=(self._poll,), name="poll", daemon=True),
            threading.Thread(target=self._guarded, args=(self._renew,), name="lease", daemon=True),
        ]
        for helper in helpers:
            helper.start()
        if self._location is not None:
            self._location.start()
        log.info("agent.started", agent=self.site.client.agent_id, wall=self.site.engine.capabilities().wall)
        self._stopping.wait()
        self._shut_down(leftovers)
        if self._fatal is not None:
            raise self._fatal

    def stop(self) -> None:
        """Take no more orders and end; from any thread, never from a signal handler."""
        self._stopping.set()

    def _shut_down(self, leftovers: list[threading.Thread]) -> None:
        deadline = clock.monotonic() + STOP_SECONDS_MAX
        with self._guard:
            running = list(self._attempts.values())
        if self.site.engine.outlives_agent:
            running.clear()  # they go on until the next process takes them up, or their leases are over
        for attempt, _ in running:
            attempt.stop(REASON_AGENT_STOPPED, STOP_GRACE_SECONDS)
        for thread in [*leftovers, *(thread for _, thread in running)]:
            thread.join(max(0.0, deadline - clock.monotonic()))
        if self._location is not None:
            self._location.stop()
        self.site.logs.stop()
        self.site.client.close()
        log.info("agent.stopped")

    def _guarded(self, work: Callable[[], None]) -> None:
        """A thread of the agent never dies quietly: a fault of ours is logged, and the work begun again."""
        while True:
            try:
                work()
            except Exception:
                log.exception("agent.thread_broken", thread=threading.current_thread().name)
                self._stopping.wait(PAUSE_SECONDS_MAX)
            else:
                return

    # --- orders

    def _poll(self) -> None:
        pause = PAUSE_SECONDS_FIRST
        while not self._stopping.is_set():
            try:
                orders = self.site.client.poll(self._question())
                pause = PAUSE_SECONDS_FIRST
            except ProblemError as error:
                log.warning("poll.refused", code=error.code, detail=error.detail)
                if error.code in FATAL_CODES:
                    self._fatal = error
                    self._stopping.set()
                    return
                orders = self._pause(PAUSE_SECONDS_MAX)
            except UnreachableError as error:
                log.info("poll.unanswered", error=str(error))
                orders = self._pause(pause)
                pause = min(pause * 2, PAUSE_SECONDS_MAX)
            for order in sorted(orders, key=lambda order: order.seq):
                if not self._stopping.is_set() and self._state.take_order(order.seq):
                    self._obey(order)

    def _question(self) -> Poll:
        with self._guard:
            running = [(attempt.id, attempt.token) for attempt, _ in self._attempts.values()]
        return Poll(
            wait_s=POLL_SECONDS_MAX,
            nonce=secrets.token_hex(16),
            free=self.site.engine.capacity(),
            capabilities=self.site.engine.capabilities(),
            running=running,
        )

    def _pause(self, seconds: float) -> list[Envelope]:
        self._stopping.wait(seconds)
        return []

    def _obey(self, order: Envelope) -> None:
        match order.body:
            case Offer() as offer:
                self._take(order, offer)
            case Cancel(grace_s=grace):
                with self._guard:
                    found = self._attempts.get(order.attempt)
                if found is not None and found[0].token == order.token:
                    found[0].stop(REASON_CANCELLED, grace)
            case HandOver(wanted=wanted):
                self._hand_overs.begin(wanted)
            case _:
                log.warning("order.unexpected", kind=type(order.body).__name__)

    def _take(self, order: Envelope, offer: Offer) -> None:
        """Start an attempt's thread; an attempt that is known here already is left alone."""
        if ATTEMPT_ID.fullmatch(order.attempt) is None:
            log.warning("order.malformed", seq=order.seq)
            return
        with self._guard:
            if order.attempt in self._attempts or (self.site.attempts_folder / order.attempt).exists():
                return
            attempt = Attempt(order.attempt, order.token, offer, self.site)
            thread = threading.Thread(
                target=self._live,
                args=(attempt.id, attempt.run),
                name=f"attempt-{attempt.id[-6:]}",
                daemon=True,
            )
            self._attempts[attempt.id] = attempt, thread
        thread.start()

    def _live(self, attempt: str, work: Callable[[], None]) -> None:
        """Whatever comes of it, nobody renews the lease of an attempt that no thread looks after."""
        try:
            work()
        finally:
            with self._guard:
                del self._attempts[attempt]

    # --- leases

    def _renew(self) -> None:
        due: dict[str, float] = {}
        while not self._stopping.is_set() or self._attempts:
            with self._guard:
                attempts = [attempt for attempt, _ in self._attempts.values() if attempt.accepted]
            due = {attempt.id: due.get(attempt.id, clock.monotonic()) for attempt in attempts}
            for attempt in attempts:
                if clock.monotonic() >= due[attempt.id]:
                    self._renew_one(attempt)
                    due[attempt.id] = clock.monotonic() + attempt.lease_seconds / RENEWALS_PER_LEASE
            pause = min((at - clock.monotonic() for at in due.values()), default=RENEW_SECONDS_MIN)
            self._stopping.wait(pause) if not self._stopping.is_set() else None
            if self._stopping.is_set():
                threading.Event().wait(RENEW_SECONDS_MIN)

    def _renew_one(self, attempt: Attempt) -> None:
        """One try; the next comes in time for the lease. A refusal as fenced ends the payload at once."""
        try:
            answer, sent_at = self.site.client.renew(attempt.id, attempt.token)
        except ProblemError as error:
            log.warning("lease.refused", attempt=attempt.id, code=error.code)
            if error.code == REASON_FENCED:
                attempt.fence()
            return
        except UnreachableError as error:
            log.info("lease.unanswered", attempt=attempt.id, error=str(error))
            return
        if isinstance(answer, Lease):
            attempt.renewed(sent_at + answer.lease_s)
            if answer.cancel:
                attempt.stop(answer.reason or REASON_CANCELLED, answer.grace_s)

    # --- what an earlier process left behind

    def _recover(self) -> list[threading.Thread]:
        folder = self.site.attempts_folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        threads = []
        for leftover in sorted(folder.iterdir()):
            thread = threading.Thread(
                target=self._settle_leftover, args=(leftover,), name="leftover", daemon=True
            )
            thread.start()
            threads.append(thread)
        return threads

    def _settle_leftover(self, folder: Path) -> None:
        """Tried until its files can be read: one that is let go of on a bad day would run on with nobody to end it."""
        pauses = backoff()
        while not self._settled(folder):
            if not self.site.client.rest(pauses):
                return

    def _settled(self, folder: Path) -> bool:
        """Send the end that was written down, take the task up again, or say that the agent was restarted under it.

        False where the system cannot read its files now.
        """
        try:
            kept = msgspec.json.decode((folder / ATTEMPT_FILE).read_bytes(), type=Kept)
            if (folder / ENDED_FILE).exists():
                end = msgspec.json.decode((folder / ENDED_FILE).read_bytes(), type=Ended)
            elif self._taken_up(Attempt(folder.name, kept.token, kept.offer, self.site)):
                return True
            else:
                end = Ended(reason=REASON_AGENT_RESTARTED)
            if not deliver_end(self.site, folder.name, kept.token, end):
                return True
        except (OSError, ValueError, AgentError) as error:
            log.warning("leftover.unreadable", folder=folder.name, error=type(error).__name__)
            if isinstance(error, OSError) and passes(error):
                return False
        remove_tree(folder)
        return True

    def _taken_up(self, attempt: Attempt) -> bool:
        """Whether the attempt goes on here: its engine has the task, and the control plane lets it have its lease.

        Tried until both have answered. One that is fenced by now is taken up only to be ended.
        """
        if not self.site.engine.outlives_agent:
            return False
        while not self._stopping.is_set():
            try:
                answer, sent_at = self.site.client.renew(attempt.id, attempt.token)
                lease_deadline = sent_at + answer.lease_s if isinstance(answer, Lease) else sent_at
                if isinstance(answer, Lease) and answer.cancel:
                    attempt.stop(answer.reason or REASON_CANCELLED, answer.grace_s)
            except ProblemError as error:
                log.warning("leftover.fenced", attempt=attempt.id, code=error.code)
                lease_deadline = clock.monotonic()
                attempt.fence()
            except UnreachableError:
                self._stopping.wait(PAUSE_SECONDS_FIRST)
                continue
            try:
                if not attempt.take_up(lease_deadline):
                    return False
            except EngineError as error:
                log.warning("leftover.engine_silent", attempt=attempt.id, code=error.code)
                self._stopping.wait(PAUSE_SECONDS_MAX / 5)
                continue
            with self._guard:
                self._attempts[attempt.id] = attempt, threading.current_thread()
            self._live(attempt.id, attempt.go_on)
            break
        return True
