"""A gang seen as one task: what each node is given, and what all of them together have come to. Pure.

A node ends well when its payload has exited with 0. The first that ends otherwise is the gang's end: its reason and its
exit status stand for all, and its number is in the detail. That a node has lost the others is never the cause while
another one has a reason of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sekisho_agent import peers
from sekisho_agent.engines.contract import EndReport, Observation, Phase, Task, WallReport
from sekisho_agent.wall import Mount
from sekisho_wire.egress import ADDRESSES_MAX, REFUSED_MAX, EgressReport, Held, Reached
from sekisho_wire.messages import REASON_FINISHED, REASON_PEERS_LOST, REASON_PEERS_MISSING, CanaryResult

FOLDER: Final = "ranks"
CONSEQUENCES: Final = frozenset({REASON_PEERS_LOST, REASON_PEERS_MISSING})
WORST_FIRST: Final[tuple[CanaryResult, ...]] = ("open", "unproven", "closed")


def node_of(task: Task) -> peers.Node:
    """The node that a task of one rank is."""
    return peers.Node(rank=task.rank, nodes=task.nodes, slots=max(1, task.gpus))


def rank_folder(folder: Path, rank: int) -> Path:
    """Where one node of a gang has its log and whatever else is its own."""
    return folder / FOLDER / str(rank)


def rank_task(task: Task, rank: int) -> Task:
    """What one node runs. The job's own variables win over those that tell it of its gang."""
    folder = rank_folder(task.folder, rank)
    mounts = [
        Mount(source=_copy(folder, number), inside=mount.inside, writable=True)
        if mount.writable and rank
        else mount
        for number, mount in enumerate(task.mounts)
    ]
    of_gang = msgspec.structs.replace(task, rank=rank)
    return msgspec.structs.replace(
        of_gang,
        attempt=f"{task.attempt}.{rank}",
        folder=folder,
        mounts=tuple(mounts),
        watch=task.watch.of(rank) if task.watch else None,
        env={**peers.environment(node_of(of_gang)), **task.env},
    )


def copies(task: Task, rank: int) -> dict[Path, Path]:
    """Where the first content of a node's writable folders comes from, by where it goes; empty for node 0."""
    own = rank_task(task, rank)
    pairs = zip(task.mounts, own.mounts, strict=True)
    return {mine.source: its.source for its, mine in pairs if mine.source != its.source}


def first_failure(ends: Mapping[int, EndReport], known: Sequence[int]) -> tuple[int, ...]:
    """Nodes that ended badly, in the order in which that was seen; `known` are those of before."""
    seen = [rank for rank in known if rank in ends]
    return (*seen, *sorted(rank for rank, end in ends.items() if rank not in known and not _well(end)))


def cause(ends: Mapping[int, EndReport], failed: Sequence[int]) -> int | None:
    """The node whose end is the gang's; None while none has ended badly."""
    return next(
        (rank for rank in failed if ends[rank].reason not in CONSEQUENCES), failed[0] if failed else None
    )


def merge(nodes: Sequence[Observation], failed: Sequence[int]) -> Observation:
    """The gang as one task. `failed` is what `first_failure` has come to. The log is not the nodes' to tell."""
    first = nodes[0]
    return Observation(
        phase=_phase(nodes),
        wall=_wall([node.wall for node in nodes]),
        end=_end([node.end for node in nodes], failed),
        progress=first.progress,
        progress_lines=first.progress_lines,
        log_dropped_bytes=sum(node.log_dropped_bytes for node in nodes),
        queued=next((node.queued for node in nodes if node.queued), ""),
        healthy=_healthy([node.healthy for node in nodes]),
    )


def _healthy(answers: Sequence[bool | None]) -> bool | None:
    """Well when all are, unwell when one is."""
    return False if False in answers else None if None in answers else True


def _copy(folder: Path, number: int) -> Path:
    return folder / "writable" / str(number)


def _well(end: EndReport) -> bool:
    return end.reason == REASON_FINISHED


def _phase(nodes: Sequence[Observation]) -> Phase:
    """Ended when all have, running when all have begun."""
    if all(node.phase == "ended" for node in nodes):
        return "ended"
    return "starting" if any(node.phase == "starting" for node in nodes) else "running"


def _wall(walls: Sequence[WallReport | None]) -> WallReport | None:
    """The weakest of what stood around any of them; None while one has not told."""
    told = [wall for wall in walls if wall is not None]
    if len(told) < len(walls):
        return None
    routes = {route for wall in told for route in wall.canaries}
    return WallReport(
        wall=_one_word(wall.wall for wall in told),
        canaries={route: _weakest([wall.canaries.get(route) for wall in told]) for route in sorted(routes)},
        limits={
            name: _one_word(wall.limits.get(name, "none") for wall in told)
            for name in sorted({name for wall in told for name in wall.limits})
        },
    )


def _weakest(results: Sequence[CanaryResult | None]) -> CanaryResult:
    """A route that one of them did not try proves nothing."""
    found: list[CanaryResult] = [result or "unproven" for result in results]
    return next(result for result in WORST_FIRST if result in found)


def _one_word(words: Iterable[str]) -> str:
    return " | ".join(sorted(set(words)))


def _end(ends: Sequence[EndReport | None], failed: Sequence[int]) -> EndReport | None:
    told = {rank: end for rank, end in enumerate(ends) if end is not None}
    if len(told) < len(ends):
        return None
    rank = cause(told, failed)
    judged = told[0 if rank is None else rank]
    detail = "" if rank is None else f"node {rank}: {judged.detail}".removesuffix(": ")
    return EndReport(
        reason=judged.reason,
        detail=detail,
        exit_status=judged.exit_status,
        run_seconds=max(end.run_seconds for end in told.values()),
        cpu_seconds=sum(end.cpu_seconds for end in told.values()),
        max_rss_bytes=max(end.max_rss_bytes for end in told.values()),
        oom_kills=sum(end.oom_kills for end in told.values()),
        egress=_egress([end.egress for end in told.values()]),
    )


def _egress(reports: Sequence[EgressReport | None]) -> EgressReport | None:
    """What went out of all of them; None where one had no wall, of which nothing is known."""
    told = [report for report in reports if report is not None]
    if not told or len(told) < len(reports):
        return None
    together: dict[str, Reached] = {}
    refused: dict[tuple[str, str], int] = {}
    for report in told:
        for one in report.reached:
            before = together.get(one.destination, Reached(one.destination, 0, 0, 0, []))
            together[one.destination] = Reached(
                one.destination,
                before.connections + one.connections,
                before.sent_bytes + one.sent_bytes,
                before.received_bytes + one.received_bytes,
                list(dict.fromkeys([*before.addresses, *one.addresses]))[:ADDRESSES_MAX],
            )
        for held in report.refused:
            refused[held.destination, held.reason] = (
                refused.get((held.destination, held.reason), 0) + held.count
            )
    return EgressReport(
        _one_word(report.mechanism for report in told),
        [together[name] for name in sorted(together)],
        [Held(name, reason, count) for (name, reason), count in sorted(refused.items())][:REFUSED_MAX],
        sum(report.refused_count for report in told),
    )
