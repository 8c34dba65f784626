"""Handlers of the territory file and its versions. Read files stay in memory, because they are large."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Tx
from sekisho.sites import tables_location as tables
from sekisho.sites.errors import NO_TERRITORY, TERRITORY_KEPT, TERRITORY_UNUSABLE
from sekisho.sites.model_location import AddTerritory, ListTerritories, SetTerritory, TerritoryView
from sekisho_verify.canonical import digest as digest_of
from sekisho_verify.errors import VerifyError
from sekisho_verify.location_territory import Territory, parse_territory

KEPT_IN_MEMORY = 3
CONTENTION = "territory"

KeepFile = Callable[[Tx, str, bytes], None]
"""Stores evidence bytes under their digest in this transaction; the ledger's."""
ReadFile = Callable[[Tx, str], bytes | None]
"""Evidence bytes by their digest; the ledger's."""


class Territories:
    """Versions by digest, read once. Shared by all threads."""

    def __init__(self, keep: KeepFile, read: ReadFile) -> None:
        """`keep` and `read` are the ledger's."""
        self._keep = keep
        self._read = read
        self._guard = threading.Lock()
        self._parsed: dict[str, Territory] = {}

    def in_force(self, tx: Tx) -> Territory:
        """The version in force; `sites.territory_none` before the first."""
        digest = tables.territory_in_force(tx)
        if not digest:
            raise SekishoError(NO_TERRITORY)
        return self.version(tx, digest)

    def version(self, tx: Tx, digest: str) -> Territory:
        """One version; NotFoundError for a digest that was never kept."""
        with self._guard:
            found = self._parsed.get(digest)
        if found is None:
            data = self._read(tx, digest)
            if data is None:
                raise NotFoundError(id=digest)
            found = self._remember(parse_territory(data))
        return found

    def check(self, text: str) -> Territory:
        """A version from its text; `sites.territory_unusable` names what is wrong with it and where."""
        try:
            return self._remember(parse_territory(text.encode()))
        except VerifyError as error:
            raise SekishoError(
                TERRITORY_UNUSABLE, what=error.detail, code=error.code, where=error.where or "-"
            ) from error

    def prepare(self, tx: Tx, principal: Entity, command: AddTerritory) -> None:
        """Read the file while others write; what is wrong with it is said in its turn."""
        del tx, principal
        digest = _digest(command)
        with self._guard:
            known = digest in self._parsed
        if not known:
            self.check(command.territory)

    def add(self, ctx: Ctx, command: AddTerritory) -> TerritoryView:
        """Keep a version that was not kept before."""
        with self._guard:
            found = self._parsed.get(_digest(command))
        found = found or self.check(command.territory)
        if tables.territory(ctx.tx, found.digest) is not None:
            raise SekishoError(TERRITORY_KEPT, digest=found.digest)
        self._keep(ctx.tx, found.digest, command.territory.encode())
        view = TerritoryView(
            digest=found.digest,
            name=found.name,
            version=found.version,
            disputed={area.code: area.counts_as for area in found.disputed},
            state="kept",
            added_ms=ctx.now_ms,
            in_force_since_ms=None,
            record_id=ctx.record_id,
        )
        tables.insert_territory(ctx.tx, view)
        ctx.detail(
            name=found.name,
            version=found.version,
            disputed=dict(view.disputed),
            files={"territory.json": found.digest},
        )
        return view

    def _remember(self, territory: Territory) -> Territory:
        with self._guard:
            self._parsed[territory.digest] = territory
            while len(self._parsed) > KEPT_IN_MEMORY:
                self._parsed.pop(next(iter(self._parsed)))
        return territory


def find(tx: Tx, digest: str) -> TerritoryView:
    """One version as it is listed; NotFoundError for one that was never kept."""
    view = tables.territory(tx, digest)
    if view is None:
        raise NotFoundError(id=digest)
    return view


def list_territories(ctx: Ctx, command: ListTerritories) -> list[TerritoryView]:
    """Every version, the newest first."""
    del command
    return tables.territories(ctx.tx)


def territory_target(
    _tx: Tx, principal: Entity, _command: AddTerritory | SetTerritory | ListTerritories
) -> Target:
    """The territory is part of the charter; evidence goes to the organisation of whoever changes it."""
    own = principal.attributes.get("org")
    return Target(
        resource=Entity(Ref("Charter", "charter")),
        stream=own.id if isinstance(own, Ref) else principal.ref.id,
    )


def handlers(territories: Territories) -> tuple[Handler[Any], ...]:
    """Adding and listing; putting one in force moves the proofs that stand, and is theirs."""
    return (
        Handler(
            AddTerritory, territory_target, territories.add, lambda _command: CONTENTION, territories.prepare
        ),
        Handler(ListTerritories, territory_target, list_territories),
    )


def _digest(command: AddTerritory) -> str:
    return digest_of(command.territory.encode())
