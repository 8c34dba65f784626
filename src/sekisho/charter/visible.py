"""Lists show exactly what the charter lets the reader see."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from sekisho.kernel.command import Command
from sekisho.kernel.context import Ctx
from sekisho.kernel.facts import Entity

RowT = TypeVar("RowT")


def visible(
    ctx: Ctx, command: type[Command[Any]], rows: Iterable[RowT], entity_of: Callable[[RowT], Entity]
) -> list[RowT]:
    """The rows whose entity the actor may ask `command` about, in their order.

    `command` is the one that shows a single row and takes no context. Equal rows are one remembered decision.
    """
    return [row for row in rows if ctx.allows(command, entity_of(row))]
