"""What every engine must do. A test class of an engine inherits this and brings an `engine` fixture.

Payloads are shell text on the host's own /usr, so that the suite needs no image.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sekisho_agent import clock
from sekisho_agent.engines.contract import EndReport, Engine, Image, Observation, Task
from sekisho_agent.errors import EngineError
from sekisho_agent.wall import Mount
from sekisho_wire.messages import HealthPlan, Limits
from tests.agent.control import make_id
from tests.agent.support import LIMITS, until

SECONDS = float(os.environ.get("SEKISHO_ENGINE_SECONDS", "40"))
"""How long a task may take to begin or end; a live service that fetches images first needs more."""
Behaviour = Callable[[Engine, Path], None]


def make_task(folder: Path, run: str, **changes: Any) -> Task:
    """A task with one writable folder at /out; give `limits` as a dict of changes."""
    attempt = make_id("att")
    home = folder / attempt
    out = home / "out"
    out.mkdir(parents=True)
    limits = {field: getattr(LIMITS, field) for field in Limits.__struct_fields__} | changes.pop("limits", {})
    values: dict[str, Any] = {
        "attempt": attempt,
        "level": 1,
        "argv": ("/bin/sh", "-c", run),
        "env": {"PATH": "/usr/bin:/bin"},
        "cwd": "/home",
        "image": Image(name="system", digest="", folder=None),
        "mounts": (Mount(source=out, inside="/out", writable=True),),
        "limits": Limits(**limits),
        "folder": home,
        "lease_deadline": clock.monotonic() + 60,
    }
    return Task(**(values | changes))


def finish(engine: Engine, task: Task) -> EndReport:
    engine.submit(task)
    return wait_end(engine, task).end or EndReport(reason="none")


def wait_end(engine: Engine, task: Task) -> Observation:
    seen = engine.observe(task.attempt, known="starting", timeout_seconds=SECONDS)
    if seen.phase != "ended":
        seen = engine.observe(task.attempt, known="running", timeout_seconds=SECONDS)
    assert seen.phase == "ended", "the task did not end in time"
    return seen


def wait_log(engine: Engine, task: Task, text: bytes) -> None:
    engine.observe(task.attempt, known="starting", timeout_seconds=SECONDS)
    until(lambda: text in engine.logs(task.attempt, 0, 1 << 20), seconds=SECONDS, what=f"{text!r} in the log")


def behaviours() -> dict[str, Behaviour]:
    """Every test of `WalledSuite` with every one of its parameters, for an engine whose tests must run side by side."""
    found: dict[str, Behaviour] = {}
    for name in dir(WalledSuite):
        test = getattr(WalledSuite, name)
        if not name.startswith("test_"):
            continue
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        if not marks:
            found[name] = functools.partial(test, WalledSuite())
        for field, values in (mark.args for mark in marks):
            for value in values:
                found[f"{name}[{value}]"] = functools.partial(test, WalledSuite(), **{field: value})
    return found


class EngineSuite:
    """What holds on every engine. Inherit, and define a fixture `engine`; or run `behaviours`."""

    def test_finishes(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "echo out; echo err >&2; echo kept > /out/file")
        end = finish(engine, task)
        assert (end.reason, end.exit_status, engine.reason(task.attempt)) == ("finished", 0, "finished")
        assert engine.logs(task.attempt, 0, 100) == b"out\nerr\n"
        assert engine.logs(task.attempt, 4, 100) == b"err\n"
        assert (engine.artefacts(task.attempt)["/out"] / "file").read_text() == "kept\n"

    def test_a_failing_payload_keeps_its_status(self, engine: Engine, tmp_path: Path) -> None:
        end = finish(engine, make_task(tmp_path, "exit 3"))
        assert (end.reason, end.exit_status) == ("failed", 3)

    def test_a_payload_ended_by_a_signal_says_which(self, engine: Engine, tmp_path: Path) -> None:
        end = finish(engine, make_task(tmp_path, "kill -SEGV $$"))
        assert (end.reason, end.exit_status) == ("failed", -11)

    def test_a_program_that_is_not_there(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "", argv=("/no/such/program",))
        assert finish(engine, task).exit_status == 127
        assert b"/no/such/program" in engine.logs(task.attempt, 0, 1000)

    def test_the_same_attempt_again_changes_nothing(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "echo once >> /out/count")
        engine.submit(task)
        engine.submit(task)
        wait_end(engine, task)
        engine.submit(task)
        assert engine.observe(task.attempt).phase == "ended"
        assert (engine.artefacts(task.attempt)["/out"] / "count").read_text() == "once\n"

    def test_forget_drops_only_what_has_ended(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "sleep 30")
        engine.submit(task)
        engine.forget(task.attempt)
        engine.observe(task.attempt)
        engine.cancel(task.attempt, "job.cancelled", 0)
        wait_end(engine, task)
        engine.forget(task.attempt)
        with pytest.raises(EngineError) as caught:
            engine.observe(task.attempt)
        assert caught.value.code == "engine.unknown_task"

    def test_time_limit_gives_the_grace_then_kills(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(
            tmp_path,
            "trap 'echo asked' TERM; while :; do sleep 0.1; done",
            limits={"wall_s": 1, "grace_s": 1},
        )
        end = finish(engine, task)
        assert (end.reason, end.exit_status) == ("job.time_limit", -9)
        assert b"asked" in engine.logs(task.attempt, 0, 1000)
        assert 1.9 <= end.run_seconds < 4

    def test_cancel_before_the_payload_has_started(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "echo ran > /out/ran; sleep 30")
        engine.submit(task)
        engine.cancel(task.attempt, "job.cancelled", 1)
        end = wait_end(engine, task).end
        assert end is not None
        assert (end.reason, end.exit_status) == ("job.cancelled", None)
        assert not list(engine.artefacts(task.attempt)["/out"].iterdir())

    def test_cancel_after_the_end_changes_nothing(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "true")
        finish(engine, task)
        engine.cancel(task.attempt, "job.cancelled", 0)
        assert engine.reason(task.attempt) == "finished"

    def test_the_first_reason_stays(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
        engine.submit(task)
        wait_log(engine, task, b"ready")
        engine.cancel(task.attempt, "job.cancelled", 20)
        engine.cancel(task.attempt, "attempt.fenced", 0)
        end = wait_end(engine, task).end
        assert end is not None
        assert end.reason == "job.cancelled"
        assert end.run_seconds < 10, "the shorter grace was not honoured"

    def test_a_renewed_lease_lets_it_go_on(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "sleep 2; echo done", lease_deadline=clock.monotonic() + 1)
        engine.submit(task)
        engine.extend(task.attempt, clock.monotonic() + 30)
        engine.extend(task.attempt, clock.monotonic() + 1)
        end = wait_end(engine, task).end
        assert end is not None
        assert end.reason == "finished"

    def test_progress_lines_are_seen(self, engine: Engine, tmp_path: Path) -> None:
        line = '{"event":"progress","step":7,"loss":1.5,"nested":{"x":1},"none":null}'
        task = make_task(tmp_path, f"echo text; echo '{line}'; echo '{{\"event\":'")
        engine.submit(task)
        seen = wait_end(engine, task)
        assert dict(seen.progress) == {"event": "progress", "step": 7, "loss": "1.5"}
        assert seen.progress_lines == 1

    def test_a_flood_of_log_is_cut_and_counted(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "head -c 3000000 /dev/zero", limits={"log_bytes": 100_000})
        engine.submit(task)
        seen = wait_end(engine, task)
        assert (seen.log_bytes, seen.log_dropped_bytes) == (100_000, 2_900_000)
        assert len(engine.logs(task.attempt, 0, 1 << 20)) == 100_000

    @pytest.mark.parametrize(
        "inside",
        [
            "/",
            "/usr",
            "/proc/x",
            "/out/below",
            "relative",
            "/data/../etc",
            "/data//x",
            "/wall",
            "/run/secrets",
        ],
    )
    def test_mounts_that_would_cover_the_wall(self, engine: Engine, tmp_path: Path, inside: str) -> None:
        task = make_task(tmp_path, "true")
        mounts = (*task.mounts, Mount(source=tmp_path, inside=inside))
        bad = Task(**{name: getattr(task, name) for name in Task.__struct_fields__} | {"mounts": mounts})
        with pytest.raises(EngineError) as caught:
            engine.submit(bad)
        assert caught.value.code == "wall.mount"

    def test_capacity_counts_what_runs(self, engine: Engine, tmp_path: Path) -> None:
        before = engine.capacity()
        task = make_task(tmp_path, "sleep 30")
        engine.submit(task)
        during = engine.capacity()
        assert before.attempts - during.attempts == 1
        engine.cancel(task.attempt, "job.cancelled", 0)
        wait_end(engine, task)
        assert engine.capacity().attempts == before.attempts

    def test_nothing_is_left_behind(self, engine: Engine, tmp_path: Path) -> None:
        mark = make_id("sekisho-mark")
        task = make_task(tmp_path, f"setsid sh -c ': {mark}; sleep 60' & setsid sleep 61 & echo ready")
        finish(engine, task)
        processes = [path for path in Path("/proc").iterdir() if path.name.isdecimal()]
        assert not [
            path for path in processes if mark in _command_line(path) and int(path.name) != os.getpid()
        ]


class WalledSuite(EngineSuite):
    """What holds besides where a program of ours stands around the payload, on the agent's file system."""

    def test_what_a_payload_used_is_measured(self, engine: Engine, tmp_path: Path) -> None:
        assert finish(engine, make_task(tmp_path, "true")).max_rss_bytes > 0

    def test_a_missing_program_is_named_with_the_systems_words(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "", argv=("/no/such/program",))
        finish(engine, task)
        assert b"/no/such/program: No such file" in engine.logs(task.attempt, 0, 1000)

    def test_memory_that_is_promised_is_not_free(self, engine: Engine, tmp_path: Path) -> None:
        before = engine.capacity()
        task = make_task(tmp_path, "sleep 30")
        engine.submit(task)
        assert before.memory_bytes - engine.capacity().memory_bytes == LIMITS.memory_bytes
        engine.cancel(task.attempt, "job.cancelled", 0)
        wait_end(engine, task)

    def test_a_payload_that_saves_in_its_grace_keeps_its_status(self, engine: Engine, tmp_path: Path) -> None:
        run = "trap 'echo saved > /out/state; exit 75' TERM; echo ready; while :; do sleep 0.1; done"
        task = make_task(tmp_path, run)
        engine.submit(task)
        wait_log(engine, task, b"ready")
        engine.cancel(task.attempt, "job.cancelled", 10)
        end = wait_end(engine, task).end
        assert end is not None
        assert (end.reason, end.exit_status) == ("job.cancelled", 75)
        assert (engine.artefacts(task.attempt)["/out"] / "state").read_text() == "saved\n"

    def test_a_service_is_asked_whether_it_is_well(self, engine: Engine, tmp_path: Path) -> None:
        health = HealthPlan(run="test -e /tmp/ready", every_s=1, after_s=1, failures=3)
        task = make_task(tmp_path, "touch /tmp/ready; echo up; sleep 30", health=health)
        engine.submit(task)
        wait_log(engine, task, b"up")
        until(lambda: engine.observe(task.attempt).healthy is True, seconds=SECONDS, what="a yes")
        engine.cancel(task.attempt, "job.cancelled", 1)
        assert wait_end(engine, task).healthy is True

    def test_a_service_that_is_not_well_is_ended_with_its_grace(self, engine: Engine, tmp_path: Path) -> None:
        health = HealthPlan(run="echo question; sleep 30", every_s=1, after_s=1, failures=2)
        run = "trap 'echo asked to end; exit 0' TERM; while :; do sleep 0.1; done"
        task = make_task(tmp_path, run, health=health, limits={"grace_s": 5})
        end = finish(engine, task)
        assert (end.reason, end.exit_status) == ("service.unhealthy", 0)
        assert engine.observe(task.attempt).healthy is False
        said = engine.logs(task.attempt, 0, 1000)
        assert b"asked to end" in said
        assert b"question" not in said

    def test_a_lost_lease_ends_the_payload(self, engine: Engine, tmp_path: Path) -> None:
        run = "trap '' TERM; while :; do sleep 0.1; done"
        task = make_task(tmp_path, run, lease_deadline=clock.monotonic() + 4)
        engine.submit(task)
        while engine.observe(task.attempt, known="starting", timeout_seconds=0.2).phase == "starting":
            engine.extend(task.attempt, clock.monotonic() + 4)
        end = wait_end(engine, task).end or EndReport(reason="none")
        assert (end.reason, end.exit_status) == ("lease.lost", -9)
        assert 2.5 < end.run_seconds < 10, "the rest of the lease, and three seconds of grace"

    def test_logs_can_be_read_while_it_runs(self, engine: Engine, tmp_path: Path) -> None:
        task = make_task(tmp_path, "echo first; read line < /out/go; echo $line")
        os.mkfifo(task.folder / "out" / "go")
        engine.submit(task)
        wait_log(engine, task, b"first\n")
        assert engine.observe(task.attempt).phase == "running"
        (task.folder / "out" / "go").write_text("second\n")
        wait_end(engine, task)
        assert engine.logs(task.attempt, 0, 100) == b"first\nsecond\n"

    def test_too_much_output_ends_the_payload(self, engine: Engine, tmp_path: Path) -> None:
        run = "i=0; while :; do head -c 1000000 /dev/zero > /out/$i; i=$((i+1)); sleep 0.02; done"
        end = finish(engine, make_task(tmp_path, run))
        assert end.reason == "output.too_large"

    def test_a_folder_hidden_from_the_count_ends_the_payload(self, engine: Engine, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root's PID 1 reads every folder")
        run = "mkdir /out/d; echo x > /out/d/f; chmod 0 /out/d; sleep 30"
        assert finish(engine, make_task(tmp_path, run)).reason == "output.unreadable"

    def test_memory_is_held(self, engine: Engine, tmp_path: Path) -> None:
        code = "held = []\nwhile True: held.append(bytearray(16 << 20))"
        task = make_task(
            tmp_path, "", argv=("/usr/bin/python3", "-c", code), limits={"memory_bytes": 128 << 20}
        )
        end = finish(engine, task)
        mechanism = engine.wall(task.attempt)
        assert mechanism is not None
        if mechanism.limits["memory_bytes"] == "cgroup":
            assert (end.reason, end.oom_kills > 0) == ("job.out_of_memory", True)
        else:
            assert (end.reason, end.exit_status) == ("failed", 1)
            assert b"MemoryError" in engine.logs(task.attempt, 0, 10_000)

    def test_processes_are_held(self, engine: Engine, tmp_path: Path) -> None:
        code = """
import os, sys, time
count = 0
try:
    while count < 500:
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        count += 1
except OSError:
    print("refused after", count, flush=True)
"""
        task = make_task(tmp_path, "", argv=("/usr/bin/python3", "-c", code), limits={"processes": 20})
        finish(engine, task)
        logged = engine.logs(task.attempt, 0, 1000)
        assert logged.startswith(b"refused after ")
        assert int(logged.split()[2]) <= 24

    def test_secrets_are_files_of_the_payload_only(self, engine: Engine, tmp_path: Path) -> None:
        run = "cat /run/secrets/key; stat -c ' %a' /run/secrets/key; env; tr '\\0' ' ' < /proc/1/cmdline"
        task = make_task(tmp_path, run, secrets={"key": b"s3cret\xff"})
        finish(engine, task)
        logged = engine.logs(task.attempt, 0, 10_000)
        assert logged.startswith(b"s3cret\xff 400\n")
        assert logged.count(b"s3cret") == 1
        others = [path for path in task.folder.rglob("*") if path.is_file() and path.name != "log"]
        assert not any(b"s3cret" in path.read_bytes() for path in others)

    def test_read_only_mounts_are_read_only(self, engine: Engine, tmp_path: Path) -> None:
        data = tmp_path / "data"
        data.mkdir()
        (data / "text").write_text("input\n")
        data.chmod(0o777)
        task = make_task(tmp_path, "cat /data/in/text; echo x > /data/in/new; echo x >> /data/in/text")
        mounts = (*task.mounts, Mount(source=data, inside="/data/in"))
        task = Task(**{name: getattr(task, name) for name in Task.__struct_fields__} | {"mounts": mounts})
        end = finish(engine, task)
        assert end.exit_status != 0
        assert engine.logs(task.attempt, 0, 1000).startswith(b"input\n")
        assert [path.name for path in data.iterdir()] == ["text"]
        assert (data / "text").read_text() == "input\n"


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
