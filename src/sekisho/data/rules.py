"""What may be said of data, and how it becomes an entity the charter can ask about. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from sekisho.data.errors import EXPORT_NEEDED, INCOMPLETE, RESIDENCY, TREE
from sekisho.data.model import ArtefactView, DatasetView
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Entity, Ref
from sekisho_wire import trees

ANYWHERE = "any"
FETCH_LEVEL_MAX = 1
"""Up to here an artefact's own organisation fetches it by itself; above, it stays at its site: no export exists yet."""


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


def check_fetch(level: int) -> None:
    """Raise `data.export_needed` above the level that leaves without approvers."""
    if level > FETCH_LEVEL_MAX:
        raise SekishoError(EXPORT_NEEDED, level=level)


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
