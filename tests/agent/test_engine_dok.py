"""The engine suite on DOK, played by a stand-in that holds the published document and runs the commands.

`SEKISHO_DOK` names the settings of real projects (a JSON file of the agent's `dok` table, with an image for `system`
that has a shell and python3); the suite then runs there too, and costs what its tasks cost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho_agent import clock
from sekisho_agent.engines.dok import DokEngine
from sekisho_agent.errors import EngineError
from sekisho_agent.wall import Mount
from sekisho_wire.messages import HealthPlan
from tests.agent.dok_site import open_engine, service, table
from tests.agent.engine_suite import EngineSuite, finish, make_task, wait_end, wait_log
from tests.support import dok

__all__ = ["service"]
pytestmark = pytest.mark.wall
REAL = os.environ.get("SEKISHO_DOK", "")


@pytest.fixture(params=["stand-in", *(["real"] if REAL else [])])
def engine(request: pytest.FixtureRequest, service: dok.Service, tmp_path: Path) -> Iterator[DokEngine]:
    if request.param == "real":
        opened = open_engine(json.loads(Path(REAL).read_text(encoding="utf-8")), tmp_path)
    else:
        opened = open_engine(table(service, tmp_path), tmp_path)
    yield opened
    opened.close()


class TestDokEngine(EngineSuite):
    """Every behaviour that holds without a program of ours around the payload."""

    def test_no_wall_stands_and_the_report_says_so(self, engine: DokEngine, tmp_path: Path) -> None:
        """Instead of canaries and mechanisms: nothing but the time limit is held."""
        task = make_task(tmp_path, "true")
        finish(engine, task)
        wall = engine.wall(task.attempt)
        assert wall is not None
        assert (wall.wall, wall.canaries) == ("none", {})
        assert engine.capabilities().limits == wall.limits
        assert {name for name, held in wall.limits.items() if held != "none"} == {"wall_s"}

    def test_a_cancel_is_the_services_and_gives_no_grace(self, engine: DokEngine, tmp_path: Path) -> None:
        """Instead of a grace: it ends at once, and what it saved is not brought home."""
        run = "trap 'echo saved > /out/state; exit 75' TERM; echo ready; while :; do sleep 0.1; done"
        task = make_task(tmp_path, run)
        engine.submit(task)
        wait_log(engine, task, b"ready")
        engine.cancel(task.attempt, "job.cancelled", 10)
        end = wait_end(engine, task).end
        assert end is not None
        assert (end.reason, end.exit_status) == ("job.cancelled", None)
        assert not list(engine.artefacts(task.attempt)["/out"].iterdir())

    def test_a_lost_lease_cancels_the_task(self, engine: DokEngine, tmp_path: Path) -> None:
        """Instead of a watchdog inside: the agent, while it lives."""
        task = make_task(tmp_path, "echo ready; sleep 60")
        engine.submit(task)
        wait_log(engine, task, b"ready")
        engine._runs[task.attempt].lease_deadline = clock.monotonic()
        end = wait_end(engine, task).end
        assert end is not None
        assert end.reason == "lease.lost"

    def test_logs_come_while_it_runs(self, engine: DokEngine, tmp_path: Path) -> None:
        """Instead of a pipe on a shared file system: time."""
        task = make_task(tmp_path, "echo first; sleep 3; echo second")
        engine.submit(task)
        wait_log(engine, task, b"first\n")
        assert engine.observe(task.attempt).phase == "running"
        wait_end(engine, task)
        assert engine.logs(task.attempt, 0, 100) == b"first\nsecond\n"

    def test_too_much_output_is_not_brought_home(self, engine: DokEngine, tmp_path: Path) -> None:
        """Instead of ending the payload: its folders stay as they were, and the end says why."""
        end = finish(engine, task := make_task(tmp_path, "head -c 9000000 /dev/urandom > /out/file"))
        assert (end.reason, end.exit_status) == ("output.too_large", 0)
        assert not list(engine.artefacts(task.attempt)["/out"].iterdir())

    def test_inputs_are_copies(self, engine: DokEngine, tmp_path: Path) -> None:
        """Instead of read-only mounts: whatever the payload does to its copy, ours is not touched."""
        data = tmp_path / "data"
        (data / "deep").mkdir(parents=True)
        (data / "deep" / "text").write_text("input\n")
        (data / "run").write_text("#!/bin/sh\necho ran\n")
        (data / "run").chmod(0o755)
        task = make_task(tmp_path, "cat /data/in/deep/text; /data/in/run; echo x > /data/in/deep/text")
        (task.folder / "out" / "restored").write_text("before\n")
        task = msgspec.structs.replace(task, mounts=(*task.mounts, Mount(source=data, inside="/data/in")))
        assert finish(engine, task).reason == "finished"
        assert engine.logs(task.attempt, 0, 1000) == b"input\nran\n"
        assert (data / "deep" / "text").read_text() == "input\n"
        assert (engine.artefacts(task.attempt)["/out"] / "restored").read_text() == "before\n"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"secrets": {"key": b"s3cret"}}, "engine.no_secrets"),
            ({"health": HealthPlan(run="true")}, "engine.refused"),
            ({"level": 2}, "wall.missing"),
            ({"nodes": 2}, "engine.refused"),
            ({"gpus": 2}, "engine.refused"),
            ({"gpu_type": "A100"}, "engine.refused"),
            ({"limits": {"cpus": 11}}, "engine.refused"),
            ({"limits": {"memory_bytes": 200 << 30}}, "engine.refused"),
            ({"image_writable": True}, "engine.refused"),
            ({"argv": ("x" * 50_000,)}, "engine.refused"),
            ({"env": {"A": "x" * 8191}}, "engine.environment"),
            ({"env": {"SAKURA_TASK_ID": "mine"}}, "engine.environment"),
        ],
    )
    def test_what_may_not_run_there_is_refused_before_anything_is_sent(
        self, engine: DokEngine, tmp_path: Path, changes: dict[str, Any], code: str
    ) -> None:
        task = make_task(tmp_path, "true", **changes)
        with pytest.raises(EngineError) as caught:
            engine.submit(task)
        assert caught.value.code == code
        assert not (task.folder / "dok").exists()
        assert "s3cret" not in caught.value.detail
