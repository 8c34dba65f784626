"""The traps of DOK, and a service that misbehaves: nothing is lost, nothing doubled, every end has one reason."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho_agent import clock
from sekisho_agent.engines import dok_project, dok_rules
from sekisho_agent.engines.contract import Setup, Task
from sekisho_agent.engines.dok import DokEngine
from sekisho_agent.errors import ConfigError, EngineError, ImageError
from sekisho_agent.wall import Mount
from tests.agent.dok_site import IMAGE, one, open_engine, quick, service, table
from tests.agent.engine_suite import finish, make_task, wait_end, wait_log
from tests.agent.support import until
from tests.support import dok

__all__ = ["one", "quick", "service"]
pytestmark = pytest.mark.wall


def test_what_is_asked_for(service: dok.Service, one: DokEngine, tmp_path: Path) -> None:
    task = make_task(tmp_path, "true", env={"PATH": "/usr/bin:/bin", "A": "b"}, limits={"wall_s": 5})
    finish(one, task)
    (made,) = service.of(task.attempt)
    container = made["containers"][0]
    assert made["tags"] == [f"sekisho:{task.attempt}"]
    assert made["execution_time_limit_sec"] == 600
    assert (container["http"], container["ssh"], container["registry"]) == (None, None, None)
    assert (container["image"], container["environment"]) == (IMAGE, {"A": "b"})
    assert all(len(part) < 128 << 10 for part in container["command"])
    assert not [asked for asked in service.asked if asked.startswith("DELETE") or "agree" in asked]


def test_a_longer_limit_is_the_services_too(service: dok.Service, one: DokEngine, tmp_path: Path) -> None:
    task = make_task(tmp_path, "true", limits={"wall_s": 7200, "grace_s": 10})
    finish(one, task)
    assert service.of(task.attempt)[0]["execution_time_limit_sec"] == 7330


def test_one_task_at_a_time_and_the_next_when_it_is_over(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    first, second = make_task(tmp_path, "sleep 2"), make_task(tmp_path, "echo ran")
    one.submit(first)
    one.submit(second)
    until(lambda: one.observe(first.attempt).phase == "running", what="the first running")
    assert (one.observe(second.attempt).phase, service.of(second.attempt)) == ("starting", [])
    assert wait_end(one, second).end is not None
    assert one.reason(first.attempt) == one.reason(second.attempt) == "finished"
    assert service.starts == [first.attempt, second.attempt]


def test_several_projects_are_one_pool(tmp_path: Path, quick: None) -> None:
    with dok.running("first", "second") as service:
        engine = open_engine(table(service, tmp_path), tmp_path)
        until(lambda: engine.capacity().attempts == 2, what="two free projects")
        tasks = [make_task(tmp_path, "echo ready; sleep 2") for _ in range(3)]
        for task in tasks:
            engine.submit(task)
        until(lambda: len(service.starts) == 2, what="two running")
        assert engine.capacity().attempts == 0
        assert {wait_end(engine, task).phase for task in tasks} == {"ended"}
        assert {len(service.of(task.attempt)) for task in tasks} == {1}
        engine.close()


def test_a_project_that_somebody_else_uses_is_not_free(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    account = service.accounts["first"]
    asked: dict[str, Any] = {"name": "mine", "tags": [], "execution_time_limit_sec": 600}
    container = {
        "image": IMAGE,
        "plan": "v100-32gb",
        "entrypoint": ["/bin/sh"],
        "command": ["-c", "sleep 60"],
    }
    theirs = service.create(account, {**asked, "containers": [{**container, "environment": {}}]})
    task = make_task(tmp_path, "echo ran")
    one.submit(task)
    until(lambda: "another task" in one.observe(task.attempt).queued, what="a reason")
    assert (one.capacity().attempts, service.of(task.attempt)) == (0, [])
    service.cancel(theirs)
    assert wait_end(one, task).end is not None
    assert one.reason(task.attempt) == "finished"


@pytest.mark.parametrize("fault", ["error", "busy", "wrong", "late", "nothing", "other on GET"])
def test_a_service_that_misbehaves_costs_nothing(
    service: dok.Service, one: DokEngine, tmp_path: Path, fault: str
) -> None:
    task = make_task(tmp_path, "echo ready; sleep 2; echo done")
    one.submit(task)
    wait_log(one, task, b"ready")
    service.fault = fault
    until(
        lambda: service.containers[service.of(task.attempt)[0]["id"]].process.poll() is not None,
        what="its end",
    )
    assert one.observe(task.attempt).phase == "running"
    service.fault = ""
    end = wait_end(one, task).end
    assert end is not None
    assert (end.reason, service.starts.count(task.attempt)) == ("finished", 1)
    assert one.logs(task.attempt, 0, 100) == b"ready\ndone\n"


@pytest.mark.parametrize("fault", ["error", "busy", "wrong", "late", "nothing", "before", "twice", "other"])
def test_a_making_without_a_good_answer_is_found_and_never_doubled(
    service: dok.Service, one: DokEngine, tmp_path: Path, fault: str
) -> None:
    task = make_task(tmp_path, "echo once >> /out/count; sleep 2")
    service.fault = f"{fault} on POST"
    one.submit(task)
    until(lambda: "POST /tasks/" in service.asked, what="the request")
    time.sleep(0.6)
    service.fault = ""
    end = wait_end(one, task).end
    assert end is not None
    assert end.reason == "finished"
    assert (one.artefacts(task.attempt)["/out"] / "count").read_text() == "once\n"
    assert service.starts.count(task.attempt) == 1
    assert {made["status"] for made in service.of(task.attempt)} <= {"done", "canceled"}


def test_a_making_that_is_done_long_after_its_answer_was_given_up(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "echo once >> /out/count; sleep 3")
    service.fault = "done late on POST"
    one.submit(task)
    until(lambda: "POST /tasks/" in service.asked, what="the request")
    service.fault = ""
    end = wait_end(one, task).end
    assert end is not None
    assert (end.reason, service.starts.count(task.attempt)) == ("finished", 1)
    assert [made["status"] for made in service.of(task.attempt)] == ["done", "canceled"]
    until(lambda: one.capacity().attempts == 1, what="a free project")


def test_a_making_that_is_done_after_the_attempt_was_given_up_is_cancelled(
    service: dok.Service, one: DokEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dok_project, "DOUBT_SECONDS", 0.4)
    task = make_task(tmp_path, "sleep 60")
    service.fault = "done late on POST"
    one.submit(task)
    until(lambda: "POST /tasks/" in service.asked, what="the request")
    service.fault = ""
    one.cancel(task.attempt, "job.cancelled", 0)
    end = wait_end(one, task).end
    assert end is not None
    assert (end.reason, service.of(task.attempt)) == ("job.cancelled", [])
    until(lambda: bool(service.of(task.attempt)), what="the task made after all")
    until(lambda: service.of(task.attempt)[0]["status"] == "canceled", what="it cancelled")


@pytest.mark.parametrize(
    "change",
    [
        {"execution_time_limit_sec": None},
        {"execution_time_limit_sec": 1_728_000},
        {"http_uri": "https://public.test/"},
    ],
)
def test_a_task_that_was_made_otherwise_is_cancelled(
    service: dok.Service, one: DokEngine, tmp_path: Path, change: dict[str, Any]
) -> None:
    service.change = lambda made: made | change
    task = make_task(tmp_path, "sleep 60")
    end = finish(one, task)
    assert end.reason == "engine.refused"
    assert "the service" in end.detail
    assert service.of(task.attempt)[0]["status"] == "canceled"


def test_terms_are_for_a_person_to_agree_to(service: dok.Service, one: DokEngine, tmp_path: Path) -> None:
    service.accounts["first"].agreed = False
    task = make_task(tmp_path, "true")
    one.submit(task)
    until(lambda: bool(one._projects["first"].trouble), what="the trouble noticed")
    with pytest.raises(EngineError, match="terms of service") as caught:
        one.submit(make_task(tmp_path, "true"))
    assert caught.value.code == "engine.unavailable"
    assert not [asked for asked in service.asked if "agree" in asked]
    service.accounts["first"].agreed = True
    assert wait_end(one, task).phase == "ended"


def test_a_credential_that_is_refused_is_a_project_that_runs_nothing(
    service: dok.Service, tmp_path: Path, quick: None
) -> None:
    settings = table(service, tmp_path)
    (tmp_path / "credential-first").write_text("first:stolen\n", encoding="ascii")
    engine = open_engine(settings, tmp_path, ready=False)
    until(lambda: "refuses the credential" in engine._projects["first"].trouble, what="the trouble noticed")
    assert engine.capacity().attempts == 0
    with pytest.raises(EngineError, match="credential") as caught:
        engine.submit(make_task(tmp_path, "true"))
    assert "stolen" not in str(caught.value)
    engine.close()


def test_somebody_who_cancels_it_at_the_service(service: dok.Service, one: DokEngine, tmp_path: Path) -> None:
    task = make_task(tmp_path, "echo ready; sleep 60")
    one.submit(task)
    wait_log(one, task, b"ready")
    service.cancel(service.of(task.attempt)[0])
    end = wait_end(one, task).end
    assert end is not None
    assert end.reason == "engine.cancelled"


def test_a_task_that_the_service_breaks_off(tmp_path: Path, quick: None) -> None:
    with dok.running(time_scale=0.001) as service:
        engine = open_engine(table(service, tmp_path), tmp_path)
        end = finish(engine, make_task(tmp_path, "sleep 60"))
        assert (end.reason, end.exit_status) == ("engine.ended", None)
        assert "time limit" in end.detail
        engine.close()


def test_a_task_that_leaves_nothing(service: dok.Service, one: DokEngine, tmp_path: Path) -> None:
    service.artefact = lambda _packed: None
    assert finish(one, make_task(tmp_path, "true")).reason == "output.unreadable"
    assert finish(one, make_task(tmp_path, "exit 3")).reason == "engine.ended"


def no_limit(task: Task) -> int:
    return 0


def test_a_record_that_somebody_deletes_is_no_end(
    service: dok.Service, one: DokEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tmp_path, "echo ready; sleep 60")
    one.submit(task)
    wait_log(one, task, b"ready")
    service.delete(service.accounts["first"], service.of(task.attempt)[0])
    assert one.observe(task.attempt, known="running", timeout_seconds=1).phase == "running"
    monkeypatch.setattr(dok_rules, "limit_seconds", no_limit)
    end = wait_end(one, task).end
    assert end is not None
    assert end.reason == "engine.gone"


def test_a_log_that_breaks_off_is_whole_in_the_end(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    service.stream_breaks = 1
    task = make_task(tmp_path, "printf 'one\\377'; sleep 3; echo two")
    finish(one, task)
    assert one.logs(task.attempt, 0, 100) == b"one\xfftwo\n"


@pytest.mark.parametrize(
    "around",
    [["--as-pid-1", "--ro-bind", "/usr/bin/bash", "/usr/bin/dash"], []],
    ids=["bash", "under an init"],
)
def test_other_shells_and_containers(
    service: dok.Service, one: DokEngine, tmp_path: Path, around: list[str]
) -> None:
    service.bubblewrap = around
    run = "trap 'echo asked; echo x > /out/x; exit 75' TERM; setsid sleep 60 & head -c 300000 /dev/zero; while :; do sleep 0.1; done"
    task = make_task(tmp_path, run, limits={"wall_s": 1, "grace_s": 5})
    end = finish(one, task)
    assert (end.reason, end.exit_status) == ("job.time_limit", 75)
    assert one.observe(task.attempt).log_dropped_bytes == 300_000 + 6 - task.limits.log_bytes
    assert (one.artefacts(task.attempt)["/out"] / "x").exists()


def test_a_task_that_writes_nowhere(one: DokEngine, tmp_path: Path) -> None:
    assert finish(one, make_task(tmp_path, "echo ran", mounts=())).reason == "finished"


def test_what_a_container_cannot_begin_is_told(service: dok.Service, one: DokEngine, tmp_path: Path) -> None:
    service.bubblewrap = ["--as-pid-1", "--ro-bind", "/usr/bin/false", "/usr/bin/base64"]
    end = finish(one, make_task(tmp_path, "echo ran"))
    assert (end.reason, end.exit_status) == ("stage.failed", None)
    assert "could not be decoded" in end.detail


def test_what_waits_here_in_vain_ends_without_having_been_sent(
    service: dok.Service, tmp_path: Path, quick: None
) -> None:
    engine = open_engine(table(service, tmp_path, queue_seconds_max=2), tmp_path)
    first = make_task(tmp_path, "echo ready; sleep 60")
    engine.submit(first)
    wait_log(engine, first, b"ready")
    lost = make_task(tmp_path, "true", lease_deadline=clock.monotonic() + 0.5)
    cancelled, patient = make_task(tmp_path, "true"), make_task(tmp_path, "true")
    for task in (lost, cancelled, patient):
        engine.submit(task)
    engine.cancel(cancelled.attempt, "job.cancelled", 0)
    for task, reason in (
        (lost, "lease.lost"),
        (cancelled, "job.cancelled"),
        (patient, "engine.queue_too_long"),
    ):
        end = wait_end(engine, task).end
        assert end is not None
        assert (end.reason, end.exit_status, service.of(task.attempt)) == (reason, None, [])
    assert engine.observe(first.attempt).phase == "running"
    engine.cancel(first.attempt, "job.cancelled", 0)
    wait_end(engine, first)
    engine.close()


def test_a_task_that_the_service_does_not_take(service: dok.Service, one: DokEngine, tmp_path: Path) -> None:
    def refuse(_made: dict[str, Any]) -> dict[str, Any]:
        raise dok.RefusalError(400, {"plan": ["no longer sold"]})

    service.change = refuse
    end = finish(one, make_task(tmp_path, "true"))
    assert (end.reason, end.exit_status) == ("engine.refused", None)
    assert "no longer sold" in end.detail
    service.change = dict
    assert finish(one, make_task(tmp_path, "true")).reason == "finished"


@pytest.mark.parametrize(("lost", "reason"), [(3, "finished"), (9, "output.unreadable")])
def test_a_download_that_fails_is_tried_again_for_a_while(
    service: dok.Service,
    one: DokEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    lost: int,
    reason: str,
) -> None:
    monkeypatch.setattr(dok_project, "FETCH_TRIES", 5)
    service.downloads_lost = lost
    task = make_task(tmp_path, "echo said; echo kept > /out/file")
    assert finish(one, task).reason == reason
    assert (one.artefacts(task.attempt)["/out"] / "file").exists() == (reason == "finished")


# --- a later process of the agent


def test_a_new_engine_takes_up_what_an_earlier_one_sent(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "echo ready; sleep 2; echo done > /out/file")
    one.submit(task)
    wait_log(one, task, b"ready")
    one.close()
    second = open_engine(table(service, tmp_path), tmp_path, ready=False)
    assert second.adopt(task.folder, clock.monotonic() + 60) is not None
    assert wait_end(second, task).end is not None
    assert second.reason(task.attempt) == "finished"
    assert (second.artefacts(task.attempt)["/out"] / "file").read_text() == "done\n"
    assert service.starts == [task.attempt]
    second.close()


def test_a_new_engine_finds_what_no_answer_told_the_earlier_one(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "echo once >> /out/count")
    service.fault = "nothing on POST"
    one.submit(task)
    until(lambda: bool(service.of(task.attempt)), what="the task made")
    service.fault = "error"
    one.close()
    service.fault = ""
    second = open_engine(table(service, tmp_path), tmp_path, ready=False)
    assert second.adopt(task.folder, clock.monotonic() + 60) is not None
    assert wait_end(second, task).end is not None
    assert (second.reason(task.attempt), service.starts) == ("finished", [task.attempt])
    second.close()


def test_what_was_never_sent_is_nothing_to_take_up(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    service.fault = "error"
    task = make_task(tmp_path, "true")
    one.submit(task)
    one.close()
    second = open_engine(table(service, tmp_path), tmp_path, ready=False)
    assert second.adopt(task.folder, clock.monotonic() + 60) is None
    assert second.adopt(tmp_path / "nothing", clock.monotonic() + 60) is None
    second.close()


def test_a_project_that_is_not_configured_any_more_is_not_forgotten(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    task = make_task(tmp_path, "echo ready; sleep 60")
    one.submit(task)
    wait_log(one, task, b"ready")
    one.close()
    settings = table(service, tmp_path)
    settings["projects"][0]["name"] = "renamed"
    second = open_engine(settings, tmp_path, ready=False)
    with pytest.raises(EngineError, match="project first") as caught:
        second.adopt(task.folder, clock.monotonic() + 60)
    assert caught.value.code == "engine.unavailable"
    second.close()


# --- images and inputs


@pytest.mark.parametrize(
    "store",
    [
        {"inputs_url": "file:///tmp/x"},
        {"inputs_url": "s3://bucket", "inputs_endpoint": "http://store.test"},
        {"inputs_url": "s3://"},
    ],
    ids=["a file", "no TLS", "no bucket"],
)
def test_a_store_that_cannot_be_used_is_no_configuration(
    service: dok.Service, tmp_path: Path, store: dict[str, str]
) -> None:
    with pytest.raises(ConfigError):
        open_engine(table(service, tmp_path, **store), tmp_path)


def test_images_are_those_that_the_site_lists(one: DokEngine, tmp_path: Path) -> None:
    assert one.find_image("system").digest == "sha256:" + "a" * 64
    for refused in (
        lambda: one.find_image("other"),
        lambda: one.build_image(tmp_path / "lock", lambda _step: None),
        lambda: one.extend_image(one.find_image("system"), Setup(text="true"), lambda _step: None),
    ):
        with pytest.raises(ImageError) as caught:
            refused()
        assert caught.value.code in {"image.unknown", "image.not_built_here"}


@pytest.mark.parametrize("image", ["registry.test/lab/base:1", "evil.test/x@sha256:" + "a" * 64])
def test_an_image_without_digest_or_from_elsewhere_is_no_configuration(
    service: dok.Service, tmp_path: Path, image: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        open_engine(table(service, tmp_path, images={"system": image}), tmp_path)
    assert caught.value.code == "config.invalid"


def with_input(tmp_path: Path, size_bytes: int) -> Task:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_bytes(os.urandom(size_bytes))
    task = make_task(tmp_path, "sha256sum /data/file | cut -d' ' -f1")
    return msgspec.structs.replace(task, mounts=(*task.mounts, Mount(source=data, inside="/data")))


def expected(task: Task) -> bytes:
    return hashlib.sha256((task.mounts[1].source / "file").read_bytes()).hexdigest().encode() + b"\n"


def test_inputs_longer_than_one_argument_travel_in_the_command(one: DokEngine, tmp_path: Path) -> None:
    task = with_input(tmp_path, 110_000)
    assert finish(one, task).reason == "finished"
    assert one.logs(task.attempt, 0, 100) == expected(task)


def test_inputs_that_do_not_fit_are_refused_without_a_store(
    service: dok.Service, one: DokEngine, tmp_path: Path
) -> None:
    with pytest.raises(EngineError) as caught:
        one.submit(task := with_input(tmp_path, 120_000))
    assert (caught.value.code, service.asked.count("POST /tasks/")) == ("engine.inputs_too_large", 0)
    assert not (task.folder / "dok").exists()


def test_large_inputs_go_through_the_object_store(
    service: dok.Service, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    store = {
        "inputs_url": "s3://bucket/inputs",
        "inputs_endpoint": service.origin,
        "inputs_region": "jp-north-1",
    }
    engine = open_engine(table(service, tmp_path, **store), tmp_path)
    task = with_input(tmp_path, 1 << 20)
    assert finish(engine, task).reason == "finished"
    assert engine.logs(task.attempt, 0, 100) == expected(task)
    command = service.of(task.attempt)[0]["containers"][0]["command"]
    assert sum(len(part) for part in command) < 10_000
    assert service.bucket == {}, "the parcel is removed when the task has ended"
    engine.close()
