"""The engine suite on a real Slurm of two clusters, and what only a scheduler can do to a task."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import msgspec
import pytest

from sekisho_agent import clock
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines import choice
from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.handoff import Handoff
from sekisho_agent.engines.slurm import Slurm
from sekisho_agent.engines.wrapped import LOOK_SECONDS, WrappedEngine
from sekisho_agent.errors import ConfigError, EngineError
from sekisho_wire.messages import CheckpointPlan, Ended, Progress, Started
from tests.agent import control as fake
from tests.agent import slurm_site
from tests.agent.control import ControlPlane
from tests.agent.engine_suite import Behaviour, behaviours, make_task, wait_end, wait_log
from tests.agent.support import (
    AgentProcess,
    agent_process,
    make_offer,
    needs_bubblewrap,
    processes_with,
    until,
)
from tests.support import components, slurm

pytestmark = [pytest.mark.slurm, pytest.mark.wall]

UNTIL_TOLD = "echo ready; until [ -e {}/go ]; do sleep 0.05; done"
AT_ONCE = 4
"""Tasks of one cluster that run side by side."""
WAITS = "echo ready; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def site() -> Iterator[slurm.Site]:
    needs_bubblewrap()
    try:
        slurm.find()
    except slurm.SlurmUnavailableError as error:
        components.missing("a real Slurm", str(error))
    with slurm.running("tokyo", "osaka") as started:
        yield started


@pytest.fixture(scope="module")
def tokyo(site: slurm.Site) -> slurm.Cluster:
    return site.clusters["tokyo"]


def open_engine(cluster: slurm.Cluster, folder: Path, **changes: Any) -> WrappedEngine:
    config = slurm_site.config(cluster, folder, **changes)
    assert config.slurm is not None
    return WrappedEngine(config, Slurm(config.slurm))


def test_every_behaviour_of_the_contract_on_both_clusters(
    site: slurm.Site, tmp_path_factory: pytest.TempPathFactory, subtests: pytest.Subtests
) -> None:
    """Side by side, each behaviour with an engine to itself: a task mostly waits for Slurm to look at its queue."""
    free: dict[str, Queue[WrappedEngine]] = {name: Queue() for name in site.clusters}
    with contextlib.ExitStack() as stack:
        for name, cluster in site.clusters.items():
            for _ in range(AT_ONCE):
                opened = open_engine(cluster, tmp_path_factory.mktemp("engine"))
                stack.callback(opened.close)
                free[name].put(opened)

        def behave(cluster: str, behaviour: Behaviour) -> None:
            engine = free[cluster].get()
            try:
                behaviour(engine, tmp_path_factory.mktemp("task"))
            finally:
                free[cluster].put(engine)

        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE * len(free)))
        begun = {
            (cluster, name): pool.submit(behave, cluster, behaviour)
            for name, behaviour in behaviours().items()
            for cluster in free
        }
        for (cluster, name), outcome in begun.items():
            with subtests.test(f"{name} on {cluster}"):
                outcome.result()


@pytest.fixture
def engine(tokyo: slurm.Cluster, tmp_path: Path) -> Iterator[WrappedEngine]:
    opened = open_engine(tokyo, tmp_path / "state")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def quiet(site: slurm.Site) -> Iterator[None]:
    """What a failed test left in the queues must not fail the next one."""
    yield
    for cluster in site.clusters.values():
        cluster.end_jobs()


def native_of(cluster: slurm.Cluster, task: Task) -> str:
    until(lambda: cluster.native(task.attempt) != "", seconds=20, what="the job in Slurm")
    return cluster.native(task.attempt)


def test_the_job_carries_limits_gpus_and_the_operators_words(tokyo: slurm.Cluster, tmp_path: Path) -> None:
    opened = open_engine(tokyo, tmp_path / "state")
    task = make_task(tmp_path, "echo gpus $CUDA_VISIBLE_DEVICES; sleep 30", gpus=2, gpu_type="H100")
    opened.submit(task)
    wait_log(opened, task, b"gpus")
    assert opened.logs(task.attempt, 0, 100) == b"gpus 0,1\n"
    shown = tokyo.run("scontrol", "show", "job", native_of(tokyo, task), "-o")
    for part in ("Account=tenant", "Partition=batch", "TimeLimit=00:04:00", "gres:gpu:h100:2"):
        assert part.lower() in shown.lower(), part
    opened.cancel(task.attempt, "job.cancelled", 0)
    wait_end(opened, task)
    opened.close()


def test_a_job_that_can_never_run_is_refused_at_once(tokyo: slurm.Cluster, tmp_path: Path) -> None:
    opened = open_engine(tokyo, tmp_path / "state")
    task = make_task(tmp_path, "true", gpus=64, secrets={"key": b"s3cret"})
    with pytest.raises(EngineError) as caught:
        opened.submit(task)
    assert caught.value.code == "engine.refused"
    assert not list(task.folder.rglob("secrets.json"))
    opened.close()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"token_file": "/nonexistent"}, "engine.unavailable"),
        ({"url": "http://127.0.0.1:1"}, "engine.unavailable"),
        ({"account": "nobody"}, "engine.refused"),
        ({"partition": "nowhere"}, "engine.refused"),
    ],
)
def test_a_site_that_is_set_up_wrongly_says_so(
    tokyo: slurm.Cluster, tmp_path: Path, change: dict[str, str], code: str
) -> None:
    opened = open_engine(tokyo, tmp_path / "state", **change)
    with pytest.raises(EngineError) as caught:
        opened.submit(make_task(tmp_path, "true"))
    assert caught.value.code == code
    opened.close()


def test_a_token_that_is_no_longer_good_is_no_end(
    engine: WrappedEngine, tokyo: slurm.Cluster, tmp_path: Path
) -> None:
    token = tokyo.token_file.read_text()
    task = make_task(tmp_path, "echo ready; read line < /out/go; echo done")
    os.mkfifo(task.folder / "out" / "go")
    engine.submit(task)
    wait_log(engine, task, b"ready")
    tokyo.token_file.write_text("e30.e30.wrong")
    try:
        until(lambda: engine._ask_pause > LOOK_SECONDS, what="an answer to the wrong token")
        (task.folder / "out" / "go").write_text("\n")
        end = wait_end(engine, task).end
        assert end is not None
        assert end.reason == "finished"
    finally:
        tokyo.token_file.write_text(token)


def test_waiting_in_the_queue_is_told_with_slurms_own_word(
    engine: WrappedEngine, tokyo: slurm.Cluster, tmp_path: Path
) -> None:
    full = make_task(tmp_path, "sleep 60", gpus=8)
    others = [make_task(tmp_path, "sleep 60", gpus=8), make_task(tmp_path, "echo ran", gpus=8)]
    for task in (full, *others):
        engine.submit(task)
    waiting = others[1]
    until(
        lambda: engine.observe(waiting.attempt).queued in {"Resources", "Priority"},
        seconds=20,
        what="a reason",
    )
    assert engine.observe(waiting.attempt).phase == "starting"
    engine.cancel(full.attempt, "job.cancelled", 0)
    end = wait_end(engine, waiting).end
    assert end is not None
    assert end.reason == "finished"
    engine.cancel(others[0].attempt, "job.cancelled", 0)
    wait_end(engine, others[0])


def test_a_task_is_given_back_after_too_long_in_the_queue(tokyo: slurm.Cluster, tmp_path: Path) -> None:
    opened = open_engine(tokyo, tmp_path / "state", queue_seconds_max=4)
    blocking = [make_task(tmp_path, "sleep 60", gpus=8) for _ in tokyo.nodes]
    for task in blocking:
        opened.submit(task)
    for task in blocking:
        seen = opened.observe(task.attempt, known="starting", timeout_seconds=20)
        assert seen.phase == "running"
    waiting = make_task(tmp_path, "echo ran", gpus=8)
    opened.submit(waiting)
    end = wait_end(opened, waiting).end
    assert end is not None
    assert (end.reason, end.exit_status) == ("engine.queue_too_long", None)
    assert slurm_site.wait_state(tokyo, native_of(tokyo, waiting), "CANCELLED")
    for task in blocking:
        opened.cancel(task.attempt, "job.cancelled", 0)
        wait_end(opened, task)
    opened.close()


def test_an_urgent_job_of_the_site_pushes_the_task_out(
    engine: WrappedEngine, tokyo: slurm.Cluster, tmp_path: Path
) -> None:
    run = "trap 'echo saved > /out/state; exit 75' TERM; echo ready; while :; do sleep 0.1; done"
    tasks = [make_task(tmp_path, run, gpus=8) for _ in tokyo.nodes]
    for task in tasks:
        engine.submit(task)
    for task in tasks:
        wait_log(engine, task, b"ready")
    urgent = tokyo.run(
        "sbatch",
        "--parsable",
        "-A",
        "tenant",
        "-p",
        "urgent",
        "--gres=gpu:8",
        "--mem=100",
        "-o",
        "/dev/null",
        "--wrap",
        "true",
    ).strip()
    slurm_site.wait_state(tokyo, urgent, "COMPLETED", "RUNNING")
    until(
        lambda: any(engine.observe(task.attempt).end for task in tasks), seconds=20, what="a task pushed out"
    )
    (pushed,) = [task for task in tasks if engine.observe(task.attempt).end]
    end = engine.observe(pushed.attempt).end
    assert end is not None
    assert end.reason in {"engine.preempted", "engine.requeued"}
    assert (engine.artefacts(pushed.attempt)["/out"] / "state").read_text() == "saved\n"
    slurm_site.wait_state(tokyo, urgent, "COMPLETED")
    for task in tasks:
        engine.cancel(task.attempt, "job.cancelled", 0)
        wait_end(engine, task)


def test_a_requeued_job_does_not_run_the_task_again(
    engine: WrappedEngine, tokyo: slurm.Cluster, tmp_path: Path
) -> None:
    task = make_task(
        tmp_path, "echo begun >> /out/count; echo ready; sleep 60", lease_deadline=clock.monotonic() + 8
    )
    engine.submit(task)
    wait_log(engine, task, b"ready")
    native = native_of(tokyo, task)
    tokyo.run("scontrol", "update", f"JobId={native}", "Requeue=1")
    tokyo.run("scontrol", "requeue", native)
    end = wait_end(engine, task).end
    assert end is not None
    assert end.reason == "engine.requeued"
    slurm_site.wait_state(tokyo, native, "CANCELLED", "FAILED", "COMPLETED")
    assert (engine.artefacts(task.attempt)["/out"] / "count").read_text() == "begun\n"


def test_a_new_engine_takes_up_what_an_earlier_one_submitted(tokyo: slurm.Cluster, tmp_path: Path) -> None:
    first = open_engine(tokyo, tmp_path / "state")
    running = make_task(tmp_path, "echo ready; read line < /out/go; echo $line")
    fifo = running.folder / "out" / "go"
    os.mkfifo(fifo)
    first.submit(running)
    wait_log(first, running, b"ready")
    first.close()
    (running.folder / "handoff" / "native.json").unlink()
    second = open_engine(tokyo, tmp_path / "state")
    lease = clock.monotonic() + 60
    found = second.adopt(running.folder, lease)
    assert found is not None
    assert found.attempt == running.attempt
    second.submit(found)
    fifo.write_text("went on\n")
    end = wait_end(second, running).end
    assert end is not None
    assert (end.reason, end.exit_status) == ("finished", 0)
    assert second.logs(running.attempt, 0, 100) == b"ready\nwent on\n"
    never = make_task(tmp_path, "true", secrets={"key": b"s3cret"})
    assert second.adopt(never.folder, lease) is None
    Handoff(never.folder).give(never)
    assert second.adopt(never.folder, lease) is None
    assert not list(never.folder.rglob("secrets.json"))
    second.close()


# --- faults, with a whole agent and a control plane that counts


@pytest.fixture
def control() -> Iterator[ControlPlane]:
    with fake.running(lease_seconds=8) as running:
        yield running


@pytest.fixture
def agent(control: ControlPlane, tokyo: slurm.Cluster) -> Iterator[AgentProcess]:
    with agent_process(control, attempts=4, **slurm_site.settings(tokyo)) as process:
        yield process


def ends(control: ControlPlane, attempt: str) -> int:
    return control.kinds(attempt).count("Ended")


def test_a_job_runs_from_offer_to_outputs(control: ControlPlane, agent: AgentProcess) -> None:
    attempt = control.offer(make_offer("echo hello; printf result > /out/model.txt"))
    started = control.wait_for(Started, attempt)
    assert started.wall.startswith("bubblewrap ")
    assert "open" not in started.canaries.values()
    ended = control.wait_for(Ended, attempt, seconds=60)
    assert (ended.reason, ended.exit_status) == ("finished", 0)
    assert [(output.name, output.size_bytes) for output in ended.outputs] == [("out", 6)]
    assert control.log_text(attempt) == b"hello\n"
    until(lambda: not list((agent.folder / "state" / "attempts").iterdir()), what="the attempt's folder gone")


def goes_on(control: ControlPlane, attempt: str, go: Path) -> None:
    """Once a process of the agent has taken the attempt up again, and not before, the payload may go on."""
    renewed = control.kinds(attempt).count("Renew")
    control.until(
        lambda: control.kinds(attempt).count("Renew") > renewed,
        seconds=20,
        what="a renewal by the new process",
    )
    go.touch()


def test_an_agent_that_is_killed_and_back_takes_its_attempt_up_again(
    control: ControlPlane, agent: AgentProcess
) -> None:
    plan = CheckpointPlan(path="/ckpt", every_s=1)
    run = f"{UNTIL_TOLD.format('/ckpt')}; echo saved > /ckpt/.new; mv /ckpt/.new /ckpt/last; echo done"
    attempt = control.offer(make_offer(run, checkpoint=plan))
    control.until(lambda: b"ready" in control.log_text(attempt), seconds=60, what="the payload")
    agent.kill()
    agent.start()
    goes_on(control, attempt, agent.folder / "state" / "attempts" / attempt / "checkpoint" / "go")
    ended = control.wait_for(Ended, attempt, seconds=30)
    assert (ended.reason, ended.exit_status, ends(control, attempt)) == ("finished", 0, 1)
    assert control.log_text(attempt) == b"ready\ndone\n"
    until(lambda: not list((agent.folder / "state" / "attempts").iterdir()), what="the attempt's folder gone")


def test_an_agent_that_is_stopped_leaves_its_attempts_running(
    control: ControlPlane, agent: AgentProcess
) -> None:
    attempt = control.offer(make_offer(f"{UNTIL_TOLD.format('/out')}; echo done"))
    control.until(lambda: b"ready" in control.log_text(attempt), seconds=60, what="the payload")
    assert agent.stop() == 0
    agent.start()
    goes_on(control, attempt, agent.folder / "state" / "attempts" / attempt / "outputs" / "out" / "go")
    assert control.wait_for(Ended, attempt, seconds=60).reason == "finished"
    assert ends(control, attempt) == 1


def test_an_agent_that_is_cut_off_past_its_lease_loses_the_payload(
    control: ControlPlane, agent: AgentProcess, tokyo: slurm.Cluster
) -> None:
    mark = f"sekisho-slurm-cut-{time.monotonic_ns()}"
    control.lease_seconds = 3
    attempt = control.offer(make_offer(f": {mark}; {WAITS}", lease_s=3))
    control.until(lambda: b"ready" in control.log_text(attempt), seconds=60, what="the payload")
    native = tokyo.native(attempt)
    agent.signal(signal.SIGSTOP)
    try:
        until(lambda: not processes_with(mark), seconds=25, what="the payload's end")
        slurm_site.wait_state(tokyo, native, "COMPLETED")
    finally:
        agent.signal(signal.SIGCONT)
    ended = control.wait_for(Ended, attempt, seconds=20)
    assert (ended.reason, ends(control, attempt)) == ("lease.lost", 1)


def test_a_fenced_attempt_is_ended_by_an_agent_that_comes_back(
    control: ControlPlane, agent: AgentProcess
) -> None:
    mark = f"sekisho-slurm-fenced-{time.monotonic_ns()}"
    attempt = control.offer(make_offer(f": {mark}; {WAITS}", lease_s=6))
    control.until(lambda: b"ready" in control.log_text(attempt), seconds=60, what="the payload")
    agent.kill()
    control.fenced.add(attempt)
    agent.start()
    until(lambda: not processes_with(mark), seconds=6, what="the payload's end")
    until(
        lambda: not list((agent.folder / "state" / "attempts").iterdir()),
        seconds=20,
        what="the attempt's folder gone",
    )
    assert ends(control, attempt) == 0


def test_the_queue_of_the_site_is_told_to_the_control_plane(
    control: ControlPlane, agent: AgentProcess, tokyo: slurm.Cluster
) -> None:
    blocking = tokyo.run(
        "sbatch",
        "--parsable",
        "-A",
        "tenant",
        "-N",
        str(len(tokyo.nodes)),
        "--exclusive",
        "-o",
        "/dev/null",
        "--wrap",
        "sleep 60",
    ).strip()
    slurm_site.wait_state(tokyo, blocking, "RUNNING")
    attempt = control.offer(make_offer("echo ran"))
    line = dict(control.wait_for(Progress, attempt, seconds=30).line)
    assert (line["event"], line["engine"]) == ("queued", "slurm")
    tokyo.run("scancel", blocking)
    assert control.wait_for(Ended, attempt, seconds=60).reason == "finished"


def test_an_engine_needs_its_table(tmp_path: Path) -> None:
    values = {"control_url": "http://127.0.0.1:1", "state_dir": str(tmp_path), "engine": "slurm"}
    with pytest.raises(ConfigError):
        choice.open_engine(msgspec.convert(values, AgentConfig))
