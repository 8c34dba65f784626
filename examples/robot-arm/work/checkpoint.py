"""What is kept so that another attempt, maybe at another site, goes on where this one stopped.

A checkpoint is `state.json`; JSON keeps every bit of a float. The file appears whole or not at all and names the run
it belongs to, so one of another index, another budget or another arm is refused, never trained on.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from failures import TrainError

if TYPE_CHECKING:
    from pathlib import Path

    from arm import Array

STATE_NAME = "state.json"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of the curve: reaches simulated in training so far, mean reward, share of successes."""

    reaches: int
    reward: float
    success: float


@dataclass
class State:
    """What an iteration changes."""

    weights: Array
    iteration: int = 0
    curve: list[Point] = field(default_factory=list)


def write_whole(path: Path, value: object) -> None:
    """Write JSON beside `path`, flush to the disk, move into place: a reader never sees half a file."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def save(folder: Path, state: State, *, run: str) -> int:
    """Write the state under the name of its run; returns its size in bytes."""
    curve = [asdict(point) for point in state.curve]
    value = {"v": 1, "run": run, "iteration": state.iteration, "weights": state.weights.tolist()}
    write_whole(folder / STATE_NAME, value | {"curve": curve})
    return (folder / STATE_NAME).stat().st_size


def load(folder: Path, shape: tuple[int, ...], *, run: str) -> State | None:
    """The saved state, whose weights have this shape; None when there is none.

    Raises `TrainError`: `train.checkpoint.damaged`, `train.checkpoint.foreign`.
    """
    path = folder / STATE_NAME
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        name, weights = saved["run"], np.array(saved["weights"], np.float64)
        curve = [Point(**point) for point in saved["curve"]]
        iteration = int(saved["iteration"])
        whole = saved["v"] == 1 and iteration >= 0 and bool(np.isfinite(weights).all())
    except (OSError, ValueError, TypeError, LookupError, RecursionError, AttributeError) as error:
        raise TrainError("train.checkpoint.damaged", "the checkpoint cannot be read") from error
    if not whole:
        raise TrainError("train.checkpoint.damaged", "the checkpoint holds no state of this program")
    if name != run or weights.shape != shape:
        message = "the checkpoint belongs to another index, budget or arm; empty its folder to start anew"
        raise TrainError("train.checkpoint.foreign", message)
    return State(weights=weights, iteration=iteration, curve=curve)
