"""One row of the table of routes, and what such a table may not say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import msgspec

from sekisho.kernel.command import Command, Kind, Spec, spec_of

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

PREFIX = "/v1"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


class Route(msgspec.Struct, frozen=True):
    """One command's place. Fields named in the path bind to the command; GET and DELETE take the rest as query."""

    method: Method
    path: str
    command: type[Command[Any]]
    status: int = 200
    """Answer to success; the first person of a command for two gets 202."""
    cli: tuple[str, str] | None = None
    """Noun and verb on the command line; None keeps it out of there."""
    daily: str = ""
    """A word of its own for daily use (`jobs`, `cancel`)."""
    words: tuple[str, ...] = ()
    """Fields given by position on the command line, after those of the path."""
    files: tuple[str, ...] = ()
    """Text fields for which the command line takes a file's name and sends its content."""
    columns: tuple[str, ...] = ()
    """What a list shows of each row, as named in the JSON answer."""
    download: str = ""
    """The field of the answer whose bytes are sent as the body instead of JSON."""
    media: str = "application/json"
    body_bytes: int = 0
    """How long its body may be, where that is more than others may send; 0 for the usual."""
    final: bool = False
    """It cannot be undone: the command line asks first."""

    @property
    def spec(self) -> Spec:
        """What the command says of itself."""
        return spec_of(self.command)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Fields that the path binds, in order."""
        return tuple(_PLACEHOLDER.findall(self.path))

    @property
    def takes_body(self) -> bool:
        """Whether the other fields come as a JSON body; else they come as query parameters."""
        return self.method in {"POST", "PUT", "PATCH"}


def in_order(routes: Iterable[Route]) -> list[Route]:
    """Sorted so that a fixed word wins over a placeholder in the same position."""
    return sorted(routes, key=lambda route: [(part.startswith("{"), part) for part in route.path.split("/")])


def mistakes(routes: Iterable[Route]) -> list[str]:
    """What a row cannot mean: a placeholder that is no field, a path twice, a GET that changes something."""
    found: list[str] = []
    seen: set[tuple[str, str]] = set()
    for route in routes:
        name = f"{route.method} {route.path}"
        fields = set(route.command.__struct_fields__)
        named = {*route.placeholders, *route.words, *route.files}
        found += [f"{name}: no field {field}" for field in sorted(named - fields)]
        if not route.path.startswith(PREFIX + "/"):
            found.append(f"{name}: outside {PREFIX}")
        if route.method == "GET" and route.spec.kind is not Kind.READ:
            found.append(f"{name}: GET of a command that is not a read")
        shape = route.method, _PLACEHOLDER.sub("{}", route.path)
        if shape in seen:
            found.append(f"{name}: routed twice")
        seen.add(shape)
    return found
