"""What the nodes of a gang have come to together; and their logs in one, whoever was interrupted where."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent import peers
from sekisho_agent.engines import gang_log, gangs
from sekisho_agent.engines.contract import EndReport, Observation, WallReport
from sekisho_agent.engines.gang_log import GangLog, rendered
from sekisho_agent.wall import Mount
from sekisho_wire.messages import NODES_MAX, CanaryResult
from tests.agent.engine_suite import make_task

GOOD = EndReport(reason="finished", exit_status=0)
CANARIES: tuple[CanaryResult, ...] = ("open", "unproven", "closed")

ends = st.builds(
    EndReport,
    reason=st.sampled_from(
        ["finished", "failed", "lease.lost", "peers.lost", "peers.missing", "job.cancelled"]
    ),
    detail=st.sampled_from(["", "why"]),
    exit_status=st.sampled_from([None, 0, 3, -9]),
    run_seconds=st.floats(0, 100),
    cpu_seconds=st.floats(0, 100),
    max_rss_bytes=st.integers(0, 1 << 40),
    oom_kills=st.integers(0, 3),
)
walls = st.builds(
    WallReport,
    wall=st.sampled_from(["bubblewrap 0.8.0 + peers", "bubblewrap 0.9.0 + peers"]),
    canaries=st.dictionaries(st.sampled_from(["udp", "dns"]), st.sampled_from(CANARIES)),
    limits=st.dictionaries(st.sampled_from(["cpus", "memory_bytes"]), st.sampled_from(["cgroup", "none"])),
)
nodes = st.one_of(
    st.builds(Observation, phase=st.sampled_from(["starting", "running"]), wall=st.none() | walls),
    st.builds(Observation, phase=st.just("ended"), wall=st.none() | walls, end=ends),
)
gang = st.lists(nodes, min_size=2, max_size=5)


def told(seen: Sequence[Observation]) -> dict[int, EndReport]:
    return {rank: node.end for rank, node in enumerate(seen) if node.end is not None}


@given(gang)
def test_a_gang_has_ended_when_all_of_it_has_and_only_then(seen: list[Observation]) -> None:
    merged = gangs.merge(seen, gangs.first_failure(told(seen), ()))
    all_ended = all(node.phase == "ended" for node in seen)
    assert (merged.phase == "ended") == all_ended == (merged.end is not None)
    assert (merged.phase == "starting") == (not all_ended and any(n.phase == "starting" for n in seen))


@given(gang)
def test_a_gang_ends_well_only_if_every_node_did(seen: list[Observation]) -> None:
    end = gangs.merge(seen, gangs.first_failure(told(seen), ())).end
    if end is not None:
        assert (end.reason == "finished") == all(one.reason == "finished" for one in told(seen).values())


@given(gang, st.data())
def test_the_first_bad_end_is_the_gangs_whatever_comes_after(
    seen: list[Observation], data: st.DataObject
) -> None:
    """The nodes' ends are heard in any order; the cause is the first one that is not for the others' sake."""
    order = data.draw(st.permutations(sorted(told(seen))))
    failed: tuple[int, ...] = ()
    heard: dict[int, EndReport] = {}
    for rank in order:
        heard[rank] = told(seen)[rank]
        before, failed = failed, gangs.first_failure(heard, failed)
        assert failed[: len(before)] == before
    bad = [rank for rank in order if told(seen)[rank].reason != "finished"]
    assert list(failed) == bad
    own = [rank for rank in bad if told(seen)[rank].reason not in gangs.CONSEQUENCES]
    cause = gangs.cause(heard, failed)
    assert cause == next(iter(own or bad), None)
    end = gangs.merge(seen, failed).end
    if end is not None and cause is not None:
        assert (end.reason, end.exit_status) == (heard[cause].reason, heard[cause].exit_status)
        assert end.detail.startswith(f"node {cause}")


@given(gang)
def test_what_was_used_is_added_up(seen: list[Observation]) -> None:
    end = gangs.merge(seen, ()).end
    if end is not None:
        assert end.cpu_seconds == sum(one.cpu_seconds for one in told(seen).values())
        assert end.oom_kills == sum(one.oom_kills for one in told(seen).values())
        assert end.run_seconds == max(one.run_seconds for one in told(seen).values())
        assert end.max_rss_bytes == max(one.max_rss_bytes for one in told(seen).values())


@given(gang)
def test_a_gangs_wall_is_no_better_than_the_worst_of_its_nodes(seen: list[Observation]) -> None:
    merged = gangs.merge(seen, ()).wall
    single = [node.wall for node in seen]
    assert (merged is None) == (None in single)
    for one in single:
        if merged is not None and one is not None:
            assert one.wall in merged.wall
            for route, result in one.canaries.items():
                assert CANARIES.index(merged.canaries[route]) <= CANARIES.index(result)
            for route in merged.canaries.keys() - one.canaries.keys():
                assert merged.canaries[route] != "closed"


def test_each_node_writes_to_its_own_and_reads_the_same(tmp_path: Path) -> None:
    task = make_task(tmp_path, "true", nodes=3, env={"RANK": "mine"})
    data = Mount(source=tmp_path, inside="/data")
    task = type(task)(
        **{name: getattr(task, name) for name in task.__struct_fields__} | {"mounts": (*task.mounts, data)}
    )
    own = [gangs.rank_task(task, rank) for rank in range(3)]
    assert own[0].mounts == task.mounts
    assert [one.mounts[1] for one in own] == [data] * 3
    assert len({one.mounts[0].source for one in own}) == len({one.folder for one in own}) == 3
    assert all(one.mounts[0].source.is_relative_to(task.folder) for one in own)
    assert [one.env["RANK"] for one in own] == ["mine"] * 3
    assert [one.env["NODE_RANK"] for one in own] == ["0", "1", "2"]
    assert [len(gangs.copies(task, rank)) for rank in range(3)] == [0, 1, 1]


def test_every_gang_that_can_be_asked_for_has_addresses() -> None:
    addresses = {peers.node_address(rank) for rank in range(NODES_MAX)}
    assert len(addresses) == NODES_MAX
    assert {str(peers.NETWORK.network_address), str(peers.NETWORK.broadcast_address)} & addresses == set()


class Logs:
    """The folder of a gang, whose nodes write here."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.folder = folder
        for rank in range(nodes):
            gangs.rank_folder(folder, rank).mkdir(parents=True)

    def write(self, rank: int, content: bytes) -> None:
        with (gangs.rank_folder(self.folder, rank) / "log").open("ab") as file:
            file.write(content)

    @property
    def merged(self) -> bytes:
        return (self.folder / "log").read_bytes()


def test_lines_are_whole_and_say_whose_they_are(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    log = GangLog(tmp_path, 2, 10_000)
    logs.write(0, b"a\nhal")
    logs.write(1, b"b\n\nc")
    log.follow()
    assert logs.merged == b"a\n[1] b\n[1] \n"
    logs.write(0, b"f\n")
    log.follow(to_end=True)
    assert logs.merged == b"a\n[1] b\n[1] \nhalf\n[1] c\n"
    assert (log.kept_bytes, log.dropped_bytes) == (len(logs.merged), 0)
    log.close()


def test_a_line_without_end_is_broken_off(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    log = GangLog(tmp_path, 2, 1 << 20)
    logs.write(1, b"x" * (gang_log.LINE_BYTES_MAX - 1))
    log.follow()
    assert logs.merged == b""
    logs.write(1, b"xy")
    log.follow()
    assert logs.merged == b"[1] " + b"x" * gang_log.LINE_BYTES_MAX + b"y\n"
    log.close()


def test_all_logs_together_keep_to_the_limit(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    log = GangLog(tmp_path, 2, 10)
    logs.write(0, b"12345\n")
    logs.write(1, b"12345\n")
    log.follow(to_end=True)
    assert (logs.merged, log.kept_bytes, log.dropped_bytes) == (b"12345\n[1] ", 10, 6)
    log.close()


@pytest.mark.parametrize("lost_bytes", range(40))
def test_an_interrupted_log_goes_on_as_if_nothing_had_been(tmp_path: Path, lost_bytes: int) -> None:
    """Killed between index and log, or in the midst of either; what readers have seen stays where it was."""
    logs = Logs(tmp_path)
    log = GangLog(tmp_path, 2, 60)
    for number in range(4):
        logs.write(number % 2, b"line %d\nmore\n" % number)
        log.follow()
    before = logs.merged
    log.close()
    with (tmp_path / "log").open("r+b") as file:
        file.truncate(max(0, len(before) - lost_bytes))
    with (tmp_path / "ranks" / gang_log.INDEX).open("ab") as file:
        file.write(b"1 4"[: lost_bytes % 4])
    again = GangLog(tmp_path, 2, 60)
    assert logs.merged == before
    assert again.kept_bytes == len(before)
    logs.write(0, b"end\n")
    again.follow(to_end=True)
    assert logs.merged == (before + b"end\n")[:60]
    again.close()


def test_a_disk_that_takes_half_a_line_of_the_index_has_taken_none(tmp_path: Path) -> None:
    """Else a later process of the agent could not read it, and would give up a gang that runs."""
    logs = Logs(tmp_path)
    log = GangLog(tmp_path, 2, 1000)
    logs.write(0, b"first\n")
    log.follow()
    logs.write(1, b"second\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size_bytes = (tmp_path / "ranks" / gang_log.INDEX).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes + 3, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            log.follow()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.follow(to_end=True)
    log.close()
    again = GangLog(tmp_path, 2, 1000)
    again.follow(to_end=True)
    assert logs.merged == b"first\n[1] second\n"
    again.close()


@given(st.lists(st.tuples(st.integers(0, 2), st.text("ab\n", max_size=20)), max_size=20))
def test_no_byte_of_any_node_is_lost_and_its_lines_keep_their_order(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, str]]
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    logs = Logs(folder, 3)
    log = GangLog(folder, 3, 1 << 20)
    for rank, content in written:
        logs.write(rank, content.encode())
        log.follow()
    log.follow(to_end=True)
    log.close()
    got = logs.merged.splitlines()
    for rank in range(3):
        own = "".join(content for number, content in written if number == rank).encode()
        prefix = f"[{rank}] ".encode() if rank else b""
        mine = [line for line in got if line.startswith(prefix) and (rank or line[:1] != b"[")]
        assert mine == [prefix + line for line in own.splitlines()]
        assert rendered(rank, own).splitlines() == mine or not own
