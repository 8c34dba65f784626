"""A gang on this machine: one `LocalRun` for each node, and one thread that makes a single task of them."""

from __future__ import annotations

import secrets
import shutil
import threading
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent import sealing
from sekisho_agent.engines import gangs
from sekisho_agent.engines.contract import EndReport, Observation, Phase, Task
from sekisho_agent.engines.gang_log import GangLog
from sekisho_agent.engines.local_host import LocalHost
from sekisho_agent.engines.local_run import LocalRun
from sekisho_agent.relay import Relay
from sekisho_wire.messages import REASON_WALL_BROKEN

LOOK_SECONDS: Final = 0.05
LOOPBACK: Final = "127.0.0.1"


class GangRun:
    """The life of one task of several nodes; used as a `LocalRun` is."""

    def __init__(self, task: Task, nodes: list[LocalRun]) -> None:
        self.task = task
        self._nodes = nodes
        self._changed = threading.Condition()
        self._seen = Observation(phase="starting")
        self._log = GangLog(task.folder, task.nodes, task.limits.log_bytes)  # there from the first moment on

    @classmethod
    def admit(cls, task: Task, host: LocalHost) -> GangRun:
        """All nodes, or EngineError and none; they have not begun."""
        lay_out(task)
        key, relays, nodes = secrets.token_bytes(sealing.KEY_BYTES), list[Relay](), list[LocalRun]()
        try:
            for rank in range(task.nodes):
                own = gangs.rank_task(task, rank)
                relays.append(Relay(gangs.node_of(own), key, host=LOOPBACK))
                nodes.append(host.admit(own, relays[-1]))
        except BaseException:
            for run in nodes:
                run.abandon()
            for relay in relays[len(nodes) :]:
                relay.close()
            raise
        addresses = [relay.address for relay in relays]
        for relay, run in zip(relays, nodes, strict=True):
            relay.connect(addresses, run.lose)
        return cls(task, nodes)

    def observation(self, *, known: Phase | None, timeout_seconds: float) -> Observation:
        """As of `LocalRun`."""
        with self._changed:
            self._changed.wait_for(lambda: self._seen.phase != known, timeout_seconds)
            return self._seen

    def extend(self, lease_deadline: float) -> None:
        """For every node."""
        for run in self._nodes:
            run.extend(lease_deadline)

    def cancel(self, reason: str, grace_seconds: float) -> None:
        """Every node; those that have ended stay as they are."""
        for run in self._nodes:
            run.cancel(reason, grace_seconds)

    def run(self) -> None:
        """Run all nodes to their ends; the first bad one ends the others. Whatever goes wrong becomes an end report."""
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 (an end must come out of every run)
            self.cancel(REASON_WALL_BROKEN, 0)
            for run in self._nodes:
                run.join()
                run.let_go()
            end = EndReport(reason=REASON_WALL_BROKEN, detail=f"{type(error).__name__}: {error}")
            with self._changed:
                self._seen = msgspec.structs.replace(self._seen, phase="ended", end=end)
                self._changed.notify_all()

    def _run(self) -> None:
        for run in self._nodes:
            threading.Thread(target=run.run, name=f"run-{run.task.attempt[-8:]}", daemon=True).start()
        log = self._log
        failed: tuple[int, ...] = ()
        while True:
            nodes = [run.observation(known=None, timeout_seconds=0) for run in self._nodes]
            ends = {rank: node.end for rank, node in enumerate(nodes) if node.end is not None}
            before, failed = failed, gangs.first_failure(ends, failed)
            if failed and not before:
                self.cancel(ends[failed[0]].reason, self.task.limits.grace_s)
            ended = len(ends) == len(nodes)
            log.follow(to_end=ended)
            if ended:
                log.close()
                for run in self._nodes:
                    run.let_go()
            self._show(gangs.merge(nodes, failed), log)
            if ended:
                return
            self._nodes[0].observation(known=nodes[0].phase, timeout_seconds=LOOK_SECONDS)

    def _show(self, seen: Observation, log: GangLog) -> None:
        with self._changed:
            self._seen = msgspec.structs.replace(
                seen,
                log_bytes=log.kept_bytes,
                log_dropped_bytes=seen.log_dropped_bytes + log.dropped_bytes,
            )
            self._changed.notify_all()


def lay_out(task: Task) -> None:
    """The nodes' folders; what node 0 finds in its writable folders at the start, the others find in theirs."""
    for rank in range(task.nodes):
        gangs.rank_folder(task.folder, rank).mkdir(mode=0o700, parents=True, exist_ok=True)
        for target, source in gangs.copies(task, rank).items():
            if not target.exists():
                _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    making = target.with_name(f".{target.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(source, making, symlinks=True)
    making.rename(target)
