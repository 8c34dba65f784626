"""The slowly changing entities as of one facts version, and the part of them that one request can reach.

Cedar skips a policy whose evaluation errors, forbids too, so a reference to something that does not exist could
turn a no into a yes. Therefore every reference is followed here before Cedar is asked.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import cedarpy
import msgspec

from sekisho.charter.compiled import Charter, Plan
from sekisho.charter.convert import (
    MalformedError,
    cedar_entity,
    encode_entities,
    encoder,
    moments,
    references,
)
from sekisho.charter.errors import WORLD, CharterError
from sekisho.charter.lru import Lru
from sekisho.kernel.facts import Entity, EntitySource, Ref
from sekisho.kernel.tx import Tx


class Closure(msgspec.Struct, frozen=True):
    """The slow entities that one set of references reaches, ready for Cedar.

    `missing` names the types of references that lead nowhere, `fault` says why Cedar refused the entities; with
    either, `handle` is None and the decision is a no. `bases` is the world's, shared by all its closures.
    """

    number: int
    entities: Mapping[Ref, Entity]
    encoded: msgspec.Raw
    moments_ms: tuple[int, ...]
    missing: tuple[str, ...]
    fault: str
    handle: cedarpy.Entities | None
    bases: Lru[tuple[int, bytes], cedarpy.Entities]

    def base(self, charter: Charter, plan: Plan, principal: Entity) -> tuple[cedarpy.Entities | None, str]:
        """The handle with the principal added, or None and why: people ask again, with other resources."""
        if self.handle is None:
            return None, self.fault
        key = (self.number, encoder.encode(principal))
        found = self.bases.get(key)
        if found is None:
            added = encoder.encode([cedar_entity(principal, charter.shapes)]).decode()
            try:
                found = self.handle.with_added_json_str(added, plan.schema)
            except ValueError as error:
                return None, " ".join(str(error).split())[:300]
            self.bases.put(key, found)
        return found, ""


FOREVER_MS = 1 << 62

Expiry = Callable[[Tx, int], int | None]
"""When the next fact of one capability will be over, after a moment; None while none will."""


class World:
    """All slow entities of one facts version. Shared by all threads; closures are made when first asked for."""

    CLOSURES_MAX = 4096

    def __init__(self, version: int, entities: Mapping[Ref, Entity], until_ms: int = FOREVER_MS) -> None:
        """Take over `entities`, which hold before `until_ms`; nobody changes them afterwards."""
        self.version = version
        self.until_ms = until_ms
        self.entities = entities
        self._numbers = itertools.count()
        self._bases: Lru[tuple[int, bytes], cedarpy.Entities] = Lru(self.CLOSURES_MAX)
        self._closures: Lru[tuple[str, str, tuple[Ref, ...], tuple[Ref, ...]], Closure] = Lru(
            self.CLOSURES_MAX
        )

    def closure(self, charter: Charter, plan: Plan, roots: tuple[Ref, ...], own: tuple[Ref, ...]) -> Closure:
        """What `roots` reach. `own` are the request's own entities: they exist, and are added for each decision."""
        inside = tuple(ref for ref in own if ref in self.entities or ref in roots)
        key = (charter.digest, plan.action.name, roots, inside)
        found = self._closures.get(key)
        if found is None:
            found = self._reach(roots, frozenset(inside), functools.partial(_handle, charter, plan))
            self._closures.put(key, found)
        return found

    def _reach(
        self,
        roots: Iterable[Ref],
        own: frozenset[Ref],
        make: Callable[[Iterable[Entity]], tuple[cedarpy.Entities | None, str]],
    ) -> Closure:
        reached: dict[Ref, Entity] = {}
        missing: set[str] = set()
        waiting = list(roots)
        while waiting:
            ref = waiting.pop()
            if ref in reached or ref in own:
                continue
            entity = self.entities.get(ref)
            if entity is None:
                missing.add(ref.type)
                continue
            reached[ref] = entity
            waiting += [*references(entity.attributes), *entity.parents]
        handle, fault = (None, "") if missing else make(reached.values())
        return Closure(
            next(self._numbers),
            reached,
            encode_entities(reached.values()),
            tuple(ms for entity in reached.values() for ms in moments(entity.attributes)),
            tuple(sorted(missing)),
            fault,
            handle,
            self._bases,
        )


def _handle(charter: Charter, plan: Plan, entities: Iterable[Entity]) -> tuple[cedarpy.Entities | None, str]:
    """Cedar's handle, checked against the schema: without it membership in groups would silently never match."""
    try:
        document = [cedar_entity(entity, charter.shapes) for entity in entities]
        return cedarpy.Entities.from_json_str(encoder.encode(document).decode(), plan.schema), ""
    except MalformedError as error:
        return None, f"a slow entity holds a {error}"
    except ValueError as error:
        return None, " ".join(str(error).split())[:300]


class Worlds:
    """The newest few worlds by facts version: read again only when the version moved.

    A world is read inside the caller's transaction, so a version must never be used for two different states,
    not even by a transaction that is rolled back later.
    """

    def __init__(
        self, sources: Sequence[EntitySource], *, expiries: Sequence[Expiry] = (), keep: int = 4
    ) -> None:
        """`sources` own slow entities and leave out facts that are over, `expiries` tell when the next one will be.

        `keep` covers readers on older snapshots.
        """
        self._sources = sources
        self._expiries = expiries
        self._worlds: Lru[int, World] = Lru(keep)
        self._loading = threading.Lock()

    def at(self, tx: Tx, now_ms: int = 0) -> World:
        """The world of this transaction's snapshot; CharterError when two sources contradict each other."""
        version = tx.facts_version()
        world = self._worlds.get(version)
        if world is not None and now_ms < world.until_ms:
            return world
        with self._loading:
            world = self._worlds.get(version)
            if world is None or now_ms >= world.until_ms:
                ends = [expiry(tx, now_ms) for expiry in self._expiries]
                until_ms = min((end for end in ends if end is not None), default=FOREVER_MS)
                world = World(version, self._load(tx), until_ms)
                self._worlds.put(version, world)
            return world

    def _load(self, tx: Tx) -> dict[Ref, Entity]:
        entities: dict[Ref, Entity] = {}
        for source in self._sources:
            for entity in source.entities(tx):
                if entities.setdefault(entity.ref, entity) != entity:
                    raise CharterError(WORLD, entity=f"{entity.ref.type} {entity.ref.id}")
        return entities
