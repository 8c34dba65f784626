"""Accounts as principals of the charter, organisations and teams as its slowly changing entities."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from sekisho.identity import rules, tables, tables_access
from sekisho.kernel.clock import Clock
from sekisho.kernel.facts import ANONYMOUS, SYSTEM, Actor, Entity, Ref
from sekisho.kernel.tx import Row, Tx

REMEMBERED_MAX = 10_000
_FOREVER = 1 << 62


class _Remembered(msgspec.Struct, frozen=True):
    version: str
    until_ms: int
    entity: Entity


class IdentityPrincipals:
    """Who may ask, as they are now: implements the kernel's `Principals`.

    A principal is remembered under the `record_id` of its account's row, which every change of its state, roles,
    teams or facts renews in the same transaction. So one lookup by key tells whether the memory still holds, a
    revoked role is gone with the next request, and a change that was rolled back leaves nothing behind (record ids
    are never used again). The memory is shared by all threads under `_lock`.
    """

    def __init__(self, clock: Clock) -> None:
        """`clock` tells which facts are over."""
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    def principal(self, tx: Tx, actor: Actor) -> Entity | None:
        """The actor's entity; None for accounts that are unknown, disabled, erased or of another kind."""
        if actor.ref in (ANONYMOUS.ref, SYSTEM.ref):
            return Entity(actor.ref)
        row = tables.account(tx, actor.ref.id)
        if row is None or row["state"] != "active" or row["kind"] != actor.ref.type:
            return None
        now_ms = self._clock.now_ms()
        with self._lock:
            known = self._remembered.get(row["id"])
            if known is not None and known.version == row["record_id"] and now_ms < known.until_ms:
                self._remembered.move_to_end(row["id"])
                return known.entity
        entity, until_ms = load(tx, row, now_ms)
        if entity is not None:
            self._remember(row, entity, until_ms)
        return entity

    def _remember(self, row: Row, entity: Entity, until_ms: int) -> None:
        with self._lock:
            self._remembered[row["id"]] = _Remembered(row["record_id"], until_ms, entity)
            self._remembered.move_to_end(row["id"])
            while len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)


def load(tx: Tx, account: Row, now_ms: int) -> tuple[Entity | None, int]:
    """An account's entity read from the tables, and until when it holds if nobody writes."""
    ref, organisation = Ref(account["kind"], account["id"]), account["organisation"]
    if ref.type == "Agent":
        agent = tables_access.agent(tx, ref.id)
        if agent is None:
            return None, now_ms
        return Entity(ref, {"org": Ref("Org", organisation), "site": Ref("Site", agent["site"])}), _FOREVER
    roles = tables.roles(tx, ref.id)
    if ref.type == "Service":
        return Entity(ref, {"org": Ref("Org", organisation), "roles": frozenset(roles)}), _FOREVER
    facts = rules.standing(tables.facts(tx, ref.id), now_ms)
    teams = tuple(Ref("Team", team) for team in tables.teams_of(tx, ref.id))
    until_ms = min((fact.expires_ms or _FOREVER for fact in facts.values()), default=_FOREVER)
    return Entity(ref, rules.person_attributes(organisation, roles, facts), teams), until_ms


class OrganisationEntities:
    """Every organisation and team: an `EntitySource` of the charter."""

    def __init__(self, clock: Clock) -> None:
        """`clock` tells which facts are over; their removal then moves the facts version."""
        self._clock = clock

    def entities(self, tx: Tx) -> Iterable[Entity]:
        """One Org entity an organisation, one Team entity a team."""
        facts, now_ms = tables.facts_of_all(tx, "Org"), self._clock.now_ms()
        for row in tables.organisations(tx):
            yield organisation_entity(row["id"], rules.standing(facts.get(row["id"], {}), now_ms))
        for row in tables.every_team(tx):
            yield Entity(Ref("Team", row["id"]), {"owner": Ref("Org", row["organisation"])})


class ApproverEntities:
    """People whom a context may name (approvers of exports and of operator access): an `EntitySource`."""

    ROLES = ("administrator", "compliance", "releaser")

    def __init__(self, clock: Clock) -> None:
        """`clock` tells which facts are over."""
        self._clock = clock

    def entities(self, tx: Tx) -> Iterable[Entity]:
        """One User entity for each active person with one of `ROLES`."""
        accounts = sorted({row["id"] for role in self.ROLES for row in tables.active_people_with(tx, role)})
        for account in accounts:
            row = tables.account(tx, account)
            entity = load(tx, row, self._clock.now_ms())[0] if row is not None else None
            if entity is not None:
                yield entity


def find_organisation_entity(tx: Tx, organisation: str, now_ms: int) -> Entity:
    """One organisation with what holds about it at a moment; an unknown one with nothing."""
    return organisation_entity(organisation, rules.standing(tables.facts(tx, organisation), now_ms))


def organisation_entity(organisation: str, facts: rules.Facts) -> Entity:
    """An organisation with what still holds about it."""
    return Entity(Ref("Org", organisation), rules.organisation_attributes(facts))
