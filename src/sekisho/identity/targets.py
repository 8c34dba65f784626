"""What identity's commands are about: the entities that the charter is asked about, loaded or made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from sekisho.identity import tables
from sekisho.identity.model import FactView, ListServices, ListTeams
from sekisho.identity.model_people import ListPeople
from sekisho.identity.principals import organisation_entity
from sekisho.identity.rules import Facts, standing
from sekisho.kernel.command import Command
from sekisho.kernel.errors import InvalidInputError, NotFoundError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Row, Tx

CommandT = TypeVar("CommandT", bound=Command[Any])


class Sites(Protocol):
    """The sites capability as identity needs it; `app.py` plugs it in."""

    def __call__(self, tx: Tx, site: str, /) -> Entity:
        """A site's entity with its `operator`; NotFoundError for an unknown one."""
        ...


def checked(target: Callable[[Tx, Entity, CommandT], Target]) -> Callable[[Tx, Entity, CommandT], Target]:
    """Hold the command to its own types first: a caller inside the process did not come through a decoder."""

    def check_then_load(tx: Tx, principal: Entity, command: CommandT) -> Target:
        try:
            msgspec.convert(msgspec.to_builtins(command), type=type(command))
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at ")
            raise InvalidInputError(
                field=path.strip("`").removeprefix("$.") or "command", what=what
            ) from None
        return target(tx, principal, command)

    return check_then_load


def home(principal: Entity) -> str:
    """The organisation a principal belongs to; empty for those without one."""
    organisation = principal.attributes.get("org")
    return organisation.id if isinstance(organisation, Ref) else ""


def find_organisation(tx: Tx, organisation: str) -> Row:
    """An organisation's row; NotFoundError when there is none."""
    row = tables.organisation(tx, organisation)
    if row is None:
        raise NotFoundError(id=organisation)
    return row


def find_person(tx: Tx, person: str) -> Row:
    """A person who is not erased; NotFoundError otherwise."""
    row = tables.person(tx, person)
    if row is None or row["state"] == "erased":
        raise NotFoundError(id=person)
    return row


def find_service(tx: Tx, service: str) -> Row:
    """A service account; NotFoundError when there is none."""
    row = tables.service(tx, service)
    if row is None:
        raise NotFoundError(id=service)
    return row


def find_team(tx: Tx, team: str) -> Row:
    """A team's row; NotFoundError when there is none."""
    row = tables.team(tx, team)
    if row is None:
        raise NotFoundError(id=team)
    return row


def owned(kind: str, name: str, organisation: str) -> Entity:
    """An Account or Team as the charter sees it: nothing but its owner."""
    return Entity(Ref(kind, name), {"owner": Ref("Org", organisation)})


def on_organisation(tx: Tx, organisation: str) -> Target:
    """An existing organisation as the thing acted on, with everything known of it."""
    find_organisation(tx, organisation)
    resource = organisation_entity(organisation, tables.facts(tx, organisation))
    return Target(resource=resource, stream=organisation)


def on_owned(kind: str, name: str, organisation: str) -> Target:
    """An Account or Team as the thing acted on, in its organisation's stream."""
    return Target(resource=owned(kind, name, organisation), stream=organisation)


def on_listing(
    tx: Tx, principal: Entity, command: ListServices | ListTeams | ListPeople, *, kind: str
) -> Target:
    """Everything of one kind in one organisation, the asker's own unless another is named."""
    organisation = command.organisation or home(principal)
    find_organisation(tx, organisation)
    return on_owned(kind, "all", organisation)


def on_token(token: str, holder: str, organisation: str) -> Target:
    """A token as the thing acted on."""
    resource = Entity(Ref("Token", token), {"owner": Ref("Org", organisation), "holder": holder})
    return Target(resource=resource, stream=organisation)


def fact_views(facts: Facts, now_ms: int) -> dict[str, FactView]:
    """The facts that still hold, as people read them."""
    return {
        name: msgspec.convert(msgspec.structs.asdict(fact), FactView)
        for name, fact in sorted(standing(facts, now_ms).items())
    }


def row_id(row: Row) -> str:
    """The key that lists are paged by."""
    return str(row["id"])
