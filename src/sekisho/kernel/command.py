"""Commands: everything anybody can ask. One definition yields route, CLI verb, charter action and evidence kind."""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

ResultT_co = TypeVar("ResultT_co", covariant=True)
Result: TypeAlias = Any
"""What a command answers; its type is the command's own parameter, known to callers and not to the gate."""
CommandType = TypeVar("CommandType", bound="type[Command[Any]]")


class Kind(enum.Enum):
    """How a command passes the gate."""

    RECORDED = "recorded"
    """Changes something or shows something sensitive: decided, run and recorded in one transaction."""
    READ = "read"
    """Decided on a read-only snapshot; leaves a record only when what is read is of level 2 or above."""
    PLUMBING = "plumbing"
    """Leases, sessions, heartbeats: writes only kernel tables, asks no charter, leaves no record."""


@typing.dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Command(msgspec.Struct, Generic[ResultT_co], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all commands. `ResultT_co` is what `gate.perform` answers with."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a command apart from its fields."""

    name: str
    """`compute.job.submit`: the action in the charter, in evidence, in the API and on the command line."""
    command: type[Command[Any]]
    result: Any
    kind: Kind
    resource: str
    """Entity type of the target's resource, as in the charter's schema."""
    principals: tuple[str, ...]
    groups: tuple[str, ...]
    two_people: bool
    changes_facts: bool
    """Writes organisations, sites, keys or charters: moves the facts version."""
    hidden: bool
    """A denial looks like `not_found`, so that nobody learns what exists elsewhere."""
    rarely_writes: bool
    """Plumbing that is tried on a reader first, and again as a writer when it turns out to write."""
    shows_secret: bool
    """Answers a secret that is shown once: the answer is not kept for repeats of the request."""
    ja: str
    en: str


_SPECS: dict[type[Command[Any]], Spec] = {}

PEOPLE = ("User", "Service")


def command(
    name: str,
    *,
    kind: Kind,
    resource: str,
    ja: str,
    principals: tuple[str, ...] = PEOPLE,
    groups: tuple[str, ...] = (),
    two_people: bool = False,
    changes_facts: bool = False,
    hidden: bool | None = None,
    rarely_writes: bool = False,
    shows_secret: bool = False,
) -> Callable[[CommandType], CommandType]:
    """Give a command its name and kind. The English help is the docstring's first line, the Japanese is `ja`."""

    def register(cls: CommandType) -> CommandType:
        if any(spec.name == name for spec in _SPECS.values()):
            message = f"two commands are named {name}"
            raise ValueError(message)
        _SPECS[cls] = Spec(
            name=name,
            command=cls,
            result=_result_type(cls),
            kind=kind,
            resource=resource,
            principals=principals,
            groups=groups,
            two_people=two_people,
            changes_facts=changes_facts,
            hidden=kind is Kind.READ if hidden is None else hidden,
            rarely_writes=rarely_writes,
            shows_secret=shows_secret,
            ja=ja,
            en=(cls.__doc__ or "").strip().splitlines()[0],
        )
        return cls

    return register


def _result_type(cls: type[Command[Any]]) -> Result:
    for base in getattr(cls, "__orig_bases__", ()):
        if typing.get_origin(base) is Command:
            return typing.get_args(base)[0]
    message = f"{cls.__name__} must say what it answers: Command[Result]"
    raise TypeError(message)


def spec_of(cls: type[Command[Any]]) -> Spec:
    """The spec of a command's type; KeyError for a class that was never registered."""
    return _SPECS[cls]


def spec_named(name: str) -> Spec | None:
    """The spec with this name, or None."""
    return next((spec for spec in _SPECS.values() if spec.name == name), None)


def all_specs() -> tuple[Spec, ...]:
    """Every registered command, sorted by name."""
    return tuple(sorted(_SPECS.values(), key=lambda spec: spec.name))
