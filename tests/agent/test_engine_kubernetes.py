"""The engine suite on Kubernetes with Kueue, played by a stand-in that enforces the published schemas.

`SEKISHO_KUBERNETES` names the settings of a real cluster (a JSON file of the agent's `kubernetes` table); the suite
then runs there too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho_agent import clock
from sekisho_agent.config import AgentConfig, KubernetesConfig
from sekisho_agent.engines import choice
from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.kubernetes import Kubernetes, native_name
from sekisho_agent.engines.wrapped import WrappedEngine
from sekisho_agent.errors import EngineError
from sekisho_wire.messages import Capacity
from tests.agent.engine_suite import WalledSuite, make_task, wait_end, wait_log
from tests.agent.gang_suite import GangSuite, gang_task
from tests.agent.support import needs_bubblewrap, until
from tests.support import kubernetes

pytestmark = pytest.mark.wall
REAL = os.environ.get("SEKISHO_KUBERNETES", "")


@pytest.fixture(scope="module")
def cluster() -> Iterator[kubernetes.Cluster]:
    needs_bubblewrap()
    with kubernetes.running() as started:
        yield started


@pytest.fixture
def quiet(cluster: kubernetes.Cluster) -> Iterator[kubernetes.Cluster]:
    """The cluster without a fault afterwards."""
    yield cluster
    cluster.fault = ""


def table(cluster: kubernetes.Cluster, folder: Path, **changes: Any) -> dict[str, Any]:
    token = folder / "token"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.write_text(kubernetes.TOKEN + "\n", encoding="ascii")
    return {
        "url": cluster.url,
        "token_file": str(token),
        "namespace": "lab",
        "image": "sekisho/agent:1",
        "claim": "shared",
        "shared": "/shared",
        "python": sys.executable,
        "queue": "lab-queue",
    } | changes


def open_engine(settings: dict[str, Any], folder: Path) -> WrappedEngine:
    values = {
        "control_url": "http://127.0.0.1:1",
        "state_dir": str(folder / "state"),
        "engine": "kubernetes",
        "capacity": {"attempts": 8, "cpus": 8, "memory_bytes": 8 << 30},
        "kubernetes": settings,
    }
    opened = choice.open_engine(msgspec.convert(values, AgentConfig))
    assert isinstance(opened, WrappedEngine)
    return opened


@pytest.fixture(scope="module", params=["stand-in", *(["real"] if REAL else [])])
def shared(
    request: pytest.FixtureRequest,
    cluster: kubernetes.Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WrappedEngine]:
    folder = tmp_path_factory.mktemp("engine")
    if request.param == "real":
        settings = json.loads(Path(REAL).read_text(encoding="utf-8"))
    else:
        settings = table(cluster, folder)
    opened = open_engine(settings, folder)
    yield opened
    opened.close()


class TestKubernetesEngine(WalledSuite):
    """Every behaviour of the contract."""

    @pytest.fixture
    def engine(self, shared: WrappedEngine) -> WrappedEngine:
        return shared


class TestKubernetesGangs(GangSuite):
    """Every behaviour of a gang, as one Indexed Job."""

    gang_gpus = 2

    @pytest.fixture
    def engine(self, shared: WrappedEngine) -> WrappedEngine:
        return shared


@pytest.fixture
def engine(cluster: kubernetes.Cluster, tmp_path: Path) -> Iterator[WrappedEngine]:
    opened = open_engine(table(cluster, tmp_path), tmp_path)
    yield opened
    opened.close()


def native(cluster: kubernetes.Cluster, tmp_path: Path, **changes: Any) -> Kubernetes:
    config = msgspec.convert(table(cluster, tmp_path, **changes), KubernetesConfig)
    return Kubernetes(config, Capacity(attempts=1, cpus=1, memory_bytes=1))


def test_a_list_without_end_is_none(
    cluster: kubernetes.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(plural: str, query: dict[str, list[str]]) -> dict[str, Any]:
        asked.append(plural)
        return {"metadata": {"continue": "more"}, "items": [{}]}

    asked: list[str] = []
    monkeypatch.setattr(cluster, "listed", listed)
    monkeypatch.setattr("sekisho_agent.engines.kubernetes.PAGES_MAX", 5)
    made = native(cluster, tmp_path)
    with pytest.raises(EngineError, match="without end") as caught:
        made.look(["a"])
    made.close()
    assert caught.value.code == "engine.unavailable"
    assert asked.count("jobs") >= 5, "others may look at the cluster meanwhile"


def test_the_job_says_what_a_cluster_needs_and_nothing_of_the_payload(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    run = "echo ready; sleep 30; : word-of-the-payload"
    task = make_task(tmp_path, run, gpus=2, gpu_type="NVIDIA-H100", env={"PATH": "/usr/bin", "HIDDEN": "x"})
    engine.submit(task)
    wait_log(engine, task, b"ready")
    job = cluster.job(native_name(task.attempt))
    pod = job["spec"]["template"]["spec"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "lab-queue"
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] == task.limits.wall_s + task.limits.grace_s + 120
    assert pod["automountServiceAccountToken"] is False
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100"}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    text = json.dumps(job)
    assert "word-of-the-payload" not in text
    assert "HIDDEN" not in text
    policy = cluster.get("networkpolicies", native_name(task.attempt))
    assert policy["spec"] == {
        "podSelector": {"matchLabels": {kubernetes.LABEL: native_name(task.attempt)}},
        "policyTypes": ["Ingress", "Egress"],
    }
    engine.cancel(task.attempt, "job.cancelled", 0)
    wait_end(engine, task)


def test_without_kueue_a_job_starts_by_itself(cluster: kubernetes.Cluster, tmp_path: Path) -> None:
    opened = open_engine(table(cluster, tmp_path, queue=""), tmp_path)
    task = make_task(tmp_path, "echo ready")
    opened.submit(task)
    end = wait_end(opened, task).end
    assert end is not None
    assert end.reason == "finished"
    job = cluster.job(native_name(task.attempt))
    assert (job["spec"]["suspend"], list(job["metadata"]["labels"])) == (False, [kubernetes.LABEL])
    opened.close()


def test_why_it_waits_is_kueues_own_word(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    first, second = make_task(tmp_path, "sleep 60", gpus=8), make_task(tmp_path, "echo ran", gpus=8)
    for task in (first, second):
        engine.submit(task)
        engine.observe(task.attempt, known="starting", timeout_seconds=3)
    until(lambda: "insufficient quota" in engine.observe(second.attempt).queued, seconds=10, what="a reason")
    engine.cancel(first.attempt, "job.cancelled", 0)
    end = wait_end(engine, second).end
    assert end is not None
    assert end.reason == "finished"


def test_a_task_that_waits_is_cancelled_without_ever_running(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    first, second = (
        make_task(tmp_path, "echo ready; sleep 60", gpus=8),
        make_task(tmp_path, "echo ran", gpus=8),
    )
    engine.submit(first)
    wait_log(engine, first, b"ready")
    engine.submit(second)
    engine.cancel(second.attempt, "job.cancelled", 5)
    end = wait_end(engine, second).end
    assert end is not None
    assert (end.reason, end.exit_status) == ("job.cancelled", None)
    engine.cancel(first.attempt, "job.cancelled", 0)
    wait_end(engine, first)
    assert native_name(second.attempt) not in cluster.starts


def test_a_preempted_job_saves_and_never_runs_again(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    run = "trap 'echo saved > /out/state; exit 75' TERM; echo begun >> /out/count; echo ready; while :; do sleep 0.1; done"
    task = make_task(tmp_path, run)
    engine.submit(task)
    wait_log(engine, task, b"ready")
    cluster.preempt(native_name(task.attempt))
    end = wait_end(engine, task).end
    assert end is not None
    assert (end.reason, end.exit_status) == ("engine.requeued", 75)
    out = engine.artefacts(task.attempt)["/out"]
    assert ((out / "state").read_text(), (out / "count").read_text()) == ("saved\n", "begun\n")
    until(
        lambda: native_name(task.attempt) not in cluster.objects["networkpolicies"],
        seconds=20,
        what="the policy deleted",
    )


def test_a_job_that_somebody_deletes_is_an_end_with_its_reason(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "trap 'exit 75' TERM; echo ready; while :; do sleep 0.1; done")
    engine.submit(task)
    wait_log(engine, task, b"ready")
    cluster.delete("jobs", native_name(task.attempt))
    end = wait_end(engine, task).end
    assert end is not None
    assert (end.reason, end.exit_status) == ("engine.gone", 75)


@pytest.mark.parametrize("fault", ["error", "wrong", "late", "nothing"])
def test_an_api_server_that_misbehaves_costs_nothing(
    quiet: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path, fault: str
) -> None:
    task = make_task(tmp_path, "echo ready; sleep 2; echo done")
    engine.submit(task)
    wait_log(engine, task, b"ready")
    quiet.fault = fault
    end = wait_end(engine, task).end
    assert end is not None
    assert (end.reason, quiet.starts.count(native_name(task.attempt))) == ("finished", 1)


@pytest.mark.parametrize("fault", ["error", "nothing"])
def test_a_submission_without_an_answer_is_found_again_and_not_sent_twice(
    quiet: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path, fault: str
) -> None:
    task = make_task(tmp_path, "echo once >> /out/count", secrets={"key": b"s3cret"})
    quiet.fault = fault
    with pytest.raises(EngineError) as caught:
        engine.submit(task)
    assert caught.value.code == "engine.unavailable"
    quiet.fault = ""
    engine.submit(task)
    end = wait_end(engine, task).end
    assert end is not None
    assert end.reason in {"finished", "engine.handoff"}
    assert quiet.starts.count(native_name(task.attempt)) == 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"namespace": "elsewhere"}, "engine.unavailable"),
        ({}, "engine.refused"),
        ({"token_file": "/nonexistent"}, "engine.unavailable"),
    ],
)
def test_a_site_that_is_set_up_wrongly_says_so(
    cluster: kubernetes.Cluster, tmp_path: Path, change: dict[str, str], code: str
) -> None:
    made = native(cluster, tmp_path, **change)
    task: Task = make_task(tmp_path, "true")
    if code == "engine.refused":
        task = msgspec.structs.replace(task, attempt="Att Not A Name")
    with pytest.raises(EngineError) as caught:
        made.submit(task)
    assert caught.value.code == code
    made.close()


def test_a_token_that_is_not_good_is_no_end_of_anything(cluster: kubernetes.Cluster, tmp_path: Path) -> None:
    made = native(cluster, tmp_path)
    (tmp_path / "token").write_text("stolen", encoding="ascii")
    with pytest.raises(EngineError) as caught:
        made.look(["a"])
    assert caught.value.code == "engine.unavailable"
    made.close()


def test_what_is_gone_is_cancelled_without_a_word(cluster: kubernetes.Cluster, tmp_path: Path) -> None:
    made = native(cluster, tmp_path)
    made.cancel("att-never-there")
    assert made.find("att_never_there") == ""
    assert made.look(["att-never-there"]) == {}
    made.close()


def test_a_new_engine_takes_up_what_an_earlier_one_submitted(
    cluster: kubernetes.Cluster, tmp_path: Path
) -> None:
    settings = table(cluster, tmp_path)
    first = open_engine(settings, tmp_path)
    task = make_task(tmp_path, "echo ready; sleep 2; echo done")
    first.submit(task)
    wait_log(first, task, b"ready")
    first.close()
    second = open_engine(settings, tmp_path)
    assert second.adopt(task.folder, clock.monotonic() + 60) is not None
    end = wait_end(second, task).end
    assert end is not None
    assert end.reason == "finished"
    second.close()


def test_a_gang_is_one_job_whose_pods_reach_each_other_only(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    task = gang_task(tmp_path, "echo ready; sleep 30", gpus=2)
    engine.submit(task)
    wait_log(engine, task, b"[1] ready")
    name = native_name(task.attempt)
    spec = cluster.job(name)["spec"]
    assert (spec["completions"], spec["parallelism"], spec["completionMode"]) == (2, 2, "Indexed")
    policy = cluster.get("networkpolicies", name)["spec"]
    others = [{"podSelector": {"matchLabels": {kubernetes.LABEL: name}}}]
    assert [rule["from"] for rule in policy["ingress"]] == [others]
    assert [rule["to"] for rule in policy["egress"]] == [others]
    assert not list(task.folder.glob("ranks/*/handoff/secrets.json"))
    engine.cancel(task.attempt, "job.cancelled", 0)
    wait_end(engine, task)


def test_a_gang_waits_until_there_is_room_for_all_of_it(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    first, second = make_task(tmp_path, "sleep 60", gpus=5), gang_task(tmp_path, "echo ran", gpus=2)
    for task in (first, second):
        engine.submit(task)
    until(lambda: "insufficient quota" in engine.observe(second.attempt).queued, seconds=10, what="a reason")
    assert not list(second.folder.rglob("claim"))
    engine.cancel(first.attempt, "job.cancelled", 0)
    wait_end(engine, second)
    assert engine.reason(second.attempt) == "finished"


def test_a_preempted_gang_saves_and_never_runs_again(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    run = "trap 'echo saved > /out/state; exit 75' TERM; echo begun >> /out/count; echo ready; while :; do sleep 0.1; done"
    task = gang_task(tmp_path, run)
    engine.submit(task)
    until(lambda: engine.logs(task.attempt, 0, 100).count(b"ready\n") == 2, seconds=20, what="both payloads")
    cluster.preempt(native_name(task.attempt))
    end = wait_end(engine, task).end
    assert end is not None
    assert (end.reason, end.exit_status) == ("engine.requeued", 75)
    assert [path.read_text() for path in task.folder.rglob("count")] == ["begun\n"] * 2


def test_a_pod_that_is_not_of_the_job_is_not_of_the_gang(
    cluster: kubernetes.Cluster, engine: WrappedEngine, tmp_path: Path
) -> None:
    """Labels can be given to any pod; the Job that made it cannot be chosen."""
    task = gang_task(tmp_path, "echo ready; sleep 30")
    engine.submit(task)
    wait_log(engine, task, b"[1] ready")
    name = native_name(task.attempt)
    stranger: dict[str, Any] = {
        "metadata": {"name": f"{name}-9-stranger", "labels": {kubernetes.LABEL: name}},
        "status": {"podIP": "127.0.9.9"},
    }
    with cluster.lock:
        cluster.objects["pods"][stranger["metadata"]["name"]] = stranger
    made = native(cluster, tmp_path)
    nodes = made.look([name])[name].nodes
    assert sorted(nodes.values()) == ["127.0.1.1", "127.0.1.2"]
    made.close()
    engine.cancel(task.attempt, "job.cancelled", 0)
    wait_end(engine, task)
