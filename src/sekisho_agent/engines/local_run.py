"""One walled payload on this machine: starts bubblewrap, decides on the canaries, reads log and reports.

Everything here runs in the run's own monitor thread, except `command` and the reading of `observation`. The monitor
also stands behind PID 1's watchdog: a wall that outlives its deadline by a margin is killed from outside.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import threading
from collections.abc import Callable
from typing import IO, Any, Final

import msgspec

from sekisho_agent import canaries, clock, wall
from sekisho_agent.accelerators import NOTHING_LENT, Lent
from sekisho_agent.egress import EgressProxy
from sekisho_agent.engines.contract import EndReport, Observation, Phase, Task, WallReport
from sekisho_agent.engines.keeping import GangEnds, readable
from sekisho_agent.engines.log import PayloadLog
from sekisho_agent.limits import ControlGroups, Group, Held, hold
from sekisho_agent.listeners import Listeners, compare
from sekisho_agent.relay import Relay
from sekisho_agent.seccomp import Filter
from sekisho_wire.egress import MECHANISM_NAMESPACE, MECHANISM_PROXY, EgressReport
from sekisho_wire.messages import (
    REASON_CANARY_BROKEN,
    REASON_CANARY_OPEN,
    REASON_FAILED,
    REASON_FINISHED,
    REASON_OUT_OF_MEMORY,
    REASON_PEERS_LOST,
    REASON_PEERS_MISSING,
    REASON_WALL_BROKEN,
    WALL_PEERS,
)

WATCHDOG_MARGIN_SECONDS: Final = 8.0
SETUP_SECONDS_MAX: Final = 30.0
READ_BYTES: Final = 65_536
PROTECTED_LEVEL: Final = 2
PEERS_REASONS: Final = frozenset({REASON_PEERS_LOST, REASON_PEERS_MISSING})
SIGNAL_KILL: Final = 9
SHELL_SIGNAL_OFFSET: Final = 128
PROXY_URL: Final = "http://127.0.0.1:3128"


class Surroundings(msgspec.Struct, frozen=True):
    """What a run borrows from its engine."""

    wall_name: str
    listeners: Listeners
    groups: ControlGroups
    start_process: Callable[[list[str], tuple[int, ...]], subprocess.Popen[bytes]]
    plan: wall.WallPlan
    calls: Filter
    release: Callable[[], None]
    """Called once nothing of the payload is left."""
    accelerators: Lent = NOTHING_LENT
    relay: Relay | None = None
    """For a node of a gang: its end of the overlay, closed by the run."""


class LocalRun:
    """The life of one task; made by the engine, which calls `run` in a thread."""

    def __init__(self, task: Task, surroundings: Surroundings) -> None:
        self.task = task
        self._around = surroundings
        self._changed = threading.Condition()
        self._phase: Phase = "starting"
        self._healthy: bool | None = None
        self._wall: WallReport | None = None
        self._end: EndReport | None = None
        self._log = PayloadLog(task.folder / "log", task.limits.log_bytes)
        self._commands = b""
        self._orders = -1
        self._lease = task.lease_deadline
        self._kill_at: float | None = None
        self._asked_reason = ""
        self._lost = ""

    def observation(self, *, known: Phase | None, timeout_seconds: float) -> Observation:
        """A consistent picture; waits up to the timeout for a phase other than `known`."""
        with self._changed:
            self._changed.wait_for(lambda: self._phase != known, timeout_seconds)
            return Observation(
                phase=self._phase,
                wall=self._wall,
                end=self._end,
                progress=self._log.progress,
                progress_lines=self._log.progress_lines,
                log_bytes=self._log.kept_bytes,
                log_dropped_bytes=self._log.dropped_bytes,
                healthy=self._healthy,
            )

    def extend(self, lease_deadline: float) -> None:
        """Tell PID 1 that the lease holds longer."""
        with self._changed:
            self._lease = max(self._lease, lease_deadline)
        self.command(f"lease {lease_deadline:.3f}")

    def cancel(self, reason: str, grace_seconds: float) -> None:
        """Tell PID 1 to end the payload; kept until there is one to tell."""
        kill_at = clock.monotonic() + grace_seconds + WATCHDOG_MARGIN_SECONDS
        with self._changed:
            self._asked_reason = self._asked_reason or reason
            self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        self.command(f"term {reason} {grace_seconds:.3f}")

    def lose(self, reason: str, detail: str) -> None:
        """The gang cannot go on: end this node with the grace, and say why."""
        with self._changed:
            self._lost = self._lost or detail
        self.cancel(reason, self.task.limits.grace_s)

    def let_go(self) -> None:
        """The whole gang has ended: nobody needs to hear from this node any more."""
        if self._around.relay is not None:
            self._around.relay.close()

    def abandon(self) -> None:
        """Instead of `run`: nothing was started, and nothing will be."""
        self.let_go()
        self._around.release()
        self._log.close()

    def command(self, line: str) -> None:
        """Send one line to PID 1, or keep it until PID 1 is there. One write below PIPE_BUF is never torn."""
        with self._changed:
            content = line.encode("ascii") + b"\n"
            if self._orders < 0:
                self._commands += content
                return
            try:
                os.write(self._orders, content)
            except OSError:  # PID 1 has ended, or does not read: the watchdog outside ends it
                return

    def join(self) -> None:
        """Wait until nothing of it is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._phase == "ended")

    def run(self) -> None:
        """Run the task to its end. Whatever goes wrong becomes an end report."""
        group, proxy = Group({}), None
        try:
            group = self._around.groups.make(self.task.attempt, self.task.limits)
            if self.task.egress:
                proxy = EgressProxy(list(self.task.egress), permit_private=self.task.egress_private)
            end = self._run_walled(group, proxy)
        except Exception as error:  # noqa: BLE001 (an end must come out of every run)
            end = EndReport(
                reason=self._asked_reason or REASON_WALL_BROKEN, detail=f"{type(error).__name__}: {error}"
            )
        finally:
            if proxy is not None:
                proxy.close()
        end = msgspec.structs.replace(_judged(end, group.oom_kills()), egress=self._egress(proxy))
        if end.reason in PEERS_REASONS:
            end = msgspec.structs.replace(end, detail=self._lost)
        group.release()
        if self._around.relay is not None:
            self._part(self._around.relay, end)
        self._around.release()
        self._log.close()
        with self._changed:
            self._phase, self._end = "ended", end
            self._changed.notify_all()

    def _egress(self, proxy: EgressProxy | None) -> EgressReport | None:
        """What went out; None where the wall never stood."""
        with self._changed:
            if self._wall is None:
                return None
        mechanism = MECHANISM_NAMESPACE + (WALL_PEERS if self._around.relay else "")
        return proxy.tally.report(mechanism + MECHANISM_PROXY) if proxy else EgressReport(mechanism)

    def _part(self, relay: Relay, end: EndReport) -> None:
        """A node that ended badly ends the gang; of one that ended well the last words may still be under way."""
        if end.reason == REASON_FINISHED:
            relay.leave()
        else:
            relay.close()

    def _run_walled(self, group: Group, proxy: EgressProxy | None) -> EndReport:
        held = hold(self.task.limits, group.controllers)
        watch = self.task.watch
        outside = canaries.probe(self._around.listeners.targets() | (watch.outside if watch else {}))
        inside_proxy = f"{wall.PROXY_FOLDER_INSIDE}/proxy.sock"
        targets = self._around.listeners.targets(proxy=inside_proxy) | (watch.inside if watch else {})
        plan = msgspec.structs.replace(self._around.plan, proxy_folder=proxy.folder if proxy else None)
        process, orders, reports = self._start(plan, group)
        try:
            os.set_blocking(orders, True)
            _write_all(orders, self._order(held, targets, plan, forward=proxy is not None))
            self._open_commands(orders)
            reader = _ReportReader(reports)
            verdict = _Verdict(outside=outside, targets=targets, held=held)
            self._watch(process, reader, verdict)
            return reader.end or _unreported(process, self._asked_reason)
        finally:
            self._close_commands(orders)
            os.close(reports)
            _finish(process)
            self._around.listeners.forget(targets)

    def _start(self, plan: wall.WallPlan, group: Group) -> tuple[subprocess.Popen[bytes], int, int]:
        """Bubblewrap with PID 1 waiting for its order, already under the group's limits; our two pipe ends."""
        orders_read, orders_write = os.pipe()
        reports_read, reports_write = os.pipe()
        info_read, info_write = os.pipe()
        accounts = readable(wall.account_file(plan))
        relay = self._around.relay
        gang = GangEnds(relay.node) if relay is not None else None
        theirs = (info_write, accounts, orders_read, reports_write, *(gang.theirs if gang else ()))
        descriptors = wall.WallDescriptors(
            info=info_write,
            accounts=accounts,
            orders=orders_read,
            reports=reports_write,
        )
        try:
            process = self._around.start_process(
                wall.arguments(plan, descriptors, gang.descriptors if gang else None), theirs
            )
        except BaseException:
            for descriptor in (orders_write, reports_read, info_read):
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
            if gang is not None and relay is not None:
                gang.receive(relay.attach)
        pid = _child_pid(info_read)
        if pid:
            group.join(pid)
        return process, orders_write, reports_read

    def _order(self, held: Held, targets: dict[str, Any], plan: wall.WallPlan, *, forward: bool) -> bytes:
        task = self.task
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), PROXY_URL)
        order = {
            "lease": self._lease,
            "canaries": targets,
            "forward": forward,
            "uid": plan.payload_uid if plan.as_root else None,
            "rlimits": held.rlimits,
            "seccomp": self._around.calls.program.hex(),
            "wall_s": task.limits.wall_s,
            "grace_s": task.limits.grace_s,
            "output_bytes": task.limits.output_bytes,
            "writable": wall.writable_folders(plan),
            "health": msgspec.structs.asdict(task.health) if task.health else None,
            "argv": list(task.argv),
            "env": {**(proxies if forward else {}), **self._around.accelerators.environment, **task.env},
            "cwd": task.cwd,
            "secrets": {name: value.hex() for name, value in task.secrets.items()},
            "secrets_folder": wall.SECRETS_FOLDER_INSIDE,
        }
        return json.dumps(order).encode() + b"\n"

    def _watch(self, process: subprocess.Popen[bytes], reader: _ReportReader, verdict: _Verdict) -> None:
        """Read until both streams end, which they do when PID 1 has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(_stdout(process), selectors.EVENT_READ)
            selector.register(reader.descriptor, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select(1.0):
                    content = os.read(key.fd, READ_BYTES)
                    if not content:
                        selector.unregister(key.fileobj)
                    elif key.fd == reader.descriptor:
                        for event in reader.feed(content):
                            self._take(event, verdict)
                    else:
                        self._log.write(content)
                if self._overdue():
                    process.kill()

    def _overdue(self) -> bool:
        """Whether PID 1 should have ended the payload long ago."""
        with self._changed:
            deadlines = [self._lease + WATCHDOG_MARGIN_SECONDS]
            if self._kill_at is not None:
                deadlines.append(self._kill_at)
        return clock.monotonic() > min(deadlines)

    def _take(self, event: dict[str, Any], verdict: _Verdict) -> None:
        if event["event"] == "canaries":
            self._decide(event["reached"], verdict, filtered=event["filtered"])
        elif event["event"] == "started":
            self._started(filtered=event["filtered"])
        elif event["event"] == "health":
            with self._changed:
                self._healthy = event["healthy"]

    def _decide(self, reached: dict[str, bool] | None, verdict: _Verdict, *, filtered: bool) -> None:
        """Let the payload start, unless its wall has a hole that its level does not bear."""
        if reached is None:
            self.cancel(REASON_CANARY_BROKEN, 0)
            return
        heard = {
            route: self._around.listeners.heard(target["nonce"]) for route, target in verdict.targets.items()
        }
        results = compare(verdict.outside, reached, heard)
        with self._changed:
            self._wall = WallReport(
                wall=self._around.wall_name,
                canaries=results,
                limits=verdict.held.mechanisms | self._calls_held(filtered=filtered) | self._gpus_held(),
            )
        if self.task.level >= PROTECTED_LEVEL and "open" in results.values():
            self.cancel(REASON_CANARY_OPEN, 0)
        elif self._around.relay is not None:
            self._around.relay.stands(lambda: self.command("go"))
        else:
            self.command("go")

    def _started(self, *, filtered: bool) -> None:
        """What is said of the filter is from now on what the kernel says of the payload's own process."""
        with self._changed:
            if self._wall is not None:
                limits = self._wall.limits | self._calls_held(filtered=filtered)
                self._wall = msgspec.structs.replace(self._wall, limits=limits)
            self._phase = "running"
            self._changed.notify_all()

    def _calls_held(self, *, filtered: bool) -> dict[str, str]:
        """As seen by the canaries, which run as the payload will; then by the payload."""
        calls = self._around.calls
        return {"seccomp": calls.mechanism if filtered or not calls.program else "none (not in force)"}

    def _gpus_held(self) -> dict[str, str]:
        return {"gpus": self._around.accelerators.mechanism} if self.task.gpus else {}

    def _open_commands(self, orders: int) -> None:
        os.set_blocking(orders, False)
        with self._changed:
            kept, self._commands, self._orders = self._commands, b"", orders
            if kept:
                os.write(orders, kept)

    def _close_commands(self, orders: int) -> None:
        with self._changed:
            self._orders = -1
        os.close(orders)


class _Verdict(msgspec.Struct, frozen=True):
    """What is needed to judge the canaries once the inside has reported."""

    outside: dict[str, bool]
    targets: dict[str, Any]
    held: Held


class _ReportReader:
    """PID 1's report stream, line by line; remembers the end."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.end: EndReport | None = None
        self._buffer = b""

    def feed(self, content: bytes) -> list[dict[str, Any]]:
        *lines, self._buffer = (self._buffer + content).split(b"\n")
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for event in events:
            if event["event"] == "end":
                self.end = EndReport(
                    reason=event["reason"],
                    exit_status=event.get("exit_status"),
                    run_seconds=event.get("seconds", 0.0),
                    cpu_seconds=event.get("cpu_seconds", 0.0),
                    max_rss_bytes=event.get("max_rss_bytes", 0),
                )
        return events


def _judged(end: EndReport, oom_kills: int) -> EndReport:
    """Name the reason of an end that nobody asked for."""
    reason = end.reason
    killed = end.exit_status in {-SIGNAL_KILL, SHELL_SIGNAL_OFFSET + SIGNAL_KILL, None}
    if reason in {"", REASON_WALL_BROKEN} and oom_kills and killed:
        reason = REASON_OUT_OF_MEMORY
    elif not reason:
        reason = REASON_FINISHED if end.exit_status == 0 else REASON_FAILED
    return msgspec.structs.replace(end, reason=reason, oom_kills=oom_kills)


def _unreported(process: subprocess.Popen[bytes], asked_reason: str) -> EndReport:
    status = process.wait(SETUP_SECONDS_MAX)
    detail = f"the wall ended without a report (status {status})"
    return EndReport(reason=asked_reason or REASON_WALL_BROKEN, detail=detail)


def _child_pid(info: int) -> int:
    """PID 1's number on the host, out of bubblewrap's info; 0 when bubblewrap failed before it had one."""
    with os.fdopen(info, "rb") as file:
        content = file.read()
    return int(json.loads(content)["child-pid"]) if content else 0


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise ValueError("the process was started without a pipe")
    return process.stdout


def _finish(process: subprocess.Popen[bytes]) -> None:
    """Leave no process: by now PID 1 has ended, or something failed and it must."""
    try:
        process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=SETUP_SECONDS_MAX)
    _stdout(process).close()


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
