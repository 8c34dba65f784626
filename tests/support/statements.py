"""What a piece of work asks of the database: on PostgreSQL each statement is a way there and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sekisho.kernel import postgres, sqlite
from sekisho.kernel.tx import Statement


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """The SQL of every statement that this process sends to a database meanwhile, in order; one for many rows."""
    seen: list[str] = []
    with contextlib.ExitStack() as undone:
        for executor in (sqlite._Executor, postgres._Executor):
            for name in ("execute", "execute_many"):
                _noted(executor, name, seen, undone)
        yield seen


def _noted(executor: type[Any], name: str, seen: list[str], undone: contextlib.ExitStack) -> None:
    plain = getattr(executor, name)

    def run(self: Any, statement: Statement, params: Any) -> Any:
        seen.append(" ".join(statement.sqlite.split()))
        return plain(self, statement, params)

    setattr(executor, name, run)
    undone.callback(setattr, executor, name, plain)
