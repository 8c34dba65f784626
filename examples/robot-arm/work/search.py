"""Augmented random search, after Mania, Guy and Recht (2018): try small changes both ways, follow those that paid.

Every number of an iteration is a function of the seed, the iteration and the weights, so that a run that was
interrupted goes on exactly as if it had not been.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from arm import Array

_QUIET = 1e-9


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to search: step size, size of a trial change, trial changes an iteration, and how many of them count."""

    rate: float
    noise: float
    directions: int
    best: int


def changes(search: Search, shape: tuple[int, ...], *, seed: int, iteration: int) -> Array:
    """The trial changes of one iteration, (directions, *shape), each entry drawn from N(0, 1)."""
    return generator(seed, iteration, purpose=1).standard_normal((search.directions, *shape))


def generator(seed: int, iteration: int, *, purpose: int) -> np.random.Generator:
    """A source of chance of its own for each iteration and purpose."""
    return np.random.default_rng((seed, iteration, purpose))


def trials(weights: Array, tried: Array, noise: float) -> Array:
    """Weights to be tried, (2 directions, *shape): first all changes forwards, then all backwards."""
    return np.concatenate([weights + noise * tried, weights - noise * tried])


def updated(weights: Array, tried: Array, rewards: Array, search: Search) -> Array:
    """Weights after one iteration; `rewards` (2 directions,) belong to what `trials` answered, in its order."""
    forwards, backwards = np.split(rewards, 2)
    # A stable order: two equal rewards must not make two runs differ.
    kept = np.argsort(-np.maximum(forwards, backwards), kind="stable")[: search.best]
    used = np.concatenate([forwards[kept], backwards[kept]])
    gain = np.tensordot(forwards[kept] - backwards[kept], tried[kept], axes=1)
    return weights + search.rate / (search.best * max(float(used.std()), _QUIET)) * gain
