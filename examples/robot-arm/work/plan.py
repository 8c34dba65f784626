"""Which part of the array this is, and what that part tries: pure, and without the numeric libraries.

What an index tries does not depend on the array's size: a larger array adds tries, it does not change earlier ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from failures import TrainError

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX_VARIABLE, SIZE_VARIABLE = "SEKISHO_ARRAY_INDEX", "SEKISHO_ARRAY_SIZE"
SIZE_MAX = 1_000_000
RATE_MIN, RATE_MAX = 0.02, 0.5
NOISE_MIN, NOISE_MAX = 0.02, 0.5
DIRECTIONS = (4, 8, 16)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,6}")


@dataclass(frozen=True, kw_only=True)
class Try:
    """One index of the array: its seed, and the hyper-parameters of its search."""

    index: int
    size: int
    seed: int
    rate: float
    noise: float
    directions: int
    best: int


def spread(number: int, base: int) -> float:
    """The digits of `number` behind the point, mirrored: 1, 2, 3, ... fill [0, 1) evenly, whenever one stops."""
    value, share = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        share /= base
        value += share * digit
    return value


def tried(index: int, size: int) -> Try:
    """What `index` of `size` tries. Raises `TrainError`: `train.array.out_of_range`."""
    if not 0 <= index < size <= SIZE_MAX:
        message = f"index {index} is not within an array of {size}; an array has 1 to {SIZE_MAX} parts"
        raise TrainError("train.array.out_of_range", message)
    directions = DIRECTIONS[int(spread(index + 1, 5) * len(DIRECTIONS))]
    return Try(
        index=index,
        size=size,
        seed=index,
        rate=_between(RATE_MIN, RATE_MAX, spread(index + 1, 2)),
        noise=_between(NOISE_MIN, NOISE_MAX, spread(index + 1, 3)),
        directions=directions,
        best=directions // 2,
    )


def _between(low: float, high: float, share: float) -> float:
    """On a logarithmic scale, to three digits, so that it can be written down and typed again."""
    return float(f"{low * (high / low) ** share:.3g}")


def place(environment: Mapping[str, str]) -> tuple[int, int]:
    """Index and size from the environment; (0, 1) outside an array.

    Raises `TrainError`: `train.array.incomplete`, `train.array.malformed`.
    """
    given = [environment.get(name) for name in (INDEX_VARIABLE, SIZE_VARIABLE)]
    if given == [None, None]:
        return 0, 1
    if None in given:
        raise TrainError(
            "train.array.incomplete", f"{INDEX_VARIABLE} and {SIZE_VARIABLE} are given together or not at all"
        )
    numbers = [int(text) for text in given if text is not None and _NUMBER.fullmatch(text)]
    if len(numbers) < len(given):
        raise TrainError(
            "train.array.malformed", f"{INDEX_VARIABLE} and {SIZE_VARIABLE} are whole numbers from 0"
        )
    return numbers[0], numbers[1]
