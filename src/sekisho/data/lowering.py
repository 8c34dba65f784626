"""Handlers of lower levels: two people, a reason, and what was made of a thing before keeps its own."""

from __future__ import annotations

from typing import Any

from sekisho.data import rules, tables
from sekisho.data.actions import find_artefact, find_dataset, owner_of
from sekisho.data.model import ArtefactView, DatasetView
from sekisho.data.model_release import LowerArtefact, LowerDataset
from sekisho.data.releases import APPROVE_MS, People, ReleaseActions, bound, for_owners, release_handlers
from sekisho.kernel.context import Consent, Ctx, Handler
from sekisho.kernel.evidence import Evidence
from sekisho.kernel.facts import Entity, Target
from sekisho.kernel.tx import Tx


class LoweringActions:
    """The handlers, with whom they may ask."""

    def __init__(self, people: People) -> None:
        """`people` knows who is active, and for which organisation."""
        self._people = people

    def check_artefact(self, tx: Tx, proposer: Entity, command: LowerArtefact) -> None:
        """Each owner has an approver, and the level may become what is asked."""
        artefact = find_artefact(tx, command.artefact)
        rules.check_lower(artefact.level, command.level)
        known = self._people.organisations(tx, command.approvers)
        rules.check_approvers(proposer.ref.id, known, command.approvers, artefact.owners)

    def check_dataset(self, tx: Tx, proposer: Entity, command: LowerDataset) -> None:
        """As for an artefact; a dataset has one owner."""
        dataset = find_dataset(tx, command.dataset, owner_of(proposer))
        rules.check_lower(dataset.level, command.level)
        known = self._people.organisations(tx, command.approvers)
        rules.check_approvers(proposer.ref.id, known, command.approvers, [dataset.owner])


def lower_artefact(ctx: Ctx, command: LowerArtefact) -> ArtefactView:
    """The level changes, and nothing else; the old one stays in the record."""
    artefact = find_artefact(ctx.tx, command.artefact)
    tables.lower_artefact(ctx.tx, artefact.id, command.level)
    detail = {**_bound_artefact(ctx.tx, command), "from": artefact.level}
    ctx.detail(**detail)
    for_owners(ctx, LowerArtefact, artefact.owners, detail)
    return find_artefact(ctx.tx, artefact.id)


def lower_dataset(ctx: Ctx, command: LowerDataset) -> DatasetView:
    """As for an artefact; jobs submitted from now on inherit the new level."""
    dataset = find_dataset(ctx.tx, command.dataset, owner_of(ctx.principal))
    tables.lower_dataset(ctx.tx, dataset.id, command.level)
    ctx.detail(**{**_about(dataset), "to": command.level, "from": dataset.level, "reason": command.reason})
    return find_dataset(ctx.tx, dataset.id, dataset.owner)


def _about(dataset: DatasetView) -> dict[str, Evidence]:
    label: dict[str, Evidence] = {"level": dataset.level, "labels": [*dataset.labels]}
    return {"dataset": dataset.id, "object": dataset.object, "owner": dataset.owner, "label": label}


def _bound_artefact(tx: Tx, command: LowerArtefact) -> dict[str, Evidence]:
    wanted: dict[str, Evidence] = {"to": command.level, "reason": command.reason}
    return {**bound(find_artefact(tx, command.artefact)), **wanted}


def _bound_dataset(tx: Tx, command: LowerDataset) -> dict[str, Evidence]:
    dataset = tables.find_dataset(tx, command.dataset, "")
    wanted: dict[str, Evidence] = {"to": command.level, "reason": command.reason}
    return {**(_about(dataset) if dataset else {}), **wanted}


def _artefact_target(tx: Tx, principal: Entity, command: LowerArtefact) -> Target:
    del principal
    artefact = find_artefact(tx, command.artefact)
    return Target(resource=rules.artefact_entity(artefact), stream=artefact.owner)


def _dataset_target(tx: Tx, principal: Entity, command: LowerDataset) -> Target:
    dataset = find_dataset(tx, command.dataset, owner_of(principal))
    return Target(resource=rules.dataset_entity(dataset), stream=dataset.owner)


def lowering_handlers(actions: LoweringActions) -> tuple[Handler[Any], ...]:
    """Every command that lowers a level."""

    def named(command: LowerArtefact | LowerDataset) -> tuple[str, ...]:
        return tuple(command.approvers)

    return (
        Handler(
            LowerArtefact,
            _artefact_target,
            lower_artefact,
            consent=Consent(named, actions.check_artefact, _bound_artefact, APPROVE_MS),
        ),
        Handler(
            LowerDataset,
            _dataset_target,
            lower_dataset,
            consent=Consent(named, actions.check_dataset, _bound_dataset, APPROVE_MS),
        ),
    )


def consenting_handlers(releases: ReleaseActions) -> tuple[Handler[Any], ...]:
    """Every command of data that waits for the people it names."""
    return (*release_handlers(releases), *lowering_handlers(LoweringActions(releases.people)))
