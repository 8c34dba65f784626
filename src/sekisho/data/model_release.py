"""What can be asked of data that is to leave or to count for less: exports, what came of them, and lower levels."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho.data.model import ArtefactView, DatasetView, Download, Level, Limit, ObjectKind
from sekisho.kernel.command import Command, Kind, command

Country = Annotated[str, Meta(pattern=r"^[A-Z]{2}\Z")]
Person = Annotated[str, Meta(pattern=r"^usr_[0-9a-hjkmnp-tv-z]{26}\Z")]
Approvers = Annotated[list[Person], Meta(min_length=1, max_length=16)]
Reason = Annotated[str, Meta(min_length=1, max_length=500)]
ReleaseState = Literal["sealing", "waiting", "ready", "over"]


class ReleaseView(msgspec.Struct, frozen=True):
    """An export that all its approvers agreed to: what may leave for where, and how far it has come.

    `sealing` until its record is under a checkpoint, `waiting` until the bytes are here, `over` after `expires_ms`.
    """

    id: str
    artefact: str
    owner: str
    object: str
    object_kind: ObjectKind
    size_bytes: int
    destination: str
    licence: str
    reason: str
    requester: str
    approvers: list[str]
    proposal: str
    created_ms: int
    expires_ms: int
    record_id: str
    state: ReleaseState = "sealing"
    sites: list[str] = msgspec.field(default_factory=list)
    """Where the bytes lie that are waited for."""


class ReleasePage(msgspec.Struct, frozen=True):
    """One page of releases; `next` continues it."""

    items: list[ReleaseView]
    next: str | None = None


@command(
    "data.artefact.export",
    kind=Kind.RECORDED,
    resource="Artifact",
    principals=("User",),
    groups=("export",),
    two_people=True,
    ja="成果物の持ち出しを申請します。指名した承認者の全員が承認すると、取り出せるようになります。",
)
class ExportArtefact(Command[ReleaseView]):
    """Ask to export an artefact; once every named approver agreed, it may leave for the destination.

    One approver of each owner is needed, each of another organisation; of level 2 and above two organisations.
    """

    artefact: str
    destination: Country
    approvers: Approvers
    reason: Reason
    licence: Annotated[str, Meta(max_length=200)] = ""


@command(
    "data.release.show",
    kind=Kind.READ,
    resource="Artifact",
    groups=("view",),
    ja="承認された持ち出しの状態を表示します。",
)
class ShowRelease(Command[ReleaseView]):
    """Show an export that was approved, by its own id or its proposal's."""

    release: str


@command(
    "data.release.list",
    kind=Kind.READ,
    resource="Artifact",
    groups=("view",),
    ja="承認された持ち出しを一覧します。",
)
class ListReleases(Command[ReleasePage]):
    """List the exports that were approved, newest first, of one artefact when it is named."""

    artefact: str = ""
    cursor: str = ""
    limit: Limit = 50


@command(
    "data.release.fetch",
    kind=Kind.RECORDED,
    resource="Artifact",
    principals=("User",),
    groups=("export",),
    ja="承認された持ち出しを取り出す許可を得ます（申請者のみ）。",
)
class FetchRelease(Command[Download]):
    """Get a ticket for the bytes of an export that was approved; only for whoever asked for it."""

    release: str


@command(
    "data.artefact.lower",
    kind=Kind.RECORDED,
    resource="Artifact",
    principals=("User",),
    groups=("lower",),
    two_people=True,
    ja="成果物のレベルを下げます（指名した承認者の全員の承認が必要です）。",
)
class LowerArtefact(Command[ArtefactView]):
    """Lower an artefact's level once every named approver agreed; never below level 2 what was there or above."""

    artefact: str
    level: Level
    approvers: Approvers
    reason: Reason


@command(
    "data.dataset.lower",
    kind=Kind.RECORDED,
    resource="Dataset",
    principals=("User",),
    groups=("lower",),
    two_people=True,
    ja="データセットのレベルを下げます（指名した承認者の全員の承認が必要です）。",
)
class LowerDataset(Command[DatasetView]):
    """Lower a dataset's level once every named approver agreed; what was made of it before keeps its own."""

    dataset: Annotated[str, Meta(pattern=r"^ds_[0-9a-hjkmnp-tv-z]{26}\Z")]
    level: Level
    approvers: Approvers
    reason: Reason
