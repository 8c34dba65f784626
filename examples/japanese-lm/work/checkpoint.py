"""What is kept so that another attempt, maybe at another site, goes on where this one stopped.

A checkpoint is a folder with `tokenizer.json` and `state.npz`. Each file appears whole or not at all, and the state
names the run it belongs to, so one from other text, another shape or another seed is refused, never trained on.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from failures import TrainError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import BinaryIO

    import optax
    from model import Parameters

STATE_NAME = "state.npz"
TOKENIZER_NAME = "tokenizer.json"


class State(NamedTuple):
    """What a step changes: the parameters and the optimizer's moments, as one tree of arrays."""

    parameters: Parameters
    optimizer: optax.OptState


@dataclass
class Position:
    """How far a run has come over all its attempts.

    `spent_seconds` is time in the loop; losses are in nats per token, of the first step and the running mean.
    """

    step: int = 0
    spent_seconds: float = 0.0
    loss_first: float = 0.0
    loss_recent: float = 0.0


def write_whole(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write beside `path`, flush to the disk, move into place: a reader never sees half a file."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _named_leaves(state: State) -> dict[str, jax.Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _forms(arrays: Mapping[str, jax.Array | np.ndarray]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (array.shape, np.dtype(array.dtype)) for name, array in arrays.items()}


def save(folder: Path, state: State, position: Position, *, run: str) -> int:
    """Write the state under the name of its run; returns its size in bytes."""
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in _named_leaves(state).items()}
    arrays |= {"run": np.array(run), "place": np.array(astuple(position), np.float64)}
    write_whole(folder / STATE_NAME, lambda file: np.savez(file, **arrays))
    return (folder / STATE_NAME).stat().st_size


def load(folder: Path, like: State, *, run: str) -> tuple[State, Position] | None:
    """The saved state in the structure of `like`; None when there is none.

    Raises `TrainError`: `train.checkpoint.damaged`, `train.checkpoint.foreign`.
    """
    path = folder / STATE_NAME
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as saved:
            found = {name: saved[name] for name in saved.files}
        name, place = str(found.pop("run")), found.pop("place")
        position = Position(int(place[0]), *map(float, place[1:]))
    except (OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile) as error:
        raise TrainError("train.checkpoint.damaged", "the checkpoint cannot be read") from error
    expected = _named_leaves(like)
    if name != run or _forms(expected) != _forms(found):
        message = "the checkpoint belongs to another text, shape or seed; empty its folder to start anew"
        raise TrainError("train.checkpoint.foreign", message)
    leaves = [jax.numpy.asarray(found[key]) for key in expected]
    return jax.tree.unflatten(jax.tree.structure(like), leaves), position
