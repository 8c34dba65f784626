"""Handlers of data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from sekisho.data import actions_keys, rules, tables, tables_keys
from sekisho.data.actions_keys import own_key, owner_of
from sekisho.data.errors import NAME_TAKEN, NOT_HERE, NOT_READY
from sekisho.data.model import (
    AddDataset,
    AddWorkdir,
    ArtefactPage,
    ArtefactView,
    DatasetPage,
    DatasetView,
    Download,
    FetchArtefact,
    ListArtefacts,
    ListDatasets,
    SealDataset,
    ShowArtefact,
    ShowDataset,
    Upload,
)
from sekisho.data.tickets import Tickets, arrival
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.evidence import Evidence
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import Tx
from sekisho_wire import trees
from sekisho_wire.trees import MANIFEST_BYTES_MAX

REMEMBERED_MAX = 1000
"""Datasets and releases found complete; forgetting one costs looking again."""


class Objects(Protocol):
    """The control plane's own object store, as far as handlers need it."""

    def noted(self, key: str) -> bool:
        """Whether something is kept under this name."""
        ...

    def get_bytes(self, digest: str, *, size_bytes_max: int) -> bytes:
        """A small object in memory, checked against its digest."""
        ...


class Place(msgspec.Struct, frozen=True):
    """A site and its platform key, as the context of an `at_rest` question, and the country it is said to be in."""

    site: str
    key: Ref
    country: str = ""


Where = Callable[[Tx], Place]
"""Finds the control plane's own site; sites is a neighbour of data, so `app.py` plugs it in."""


def find_dataset(tx: Tx, dataset: str, owner: str) -> DatasetView:
    """A dataset by id, or by name within the asker's organisation; NotFoundError otherwise."""
    found = tables.find_dataset(tx, dataset, owner)
    if found is None:
        raise NotFoundError(id=dataset)
    return found


def ready_dataset(tx: Tx, dataset: str, owner: str) -> DatasetView:
    """A dataset of this organisation that can be an input; problem `data.not_ready` while bytes are missing."""
    found = find_dataset(tx, dataset, owner)
    if found.owner != owner:
        raise NotFoundError(id=dataset)
    if found.state != "ready":
        raise SekishoError(NOT_READY, name=found.name)
    return found


def find_artefact(tx: Tx, artefact: str) -> ArtefactView:
    """An artefact by id; NotFoundError otherwise."""
    found = tables.find_artefact(tx, artefact)
    if found is None:
        raise NotFoundError(id=artefact)
    return found


def register_artefact(ctx: Ctx, artefact: ArtefactView, site: str) -> ArtefactView:
    """Note what an attempt left behind, at the site where its bytes lie. Compute calls it under a checked token."""
    tables.insert_artefact(ctx.tx, artefact, site if artefact.attempt else "")
    tables.put_copy(ctx.tx, artefact.object, site, ctx.now_ms)
    return artefact


def arrived_for(tx: Tx, source: str) -> str:
    """For what the bytes of a dataset or artefact came in: itself, or the attempt that left them behind."""
    artefact = tables.find_artefact(tx, source)
    return artefact.attempt if artefact and artefact.attempt else source


def note_copy(ctx: Ctx, digest: str, site: str) -> None:
    """An object arrived at a site."""
    tables.put_copy(ctx.tx, digest, site, ctx.now_ms)


class DataActions:
    """The handlers, with what they need from outside the database."""

    def __init__(self, objects: Objects, tickets: Tickets, where: Where, *, production: bool = False) -> None:
        """`objects` is the control plane's own store, `where` its own site; `production` takes no development key."""
        self._objects = objects
        self._tickets = tickets
        self._where = where
        self.production = production
        self._complete: set[str] = set()

    def at_rest(self, tx: Tx, command: AddDataset | AddWorkdir, owner: str) -> dict[str, Any]:
        """The context of keeping something here, under its own key or this site's: a site like any other."""
        place = self._where(tx)
        key = Ref("Key", own_key(tx, command.key, owner).id) if command.key else place.key
        return {"site": Ref("Site", place.site), "key": key}

    def add_dataset_target(self, tx: Tx, principal: Entity, command: AddDataset) -> Target:
        """The dataset as it would be, at the control plane's own site."""
        owner = owner_of(principal)
        entity = rules.labelled(
            "Dataset",
            "new",
            owner=owner,
            level=command.level,
            labels=command.labels,
            residency=rules.check_residency(command.residency),
        )
        return Target(resource=entity, context=self.at_rest(tx, command, owner), stream=owner)

    def add_dataset(self, ctx: Ctx, command: AddDataset) -> Upload:
        """Make room for the bytes; nobody can use the dataset before it is sealed."""
        owner = owner_of(ctx.principal)
        if tables.find_dataset(ctx.tx, command.name, owner):
            raise SekishoError(NAME_TAKEN, name=command.name)
        dataset, key = ctx.new_id("ds"), _sealing_key(ctx, command, owner)
        tables.insert_dataset(ctx.tx, dataset, owner, command, key=key, now_ms=ctx.now_ms)
        ctx.detail(dataset=dataset, object=command.object, level=command.level, **_sealed(command, key))
        return self._upload(dataset, command.object, command.size_bytes)

    def look_for_bytes(self, tx: Tx, principal: Entity, command: SealDataset) -> None:
        """Look for every byte of a manifest of many files while others write; only for its own organisation."""
        dataset = find_dataset(tx, command.dataset, owner_of(principal))
        if dataset.owner == owner_of(principal):
            self._check_arrived(dataset)

    def seal_dataset(self, ctx: Ctx, command: SealDataset) -> DatasetView:
        """Nothing is missing; from now on work may read it."""
        dataset = find_dataset(ctx.tx, command.dataset, owner_of(ctx.principal))
        if dataset.state != "ready":
            self._check_arrived(dataset)
            tables.seal_dataset(ctx.tx, dataset.id)
            tables.put_copy(ctx.tx, dataset.object, self._where(ctx.tx).site, ctx.now_ms)
        return find_dataset(ctx.tx, dataset.id, dataset.owner)

    def add_workdir_target(self, tx: Tx, principal: Entity, command: AddWorkdir) -> Target:
        """The folder as it would be, at the control plane's own site."""
        owner = owner_of(principal)
        entity = rules.labelled(
            "Artifact",
            "new",
            owner=owner,
            level=command.level,
            labels=command.labels,
            residency=rules.check_residency(command.residency),
        )
        return Target(resource=entity, context=self.at_rest(tx, command, owner), stream=owner)

    def add_workdir(self, ctx: Ctx, command: AddWorkdir) -> Upload:
        """Register a working folder; a job may name it once its bytes came in."""
        owner = owner_of(ctx.principal)
        key = _sealing_key(ctx, command, owner)
        ctx.detail(**_sealed(command, key))
        artefact = ArtefactView(
            id=ctx.new_id("art"),
            name="workdir",
            kind="workdir",
            owner=owner,
            owners=[owner],
            level=command.level,
            labels=sorted(set(command.labels)),
            residency=rules.check_residency(command.residency),
            object=command.object,
            object_kind="tree",
            size_bytes=command.size_bytes,
            job="",
            attempt="",
            created_ms=ctx.now_ms,
            copies=[],
            record_id=ctx.record_id,
            key=key,
            key_version=command.key_version,
            envelope=command.envelope,
        )
        register_artefact(ctx, artefact, self._where(ctx.tx).site)
        return self._upload(artefact.id, command.object, command.size_bytes)

    def fetch_artefact(self, ctx: Ctx, command: FetchArtefact) -> Download:
        """A ticket for bytes that lie here; what lies elsewhere is named with its site."""
        artefact = find_artefact(ctx.tx, command.artefact)
        rules.check_fetch(artefact.level, artefact.owners, artefact.owner)
        into = artefact.attempt or artefact.id
        if not self._objects.noted(arrival(into, artefact.object)):
            raise SekishoError(NOT_HERE, site=", ".join(artefact.copies))
        ticket = self._tickets.issue(
            "get", artefact.object, artefact.object_kind, artefact.size_bytes, into=into
        )
        ctx.detail(object=artefact.object)
        return Download(
            artefact.object, artefact.object_kind, artefact.size_bytes, ticket, self._tickets.expiry_ms()
        )

    def country(self, tx: Tx) -> str:
        """Where the control plane stands, as far as anybody stated it."""
        return self._where(tx).country

    def arrived(self, into: str, digest: str, kind: str) -> bool:
        """Whether an object, and for a tree every file of it, came in here under this name."""
        known = f"{into}/{digest}"
        if known in self._complete:
            return True
        if not self._objects.noted(arrival(into, digest)):
            return False
        if kind == "tree":
            files = trees.decode_tree(self._objects.get_bytes(digest, size_bytes_max=MANIFEST_BYTES_MAX))
            if not all(self._objects.noted(arrival(into, file.digest)) for file in files):
                return False
        self._remember(known)
        return True

    def _remember(self, known: str) -> None:
        if len(self._complete) >= REMEMBERED_MAX:
            self._complete.clear()
        self._complete.add(known)

    def _upload(self, name: str, digest: str, size_bytes: int) -> Upload:
        ticket = self._tickets.issue("put", digest, "tree", size_bytes, into=name)
        return Upload(name, ticket, self._tickets.expiry_ms())

    def _check_arrived(self, dataset: DatasetView) -> None:
        """Raise unless manifest and files came in for this dataset; that others sent the same bytes does not count.

        What was complete once stays so, and is remembered.
        """
        if dataset.state == "ready" or dataset.id in self._complete:
            return

        def present(digest: str) -> bool:
            return self._objects.noted(arrival(dataset.id, digest))

        rules.check_complete_manifest(present(dataset.object))
        content = self._objects.get_bytes(dataset.object, size_bytes_max=MANIFEST_BYTES_MAX)
        found = rules.check_tree(content, size_bytes=dataset.size_bytes, files=dataset.files)
        rules.check_complete(found, present)
        self._remember(dataset.id)


def _sealing_key(ctx: Ctx, command: AddDataset | AddWorkdir, owner: str) -> str:
    """The id of the key under which the bytes will come, checked; empty for what is stored as it is."""
    rules.check_sealing(command.level, command.key, command.key_version, command.envelope)
    if not command.key:
        return ""
    key = own_key(ctx.tx, command.key, owner)
    rules.check_serving(key, command.key_version)
    known = tables_keys.known_envelope(ctx.tx, command.envelope)
    labels, residency = command.labels, command.residency
    rules.check_envelope(known, owner, level=command.level, labels=labels, residency=residency)
    return key.id


def _sealed(command: AddDataset | AddWorkdir, key: str) -> dict[str, Evidence]:
    return {"key": key, "key_version": command.key_version, "envelope": command.envelope} if key else {}


def _dataset_target(tx: Tx, principal: Entity, command: ShowDataset | SealDataset) -> Target:
    dataset = find_dataset(tx, command.dataset, owner_of(principal))
    return Target(resource=rules.dataset_entity(dataset), stream=dataset.owner)


def _artefact_target(tx: Tx, principal: Entity, command: ShowArtefact | FetchArtefact) -> Target:
    del principal
    artefact = find_artefact(tx, command.artefact)
    return Target(resource=rules.artefact_entity(artefact), stream=artefact.job or artefact.owner)


def _listing(tx: Tx, principal: Entity, command: ListDatasets | ListArtefacts) -> Target:
    """Everything of one kind in the asker's organisation; each row is then asked about by itself."""
    del tx
    owner, kind = owner_of(principal), "Dataset" if isinstance(command, ListDatasets) else "Artifact"
    return Target(
        resource=rules.labelled(kind, "all", owner=owner, level=0, labels=(), residency=(rules.ANYWHERE,)),
        stream=owner,
    )


def _show_dataset(ctx: Ctx, command: ShowDataset) -> DatasetView:
    return find_dataset(ctx.tx, command.dataset, owner_of(ctx.principal))


def _show_artefact(ctx: Ctx, command: ShowArtefact) -> ArtefactView:
    return find_artefact(ctx.tx, command.artefact)


def _list_datasets(ctx: Ctx, command: ListDatasets) -> DatasetPage:
    items, following = ctx.page(
        functools.partial(tables.page_datasets, ctx.tx),
        start=command.cursor,
        limit=command.limit,
        key=lambda dataset: dataset.id,
        seen=lambda dataset: ctx.allows(ShowDataset, rules.dataset_entity(dataset)),
    )
    return DatasetPage(items, following)


def _list_artefacts(ctx: Ctx, command: ListArtefacts) -> ArtefactPage:
    items, following = ctx.page(
        functools.partial(tables.page_artefacts, ctx.tx, job=command.job),
        start=command.cursor,
        limit=command.limit,
        key=lambda artefact: artefact.id,
        seen=lambda artefact: ctx.allows(ShowArtefact, rules.artefact_entity(artefact)),
    )
    return ArtefactPage(items, following)


def handlers(actions: DataActions) -> tuple[Handler[Any], ...]:
    """Every command of data that lets nothing out and lowers nothing."""
    return (
        Handler(AddDataset, actions.add_dataset_target, actions.add_dataset),
        Handler(SealDataset, _dataset_target, actions.seal_dataset, prepare=actions.look_for_bytes),
        Handler(ShowDataset, _dataset_target, _show_dataset),
        Handler(ListDatasets, _listing, _list_datasets),
        Handler(AddWorkdir, actions.add_workdir_target, actions.add_workdir),
        Handler(ShowArtefact, _artefact_target, _show_artefact),
        Handler(ListArtefacts, _listing, _list_artefacts),
        Handler(FetchArtefact, _artefact_target, actions.fetch_artefact),
        *actions_keys.handlers(production=actions.production),
    )
