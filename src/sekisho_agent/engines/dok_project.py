"""One project of DOK: runs one task at a time, by one thread that asks, sends, looks and fetches.

The next task is sent only when a whole list says that nothing of the project's is waiting or running. A task that may
have been made without our hearing of it is looked for by its tag, and not sent again until the service has had time
to show it; what was made twice all the same is cancelled, all but the oldest.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import msgspec
import structlog

from sekisho_agent import clock
from sekisho_agent.config import DokConfig, DokProject
from sekisho_agent.engines import dok_parcel, dok_rules, rest
from sekisho_agent.engines.contract import EndReport
from sekisho_agent.engines.dok_parcel import Returned
from sekisho_agent.engines.dok_rest import DokService, attempt_tag
from sekisho_agent.engines.dok_rules import Seen
from sekisho_agent.engines.dok_run import Run
from sekisho_agent.engines.dok_store import InputStore
from sekisho_agent.errors import AgentError, EngineError
from sekisho_agent.folders import remove_tree
from sekisho_wire.messages import (
    REASON_ENGINE_REFUSED,
    REASON_ENGINE_UNAVAILABLE,
    REASON_FINISHED,
    REASON_OUTPUT_UNREADABLE,
    REASON_STAGING_FAILED,
)

PAUSE_SECONDS_MAX: Final = 60.0
DOUBT_SECONDS: Final = 30.0
"""How long a task whose making was not answered may take to show in the list."""
TROUBLE_SECONDS: Final = 300.0
"""How often an idle project is asked whether it may run anything."""
FETCH_TRIES: Final = 20
CLOSE_SECONDS: Final = 30.0
NO_TASK: Final = "(none)"
"""In the place of an id: every task of that attempt is one too many."""
NOT_ASKED: Final = "the service has not answered yet"

log = structlog.get_logger(__name__)


class Shared:
    """What all projects of an engine share; `queue` is guarded by `changed`."""

    def __init__(self, config: DokConfig, store: InputStore | None) -> None:
        self.config = config
        self.store = store
        self.changed = threading.Condition()
        self.queue: deque[Run] = deque()
        self.closing = threading.Event()


class Project:
    """Owned by the engine. `runs`, `busy` and `trouble` are guarded by the shared condition.

    `trouble` is why a person must do something first, `busy` that tasks which are not ours hold the project.
    """

    def __init__(self, config: DokProject, shared: Shared) -> None:
        self.name = config.name
        self.trouble = NOT_ASKED
        self.busy = ""
        self.runs: list[Run] = []
        self._shared = shared
        self._service = DokService(shared.config, config)
        self._asked_at = 0.0
        self._doubted: dict[str, str] = {}  # by tag: the right id of an attempt that may have been made twice
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"dok-{config.name}", daemon=True)
        self._thread.start()

    @property
    def free(self) -> bool:
        """Whether a task that is submitted now would be sent at once."""
        return not (self.trouble or self.busy or self.runs)

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    def adopt(self, run: Run) -> None:
        """Tend a task that an earlier process sent; called with the condition held."""
        run.doubt_until = clock.monotonic() + DOUBT_SECONDS
        if not run.kept.native:
            self._doubted[attempt_tag(run.task.attempt)] = ""
        self.runs.append(run)
        self.wake()

    def close(self) -> None:
        """Stop; what runs goes on at the service."""
        self.wake()
        self._thread.join(CLOSE_SECONDS)
        self._service.close()

    def _work(self) -> None:
        pause = poll = self._shared.config.poll_seconds
        while not self._shared.closing.is_set():
            try:
                self._round()
                pause = poll
            except EngineError as error:
                pause = min(pause * 2, PAUSE_SECONDS_MAX)
                log.warning("engine.unanswered", engine="dok", project=self.name, detail=error.detail)
            except Exception:
                pause = min(pause * 2, PAUSE_SECONDS_MAX)
                log.exception("engine.thread_broken", engine="dok", project=self.name)
            with self._shared.changed:
                self._shared.changed.notify_all()
            self._wake.wait(pause)
            self._wake.clear()

    def _round(self) -> None:
        self._ask_trouble()
        with self._shared.changed:
            if self.free and self._shared.queue:
                run = self._shared.queue.popleft()
                self.runs.append(run)
            runs = list(self.runs)
        for run in runs:
            if run.kept.native:
                self._look(run, run.kept.native)
            else:
                self._send(run)

    def _ask_trouble(self) -> None:
        """Now and then while nothing runs, and sooner while something is wrong."""
        asked_every = DOUBT_SECONDS if self._doubted else TROUBLE_SECONDS
        if self.runs or (self.free and clock.monotonic() - self._asked_at < asked_every):
            return
        trouble = self._service.trouble()
        busy = "" if trouble else self._busy(self._tasks())
        if (trouble, busy) not in {(self.trouble, self.busy), ("", "")}:
            log.warning("engine.project_unusable", engine="dok", project=self.name, detail=trouble or busy)
        with self._shared.changed:
            self.trouble, self.busy, self._asked_at = trouble, busy, clock.monotonic()
        if trouble or busy:
            raise EngineError(REASON_ENGINE_UNAVAILABLE, trouble or busy)

    def _tasks(self) -> list[Seen]:
        """Every task, oldest first; what was made of an attempt a second time is cancelled on sight."""
        tasks = self._service.tasks()
        for seen in tasks:
            right = {self._doubted.get(tag) for tag in seen.tags} - {None, "", seen.id}
            if right and not seen.over:
                log.warning("engine.made_twice", engine="dok", project=self.name, tags=list(seen.tags))
                self._service.cancel(seen.id)
        return tasks

    # --- before it runs

    def _send(self, run: Run) -> None:
        """Make the task, unless it is there already, is unwanted by now, or the project is not free."""
        wish = run.wish(self._shared.config.queue_seconds_max)
        if wish and not run.kept.sent:
            self._finish(run, EndReport(reason=wish))
            return
        try:
            tasks = self._tasks()
        except EngineError as error:
            if error.code == REASON_ENGINE_REFUSED and not run.kept.sent:
                self._give_back(run, trouble=error.detail)
            raise
        ours = [seen for seen in tasks if attempt_tag(run.task.attempt) in seen.tags]
        if ours:
            self._found(run, ours)
        elif run.kept.sent and clock.monotonic() < run.doubt_until:
            self._say(run, "the service did not answer; looking for the task")
        elif wish:
            self._finish(run, EndReport(reason=wish))
        elif busy := self._busy(tasks):
            self._say(run, busy) if run.kept.sent else self._give_back(run, busy=busy)
        else:
            self._make(run)

    def _busy(self, tasks: list[Seen]) -> str:
        """Somebody else's task, or one of ours that nobody remembers: the project is not free."""
        return (
            f"another task of project {self.name} is not over" if any(not seen.over for seen in tasks) else ""
        )

    def _give_back(self, run: Run, *, trouble: str = "", busy: str = "") -> None:
        """Another project may be free sooner, and nothing has been sent through this one."""
        with self._shared.changed:
            run.said = trouble or busy
            self.trouble, self.busy = trouble, busy
            self.runs.remove(run)
            self._shared.queue.appendleft(run)

    def _found(self, run: Run, ours: list[Seen]) -> None:
        """The oldest is the attempt; whatever else bears its tag was made twice."""
        self._doubted[attempt_tag(run.task.attempt)] = ours[0].id
        self._tasks()
        self._place(run, ours[0])

    def _make(self, run: Run) -> None:
        """What was decided is on the disk before it is sent, so that no restart can forget it."""
        try:
            parcel = run.parcel(self._shared.store)
        except EngineError as error:
            if error.code == REASON_ENGINE_UNAVAILABLE:
                raise
            self._finish(
                run, EndReport(reason=REASON_STAGING_FAILED, detail=f"{error.detail} [{error.code}]")
            )
            return
        asked = dok_rules.request(run.task, self._shared.config, parcel)
        with self._shared.changed:
            run.keep(project=self.name, sent=True)
        run.doubt_until = clock.monotonic() + DOUBT_SECONDS
        try:
            seen = self._service.create(asked)
        except EngineError as error:
            if error.code == REASON_ENGINE_REFUSED:
                self._finish(run, EndReport(reason=error.code, detail=error.detail))
                return
            self._doubted[attempt_tag(run.task.attempt)] = ""
            raise
        self._place(run, seen)

    def _place(self, run: Run, seen: Seen) -> None:
        """The task is ours, under this id, and must be what was asked for."""
        if attempt_tag(run.task.attempt) in self._doubted:
            self._doubted[attempt_tag(run.task.attempt)] = seen.id
        wrong = dok_rules.mismatch(seen, run.task, self._shared.config)
        with self._shared.changed:
            run.keep(project=self.name, native=seen.id, sent=True)
            if wrong:
                run.order_end(REASON_ENGINE_REFUSED, wrong)
        self._look(run, seen.id)

    # --- once it is made

    def _look(self, run: Run, native: str) -> None:
        seen = self._service.get(native)
        if seen is None:
            self._unknown(run)
            return
        with self._shared.changed:
            run.see(seen)
            self._shared.changed.notify_all()
        if attempt_tag(run.task.attempt) in self._doubted:
            self._tasks()  # a request that was not answered may be done late
        if seen.over:
            self._collect(run, seen)
            return
        if seen.status == "running":
            run.log.follow(lambda: self._service.stream(native), self._shared.config.ca_file)
        wish = run.wish(self._shared.config.queue_seconds_max)
        if wish and self._service.cancel(native):
            with self._shared.changed:
                run.order_end(wish)
                run.cancelled = run.kept.cancel

    def _unknown(self, run: Run) -> None:
        """Perhaps its id was never right. A record that somebody deleted is no end: it may run until its time limit."""
        ours = [seen for seen in self._tasks() if attempt_tag(run.task.attempt) in seen.tags]
        if ours and ours[0].id != run.kept.native:
            self._found(run, ours)
            return
        run.gone_at = run.gone_at or clock.monotonic()
        if clock.monotonic() - run.gone_at > dok_rules.limit_seconds(run.task):
            self._finish(run, dok_rules.gone())

    def _collect(self, run: Run, seen: Seen) -> None:
        """It is over: bring home what it left, then say so. What cannot be fetched is tried again for a while."""
        returned: Returned | None = None
        problem: tuple[str, str] | None = None
        if seen.artefact:
            try:
                returned = self._fetch(run, seen.id)
            except EngineError as error:
                run.tries += 1
                if error.code == REASON_ENGINE_UNAVAILABLE and run.tries < FETCH_TRIES:
                    raise
                problem = error.code, error.detail
        told = returned.told if returned is not None else None
        run.log.settle(returned.log if returned is not None else None, told.log_bytes if told else 0)
        end = dok_rules.end(seen, told, cancelled=run.cancelled, ran_seconds=run.ran_seconds)
        if returned is not None:
            problem = returned.problem
        self._finish(run, _with_problem(end, problem, returned.refused if returned else 0))

    def _fetch(self, run: Run, native: str) -> Returned:
        scratch = run.folder / "fetch"
        remove_tree(scratch)
        scratch.mkdir(mode=0o700, exist_ok=True)
        archive = scratch / "artefact.tar.gz"
        rest.download(
            self._service.download(native),
            archive,
            size_bytes_max=dok_parcel.bytes_max(run.task),
            ca_file=self._shared.config.ca_file,
        )
        return dok_parcel.unpack(archive, run.task, scratch)

    def _finish(self, run: Run, end: EndReport) -> None:
        run.log.settle(None, 0)
        if self._shared.store is not None and run.kept.sent:
            try:
                self._shared.store.remove(run.task.attempt)
            except AgentError as error:
                log.warning("engine.inputs_left", engine="dok", detail=error.detail)
        with self._shared.changed:
            run.finish(end)
            self.runs.remove(run)
            self._shared.changed.notify_all()
        if attempt_tag(run.task.attempt) in self._doubted:
            self._doubted[attempt_tag(run.task.attempt)] = run.kept.native or NO_TASK
            self._asked_at = 0.0
        self.wake()

    def _say(self, run: Run, said: str) -> None:
        with self._shared.changed:
            run.said = said


def _with_problem(end: EndReport, problem: tuple[str, str] | None, refused: int) -> EndReport:
    """An end whose output did not come home is no good end; a bad one keeps its reason."""
    reason, detail = end.reason, end.detail
    if problem is not None:
        code, said = problem
        if reason in {REASON_FINISHED, REASON_OUTPUT_UNREADABLE}:
            reason = REASON_OUTPUT_UNREADABLE if code == REASON_ENGINE_UNAVAILABLE else code
        detail = f"{detail}; {said}" if detail and reason == end.reason else said
    elif refused:
        detail = f"{detail} {refused} entries of the output were no plain files and were left".strip()
    return msgspec.structs.replace(end, reason=reason, detail=detail)
