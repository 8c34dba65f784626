"""The order of tests among workers: each begins with its part of the slow ones, so that none is left over at the end.

`--dist=worksteal` hands each worker an equal, contiguous part of the list and moves tests only from the end of a part.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def shares(count: int, workers: int) -> list[int]:
    """How many of `count` tests each worker is handed at first."""
    sizes: list[int] = []
    for left in range(workers, 0, -1):
        sizes.append((count - sum(sizes)) // left)
    return sizes


def dealt(slow: Sequence[tuple[float, Sequence[ItemT]]], rest: Sequence[ItemT], workers: int) -> list[ItemT]:
    """`slow` are groups that stay together and how long each may take, in any unit; `rest` keeps its order."""
    piles: list[tuple[float, int, list[ItemT]]] = [(0.0, number, []) for number in range(workers)]
    for weight, group in sorted(slow, key=lambda one: -one[0]):
        taken, number, pile = heapq.heappop(piles)
        heapq.heappush(piles, (taken + weight, number, [*pile, *group]))
    found: list[ItemT] = []
    left = list(rest)
    total = len(left) + sum(len(group) for _, group in slow)
    for size, (_, _, pile) in zip(shares(total, workers), sorted(piles, key=lambda one: one[1]), strict=True):
        room = max(0, size - len(pile))
        found += [*pile, *left[:room]]
        del left[:room]
    return found + left
