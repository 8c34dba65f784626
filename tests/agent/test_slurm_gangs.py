"""Gangs on a real Slurm: one job of two nodes, and what a scheduler can do to part of one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho_agent import clock
from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.slurm import Slurm
from sekisho_agent.engines.wrapped import WrappedEngine
from tests.agent import slurm_site
from tests.agent.engine_suite import wait_end, wait_log
from tests.agent.gang_suite import GangSuite, gang_task
from tests.agent.support import needs_bubblewrap, processes_with, until
from tests.support import components, slurm

pytestmark = [pytest.mark.slurm, pytest.mark.wall]
WAITS = "echo ready; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    needs_bubblewrap()
    try:
        slurm.find()
    except slurm.SlurmUnavailableError as error:
        components.missing("a real Slurm", str(error))
    with slurm.running("nagoya") as started:
        yield started.clusters["nagoya"]


def open_engine(cluster: slurm.Cluster, folder: Path) -> WrappedEngine:
    config = slurm_site.config(cluster, folder)
    assert config.slurm is not None
    return WrappedEngine(config, Slurm(config.slurm))


@pytest.fixture(scope="module")
def shared(cluster: slurm.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WrappedEngine]:
    opened = open_engine(cluster, tmp_path_factory.mktemp("engine"))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def quiet(cluster: slurm.Cluster) -> Iterator[None]:
    """What a failed test left in the queue must not fail the next one."""
    yield
    cluster.end_jobs()


class TestSlurmGangs(GangSuite):
    """Every behaviour of a gang."""

    gang_gpus = 2

    @pytest.fixture
    def engine(self, shared: WrappedEngine) -> WrappedEngine:
        return shared


def begun(engine: WrappedEngine, cluster: slurm.Cluster, task: Task) -> str:
    """The native job of a gang whose payloads both run."""
    engine.submit(task)
    wait_log(engine, task, b"[1] ready\n")
    until(lambda: engine.logs(task.attempt, 0, 100).count(b"ready\n") == 2, what="both payloads")
    return cluster.native(task.attempt)


def test_a_gang_is_one_job_and_leaves_no_key_behind(
    shared: WrappedEngine, cluster: slurm.Cluster, tmp_path: Path
) -> None:
    task = gang_task(tmp_path, WAITS, gpus=2, gpu_type="H100", limits={"cpus": 2})
    native = begun(shared, cluster, task)
    shown = cluster.run("scontrol", "show", "job", native, "-o").lower()
    for part in ("numnodes=2", "numtasks=2", "cpus/task=2", "gres:gpu:h100:2", "nodelist=nagoya-n[1-2]"):
        assert part in shown, part
    assert not list(task.folder.glob("ranks/*/handoff/secrets.json"))
    shared.cancel(task.attempt, "job.cancelled", 0)
    wait_end(shared, task)
    assert slurm_site.wait_state(cluster, native, "COMPLETED", "CANCELLED", "FAILED")


def test_a_requeued_gang_runs_nothing_twice(
    shared: WrappedEngine, cluster: slurm.Cluster, tmp_path: Path
) -> None:
    task = gang_task(tmp_path, f"echo begun >> /out/count; {WAITS}", lease_deadline=clock.monotonic() + 8)
    native = begun(shared, cluster, task)
    cluster.run("scontrol", "update", f"JobId={native}", "Requeue=1")
    cluster.run("scontrol", "requeue", native)
    end = wait_end(shared, task).end
    assert end is not None
    assert end.reason in {"engine.requeued", "engine.cancelled", "lease.lost"}
    time.sleep(1)
    counts = [path.read_text() for path in task.folder.rglob("count")]
    assert counts == ["begun\n"] * 2


def test_a_wrapper_that_is_killed_ends_the_other_node(
    shared: WrappedEngine, cluster: slurm.Cluster, tmp_path: Path
) -> None:
    mark = f"sekisho-gang-{time.monotonic_ns()}"
    task = gang_task(tmp_path, f": {mark}; {WAITS}")
    begun(shared, cluster, task)
    wrappers = [pid for pid in processes_with(str(task.folder)) if _rank(pid) == "1"]
    for pid in wrappers:
        os.kill(pid, signal.SIGKILL)
    assert wrappers
    until(lambda: not processes_with(mark), seconds=20, what="no payload of the gang left")
    end = wait_end(shared, task).end
    assert end is not None
    assert end.reason in {"wall.broken", "peers.lost"}
    assert end.detail.startswith("node ")


def _rank(pid: int) -> str:
    """Which node of a gang a process belongs to, by what Slurm told it; empty for srun and the batch script."""
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    found = [word.partition(b"=")[2] for word in words if word.startswith(b"SLURM_PROCID=")]
    wrapper = b"srun" not in Path(f"/proc/{pid}/comm").read_bytes() and b"SLURM_STEP_ID=0" in words
    return found[0].decode() if found and wrapper else ""


def test_an_agent_that_comes_back_takes_its_gang_up_again(
    shared: WrappedEngine, cluster: slurm.Cluster, tmp_path: Path
) -> None:
    first = open_engine(cluster, tmp_path / "state")
    task = gang_task(tmp_path, "echo ready; sleep 4; echo done")
    begun(first, cluster, task)
    before = first.logs(task.attempt, 0, 1000)
    first.close()
    second = open_engine(cluster, tmp_path / "state")
    taken = second.adopt(task.folder, clock.monotonic() + 60)
    assert taken is not None
    assert (taken.nodes, taken.attempt) == (2, task.attempt)
    end = wait_end(second, taken).end
    assert end is not None
    assert end.reason == "finished"
    logged = second.logs(task.attempt, 0, 1000)
    assert logged.startswith(before)
    assert sorted(logged.splitlines()) == [b"[1] done", b"[1] ready", b"done", b"ready"]
    second.close()


def test_a_gang_that_the_site_pushes_out_may_save(
    shared: WrappedEngine, cluster: slurm.Cluster, tmp_path: Path
) -> None:
    run = "trap 'echo saved > /out/state; exit 75' TERM; echo ready; while :; do sleep 0.1; done"
    task = gang_task(tmp_path, run)
    native = begun(shared, cluster, task)
    cluster.run("scancel", native)
    end = wait_end(shared, task).end
    assert end is not None
    assert (end.reason, end.exit_status) == ("engine.cancelled", 75)
    assert (shared.artefacts(task.attempt)["/out"] / "state").read_text() == "saved\n"


def test_a_gang_waits_in_the_queue_as_a_whole(
    shared: WrappedEngine, cluster: slurm.Cluster, tmp_path: Path
) -> None:
    blocking = cluster.run(
        "sbatch",
        "--parsable",
        "-A",
        "tenant",
        "-N",
        "1",
        "--exclusive",
        "-o",
        "/dev/null",
        "--wrap",
        "sleep 60",
    ).strip()
    slurm_site.wait_state(cluster, blocking, "RUNNING")
    task = gang_task(tmp_path, "echo ran")
    shared.submit(task)
    until(lambda: shared.observe(task.attempt).queued == "Resources", seconds=20, what="a reason")
    assert not list(task.folder.rglob("claim"))
    cluster.run("scancel", blocking)
    wait_end(shared, task)
    assert shared.reason(task.attempt) == "finished"
