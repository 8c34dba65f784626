"""The job as a process: what it writes, how it stops and goes on, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.examples import programs

TRAIN = programs.FOLDER / "work" / "train.py"
# Each starts JAX anew and compiles.
pytestmark = pytest.mark.slow
STEPS = 40
SECONDS_MAX = 120
STOPPED = 75


class Run:
    """One attempt: its folders, its process, and the events it has printed."""

    def __init__(self, python: Path, data: Path, folder: Path) -> None:
        self.out, self.checkpoint = folder / "out", folder / "ckpt"
        for path in (self.out, self.checkpoint):
            path.mkdir(parents=True, exist_ok=True)
        self._command = [str(python), "-B", str(TRAIN), "--data", str(data), "--out", str(self.out)]
        self._command += ["--checkpoint", str(self.checkpoint), "--seconds", "600"]

    @contextmanager
    def started(self, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """The process, with as little around it as behind the wall; killed at the end if it still runs."""
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.out), "LC_ALL": "C.UTF-8"}
        process = subprocess.Popen(
            [*self._command, *arguments],
            env=clean | environment,
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

    def finished(self, *arguments: str, **environment: str) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and events of a whole attempt."""
        with self.started(*arguments, **environment) as process:
            text, _ = process.communicate(timeout=SECONDS_MAX)
            return process.returncode, [json.loads(line) for line in text.splitlines()]

    def stopped_after_first_step(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and events of an attempt that gets SIGTERM once it has shown its first step."""
        events: list[dict[str, Any]] = []
        with self.started(*arguments) as process:
            assert process.stdout is not None
            for line in process.stdout:
                events.append(json.loads(line))
                if events[-1]["event"] == "progress" and events[-1]["step"] == 1:
                    process.send_signal(signal.SIGTERM)
            process.wait(SECONDS_MAX)
            return process.returncode, events

    def arrays(self) -> dict[str, bytes]:
        """The checkpoint's arrays by name, as bytes; `place` holds a clock reading and is left out."""
        with zipfile.ZipFile(self.checkpoint / "state.npz") as saved:
            return {name: saved.read(name) for name in saved.namelist() if name != "place.npy"}


@pytest.fixture(scope="module")
def straight(image_python: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody interrupts."""
    run = Run(image_python, small_text, tmp_path_factory.mktemp("straight"))
    status, events = run.finished("--steps", str(STEPS))
    assert status == 0, events
    assert [events[0]["event"], events[-1]["event"]] == ["start", "done"]
    shown = [event for event in events if event["event"] == "progress"]
    assert {"step", "spent_s", "of_s", "loss", "bits_per_char", "tokens_per_s"} <= shown[0].keys()
    assert shown[-1]["step"] == STEPS
    assert events[-1]["loss_last"] < events[-1]["loss_first"]
    return run


def test_a_run_leaves_model_vocabulary_and_figures(straight: Run) -> None:
    assert sorted(path.name for path in straight.out.iterdir()) == [
        "metrics.json",
        "model.gguf",
        "tokenizer.json",
    ]
    metrics = json.loads((straight.out / "metrics.json").read_text())
    assert metrics["steps"] == STEPS
    assert metrics["held_out_loss"] < metrics["loss_first"]
    assert (straight.out / "model.gguf").read_bytes()[:4] == b"GGUF"
    assert metrics["gguf_bytes"] == (straight.out / "model.gguf").stat().st_size


def test_a_stopped_run_saves_and_goes_on_to_the_same_state(
    straight: Run, image_python: Path, small_text: Path, tmp_path: Path
) -> None:
    first = Run(image_python, small_text, tmp_path)
    status, events = first.stopped_after_first_step("--steps", str(STEPS))
    assert (status, events[-1]) == (STOPPED, {"event": "stopped", "kept": True})
    saved = events[-2]
    assert saved["event"] == "checkpoint"
    assert 1 <= saved["step"] < STEPS
    assert not (first.out / "model.gguf").exists()
    second = Run(image_python, small_text, tmp_path)
    status, events = second.finished("--steps", str(STEPS))
    assert status == 0, events
    assert [event["step"] for event in events if event["event"] == "resumed"] == [saved["step"]]
    assert second.arrays() == straight.arrays()
    assert (second.out / "model.gguf").read_bytes() == (straight.out / "model.gguf").read_bytes()


def test_a_checkpoint_of_another_seed_is_refused(
    straight: Run, image_python: Path, small_text: Path, tmp_path: Path
) -> None:
    other = Run(image_python, small_text, tmp_path)
    for name in ("state.npz", "tokenizer.json"):
        (other.checkpoint / name).write_bytes((straight.checkpoint / name).read_bytes())
    status, events = other.finished("--steps", str(STEPS), SEED="1")
    assert (status, events[-1]["event"], events[-1]["code"]) == (2, "error", "train.checkpoint.foreign")
    assert not (other.out / "model.gguf").exists()


def test_bad_text_is_refused_before_anything_is_written(image_python: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/text.jsonl").write_bytes(b'{"text": "\xff"}\n')
    run = Run(image_python, tmp_path / "data", tmp_path)
    status, events = run.finished()
    assert (status, events[-1]["event"], events[-1]["code"]) == (2, "error", "train.data.not_text")
    assert list(run.out.iterdir()) == list(run.checkpoint.iterdir()) == []


@pytest.mark.parametrize(
    "environment",
    [
        {"SECONDS_TO_TRAIN": "0"},
        {"SECONDS_TO_TRAIN": "inf"},
        {"STEPS_TO_TRAIN": "-1"},
        {"MODEL_SIZE": "huge"},
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(image_python: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [str(image_python), "-B", str(TRAIN)],
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 2
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr
