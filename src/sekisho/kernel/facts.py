"""What a decision is about: entities, the request made of them, and the answer.

The kernel knows the shape; the charter knows the meaning. Values are the small set that Cedar, canonical
JSON and both databases share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from sekisho.kernel.tx import Tx


class Ref(msgspec.Struct, frozen=True, order=True):
    """Names one entity: its type in the charter's schema (`Job`, `Org`) and its id."""

    type: str
    id: str


class Moment(msgspec.Struct, frozen=True, order=True):
    """A point in time as a charter value (Cedar `datetime`), in milliseconds since the epoch."""

    ms: int


Value: TypeAlias = "str | int | bool | Ref | Moment | frozenset[str] | Mapping[str, Value]"


class Entity(msgspec.Struct, frozen=True):
    """One entity with its attributes; `parents` are groups it is a member of."""

    ref: Ref
    attributes: Mapping[str, Value] = {}
    parents: tuple[Ref, ...] = ()


class Actor(msgspec.Struct, frozen=True):
    """Who asks. Made only by identity's authentication, by the agent door and by background work.

    `scopes` narrows a token to some actions (`None`: all the account may do); `via` names how the actor was
    authenticated and goes into no decision.
    """

    ref: Ref
    scopes: frozenset[str] | None = None
    via: str = "token"


ANONYMOUS = Actor(Ref("Anonymous", "anonymous"), via="none")
SYSTEM = Actor(Ref("System", "system"), via="system")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a command acts on, loaded inside the transaction that will write.

    `resource` carries its attributes because it may not exist yet. `context` must match the shape that the
    command's groups declare. `stream` names the evidence stream (a job's id, else the organisation's id).
    """

    resource: Entity
    context: Mapping[str, Value] = {}
    stream: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One question to the charter."""

    principal: Entity
    action: str
    resource: Entity
    context: Mapping[str, Value]
    now_ms: int


class Sentence(msgspec.Struct, frozen=True):
    """One unmet condition in both languages, with the rule it comes from."""

    rule: str
    en: str
    ja: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The charter's answer. `facts` is the digest of everything that was looked at."""

    allowed: bool
    rules: tuple[str, ...]
    charter: str
    facts: str


class Decider(Protocol):
    """The charter as the gate sees it. `app.py` plugs it in."""

    def decide(self, tx: Tx, request: Request) -> Decision:
        """Answer; every doubt (unknown entity, evaluation error, no charter) is a no."""
        ...

    def explain(self, tx: Tx, request: Request, decision: Decision) -> tuple[Sentence, ...]:
        """Why not, most important first; empty for an allowed request."""
        ...


class Principals(Protocol):
    """Identity as the gate sees it."""

    def principal(self, tx: Tx, actor: Actor) -> Entity | None:
        """The actor's present entity (roles, organisation), or None when the account is gone or disabled."""
        ...


class EntitySource(Protocol):
    """A capability that owns slowly changing entities (organisations, sites, keys)."""

    def entities(self, tx: Tx) -> Iterable[Entity]:
        """All of them, at the transaction's snapshot. Read again only when the facts version moved."""
        ...
