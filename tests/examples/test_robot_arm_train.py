"""The robot arm's training as a process in its own environment, and the checks of its modules there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.examples import programs
from tests.support import tree

TRAIN, CHECKS = programs.ARM / "work" / "train.py", programs.ARM / "checks.py"
NAMES = [f.name for f in tree.functions(tree.parse(CHECKS), "checks.py") if f.name.startswith("check_")]
SECONDS_MAX = 120
STOPPED = 75
REACHES = 1500
pytestmark = pytest.mark.slow


class Run:
    """One attempt: its folders, its process, and the events it has printed."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.out, self.checkpoint = folder / "out", folder / "ckpt"
        for path in (self.out, self.checkpoint):
            path.mkdir(parents=True, exist_ok=True)
        self._command = [str(python), "-B", str(TRAIN), "--out", str(self.out)]

    @contextmanager
    def started(self, *, index: int = 0, reaches: int = REACHES) -> Iterator[subprocess.Popen[str]]:
        """The process, with as little around it as behind the wall; killed at the end if it still runs."""
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.out), "LC_ALL": "C.UTF-8"}
        own = {"SEKISHO_ARRAY_INDEX": str(index), "SEKISHO_ARRAY_SIZE": "8", "REACHES_TO_TRAIN": str(reaches)}
        process = subprocess.Popen(
            self._command,
            env=clean | own | {"SEKISHO_CHECKPOINT": str(self.checkpoint)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def finished(self, *, index: int = 0, reaches: int = REACHES) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and events of a whole attempt."""
        with self.started(index=index, reaches=reaches) as process:
            text, _ = process.communicate(timeout=SECONDS_MAX)
            return process.returncode, [json.loads(line) for line in text.splitlines()]

    def stopped(self, *, after: int) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and events of an attempt that gets SIGTERM once it has shown so many reaches."""
        events: list[dict[str, Any]] = []
        with self.started() as process:
            assert process.stdout is not None
            for line in process.stdout:
                events.append(json.loads(line))
                if events[-1]["event"] == "progress" and events[-1]["step"] >= after:
                    process.send_signal(signal.SIGTERM)
            process.wait(SECONDS_MAX)
            return process.returncode, events

    def files(self) -> dict[str, bytes]:
        """What was written, by name."""
        return {path.name: path.read_bytes() for path in sorted(self.out.iterdir())}


@pytest.fixture(scope="module")
def straight(arm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[dict[str, Any]]]:
    """A run that nobody interrupts."""
    run = Run(arm_python, tmp_path_factory.mktemp("straight"))
    status, events = run.finished()
    assert status == 0, events
    return run, events


@pytest.fixture(scope="module")
def results(arm_python: Path) -> dict[str, str | None]:
    """The error of each check, or None."""
    done = subprocess.run(
        [str(arm_python), "-B", "-W", "error::DeprecationWarning:__main__", str(CHECKS)],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.stdout, done.stderr
    return {one["check"]: one["error"] for one in map(json.loads, done.stdout.splitlines())}


def test_every_check_ran(results: dict[str, str | None]) -> None:
    assert list(results) == NAMES
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_in_the_environment_of_the_job(results: dict[str, str | None], name: str) -> None:
    assert results[name] is None, results[name]


def test_a_small_budget_learns_what_an_untrained_policy_cannot(
    straight: tuple[Run, list[dict[str, Any]]],
) -> None:
    run, events = straight
    assert [events[0]["event"], events[-1]["event"]] == ["start", "done"]
    result = json.loads(run.files()["result.json"])
    assert result["untrained_success"] == 0
    assert result["held_out_reward"] > 5 * result["untrained_reward"]
    assert result["held_out_success"] > 0.5
    assert result["held_out_distance_mm"] < result["tolerance_mm"]


def test_progress_is_shown_and_the_curve_holds_the_same_figures(
    straight: tuple[Run, list[dict[str, Any]]],
) -> None:
    run, events = straight
    shown = [event for event in events if event["event"] == "progress"]
    assert {"step", "of_steps", "reward", "success", "index"} <= shown[0].keys()
    assert shown[0]["step"] == 0
    assert shown[-1]["step"] == shown[-1]["of_steps"] <= REACHES
    points = json.loads(run.files()["curve.json"])["points"]
    assert [(point["reaches"], point["reward"]) for point in points] == [
        (event["step"], event["reward"]) for event in shown
    ]
    assert set(run.files()) == {"curve.json", "policy.json", "result.json"}


def test_the_same_index_gives_the_same_bytes_and_another_one_others(
    straight: tuple[Run, list[dict[str, Any]]], arm_python: Path, tmp_path: Path
) -> None:
    few = {index: Run(arm_python, tmp_path / name) for index, name in ((0, "a"), (1, "b"))}
    again = Run(arm_python, tmp_path / "again")
    for index, run in few.items():
        assert run.finished(index=index, reaches=200)[0] == 0
    assert again.finished(index=0, reaches=200)[0] == 0
    assert again.files() == few[0].files()
    assert again.files()["policy.json"] != few[1].files()["policy.json"]


def test_a_run_that_was_stopped_twice_ends_with_the_same_bytes(
    straight: tuple[Run, list[dict[str, Any]]], arm_python: Path, tmp_path: Path
) -> None:
    run = Run(arm_python, tmp_path)
    for after in (100, 700):
        status, events = run.stopped(after=after)
        assert (status, events[-1]) == (STOPPED, {"event": "stopped", "kept": True})
        assert run.files() == {}
    status, events = run.finished()
    assert status == 0, events
    resumed = [event["step"] for event in events if event["event"] == "resumed"]
    assert len(resumed) == 1
    assert 700 <= resumed[0] < REACHES
    assert run.files() == straight[0].files()


def test_a_checkpoint_of_another_index_is_refused(
    straight: tuple[Run, list[dict[str, Any]]], arm_python: Path, tmp_path: Path
) -> None:
    other = Run(arm_python, tmp_path)
    saved = straight[0].checkpoint / "state.json"
    (other.checkpoint / "state.json").write_bytes(saved.read_bytes())
    status, events = other.finished(index=1)
    assert (status, events[-1]["event"], events[-1]["code"]) == (2, "error", "train.checkpoint.foreign")
    assert other.files() == {}
