"""Slurm's notation for arrays: `0-7`, `1-10:2`, `1,3,5`, `0-15%4`, `1,3-5`.

The task numbers are a set: the same one twice is one task. Read so by Slurm 22.05.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sekisho_client.imports.draft import ARRAY_MAX

ITEM: Final = re.compile(r"(\d{1,7})(?:-(\d{1,7})(?::(\d{1,7}))?)?", re.ASCII)
WHOLE: Final = re.compile(r"([\d:,-]{1,20000})(?:%(\d{1,7}))?", re.ASCII)


class Tasks(NamedTuple):
    """An array's task numbers, rising; how many may run at once, 0 for no limit; the step, 0 where none is certain."""

    numbers: tuple[int, ...]
    parallel: int
    step: int

    def number(self) -> str:
        """Shell text for the task number of the job that SEKISHO_ARRAY_INDEX tells apart."""
        first, gap = self.numbers[0], (self.numbers[1] - self.numbers[0]) if len(self.numbers) > 1 else 1
        if self.numbers != tuple(range(first, first + gap * len(self.numbers), gap)):
            words = " ".join(str(number) for number in self.numbers)
            return f'"$(set -- {words}; shift "$SEKISHO_ARRAY_INDEX"; echo "$1")"'
        if (first, gap) == (0, 1):
            return '"$SEKISHO_ARRAY_INDEX"'
        return f"$(({first} + {gap} * $SEKISHO_ARRAY_INDEX))"

    def variables(self) -> dict[str, str]:
        """What Slurm tells each task, as shell text."""
        return {
            "SLURM_ARRAY_TASK_ID": self.number(),
            "SLURM_ARRAY_JOB_ID": '"$SEKISHO_ARRAY"',
            "SLURM_ARRAY_TASK_COUNT": str(len(self.numbers)),
            "SLURM_ARRAY_TASK_MIN": str(self.numbers[0]),
            "SLURM_ARRAY_TASK_MAX": str(self.numbers[-1]),
            **({"SLURM_ARRAY_TASK_STEP": str(self.step)} if self.step else {}),
        }


def parse(text: str) -> Tasks | str:
    """The tasks of an array, or the reason why there are none: `value` for no such notation, `array` for too many."""
    whole = WHOLE.fullmatch(text)
    items = [ITEM.fullmatch(item) for item in whole[1].split(",")] if whole else []
    if whole is None or (whole[2] is not None and not int(whole[2])):
        return "value"
    numbers: set[int] = set()
    for item in items:
        if item is None:
            return "value"
        first, last, step = int(item[1]), int(item[2] or item[1]), int(item[3] or 1)
        if last < first or not step:
            return "value"
        found = range(first, last + 1, step)
        if len(found) > ARRAY_MAX:
            return "array"
        numbers.update(found)
        if len(numbers) > ARRAY_MAX:
            return "array"
    return Tasks(tuple(sorted(numbers)), int(whole[2] or 0), _step(items))


def _step(items: list[re.Match[str] | None]) -> int:
    """The step that Slurm tells: of one range its own, 1 where none is written; of a mixture nothing is sure."""
    steps = [int(item[3]) for item in items if item is not None and item[3]]
    if not steps:
        return 1
    return steps[0] if len(items) == 1 else 0
