"""What may be said of data, and how it becomes an entity the charter can ask about. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from sekisho.charter import FLOOR_LEVEL
from sekisho.data.errors import (
    APPROVER_ALONE,
    APPROVER_MISSING,
    APPROVER_REQUESTER,
    APPROVER_TWICE,
    APPROVER_UNKNOWN,
    EXPORT_NEEDED,
    EXPORT_NEVER,
    EXPORT_PLACE,
    INCOMPLETE,
    LOWER_FLOOR,
    LOWER_NOT,
    RESIDENCY,
    TREE,
)
from sekisho.data.model import ArtefactView, DatasetView
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Entity, Ref
from sekisho_wire import trees

ANYWHERE = "any"
FETCH_LEVEL_MAX = 1
"""Up to here an artefact's only owner fetches it alone; above, it stays at its site until an export is approved."""
EXPORT_LEVEL_MAX = 3
NEVER_LABEL = "specially-designated-secret"
TWO_ORGANISATIONS_LEVEL = FLOOR_LEVEL
TWO_ORGANISATIONS = 2
LOWER_LEVEL_MAX = 3


def check_residency(residency: Iterable[str]) -> list[str]:
    """Sorted and without repeats; `any` beside a country would say two things at once and is refused."""
    countries = sorted(set(residency))
    if ANYWHERE in countries and len(countries) > 1:
        raise SekishoError(RESIDENCY)
    return countries


def check_tree(manifest: bytes, *, size_bytes: int, files: int) -> list[trees.TreeFile]:
    """The files of a manifest that is as large as its owner said; problem `data.tree` otherwise."""
    try:
        found = trees.decode_tree(manifest)
    except trees.TreeError as error:
        raise SekishoError(TREE, what=f"{error.code}: {error.detail}") from error
    if len(found) != files or trees.size_of(found) != size_bytes:
        raise SekishoError(TREE, what=f"{len(found)} files, {trees.size_of(found)} bytes")
    return found


def check_complete(files: list[trees.TreeFile], present: Callable[[str], bool]) -> None:
    """Raise `data.incomplete` with the first missing path unless every file's bytes arrived."""
    arrived = {digest: present(digest) for digest in {file.digest for file in files}}
    missing = [file.path for file in files if not arrived[file.digest]]
    if missing:
        raise SekishoError(INCOMPLETE, missing=len(missing), files=len(files), path=missing[0][:120])


def check_complete_manifest(present: bool) -> None:  # noqa: FBT001 - the one thing that is asked
    """Raise `data.incomplete` when not even the manifest arrived."""
    if not present:
        raise SekishoError(INCOMPLETE, missing=1, files=1, path="(manifest)")


def check_fetch(level: int, owners: Iterable[str], owner: str) -> None:
    """Raise `data.export_needed` above the level that leaves without approvers, and where others have a say."""
    if level > FETCH_LEVEL_MAX or set(owners) - {owner}:
        raise SekishoError(EXPORT_NEEDED, level=level)


def check_export(artefact: ArtefactView, country: str) -> None:
    """Raise for what no approval lets out, whatever the charter says, and where the way leads out of its residency.

    `country` is where the control plane stands, through which the bytes pass.
    """
    if artefact.level > EXPORT_LEVEL_MAX or NEVER_LABEL in artefact.labels:
        raise SekishoError(EXPORT_NEVER)
    if ANYWHERE not in artefact.residency and country not in artefact.residency:
        raise SekishoError(EXPORT_PLACE, country=country)


def check_approvers(
    requester: str, approvers: Mapping[str, str], named: Sequence[str], owners: Iterable[str]
) -> None:
    """Raise unless all who are named are different people who can approve, and each owner has one of them.

    `approvers` maps those who exist and are active to their organisations.
    """
    if requester in named:
        raise SekishoError(APPROVER_REQUESTER)
    for number, person in enumerate(named):
        if person not in approvers or person in named[:number]:
            raise SekishoError(APPROVER_UNKNOWN, person=person)
    for owner in sorted(set(owners) - set(approvers.values())):
        raise SekishoError(APPROVER_MISSING, organisation=owner)


def check_organisations(level: int, approvers: Mapping[str, str], named: Sequence[str]) -> None:
    """Raise unless each approver is of another organisation, and at level 2 and above there are two of them."""
    seen: dict[str, str] = {}
    for person in named:
        other = seen.setdefault(approvers[person], person)
        if other != person:
            raise SekishoError(APPROVER_TWICE, person=other, other=person)
    if level >= TWO_ORGANISATIONS_LEVEL and len(seen) < TWO_ORGANISATIONS:
        raise SekishoError(APPROVER_ALONE, level=level)


def check_lower(level: int, wanted: int) -> None:
    """Raise unless `wanted` is lower, and no way round the floor that no charter lifts."""
    if wanted >= level:
        raise SekishoError(LOWER_NOT, level=level)
    if level > LOWER_LEVEL_MAX or wanted < FLOOR_LEVEL <= level:
        raise SekishoError(LOWER_FLOOR, level=level, wanted=wanted)


def as_json(values: Iterable[str]) -> str:
    """A list in a TEXT column; the one spelling that row digests rely on."""
    return msgspec.json.encode(list(values)).decode()


def dataset_entity(dataset: DatasetView) -> Entity:
    """The dataset as the charter sees it."""
    return labelled(
        "Dataset",
        dataset.id,
        owner=dataset.owner,
        level=dataset.level,
        labels=dataset.labels,
        residency=dataset.residency,
    )


def artefact_entity(artefact: ArtefactView) -> Entity:
    """The artefact as the charter sees it."""
    return labelled(
        "Artifact",
        artefact.id,
        owner=artefact.owner,
        level=artefact.level,
        labels=artefact.labels,
        residency=artefact.residency,
    )


def labelled(
    kind: str, name: str, *, owner: str, level: int, labels: Iterable[str], residency: Iterable[str]
) -> Entity:
    """An entity of a type that carries level, labels and residency (Dataset, Artifact, Job)."""
    return Entity(
        Ref(kind, name),
        {
            "owner": Ref("Org", owner),
            "level": level,
            "labels": frozenset(labels),
            "residency": frozenset(residency),
        },
    )
