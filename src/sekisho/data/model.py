"""What can be asked about data: datasets people add, artefacts work leaves behind, and where their copies lie."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sekisho.kernel.command import Command, Kind, command
from sekisho_wire.messages import Digest

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
Level = Annotated[int, Meta(ge=0, le=5)]
Label = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z")]
Residency = Annotated[
    list[Annotated[str, Meta(pattern=r"^([A-Z]{2}|any)\Z")]], Meta(min_length=1, max_length=64)
]
"""Countries the data may be in, or the one word `any`."""
Count = Annotated[int, Meta(ge=0, lt=2**53)]
Limit = Annotated[int, Meta(ge=1, le=200)]
KeyName = Annotated[str, Meta(max_length=64)]
"""A registered key by id or name; empty for bytes that are stored as they are."""
EnvelopeDigest = Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?\Z")]
"""Digest of the envelope's header (`sekisho_wire.envelope`), so that a release opens this object and no other."""

ObjectKind = Literal["file", "tree"]
ArtefactKind = Literal["workdir", "output", "checkpoint", "log"]


class DatasetView(msgspec.Struct, frozen=True):
    """A dataset: one tree of files by digest, with what the charter needs to know of it.

    `uploading` until every byte was checked against its digest; only a `ready` one can be an input. With a `key`, what
    is stored is ciphertext, and `object` is the digest of that.
    """

    id: str
    name: str
    owner: str
    level: int
    labels: list[str]
    residency: list[str]
    licence: str
    object: str
    size_bytes: int
    files: int
    state: Literal["uploading", "ready"]
    created_ms: int
    copies: list[str]
    record_id: str
    key: str = ""
    key_version: int = 0
    envelope: str = ""


class DatasetPage(msgspec.Struct, frozen=True):
    """One page of datasets; `next` continues it."""

    items: list[DatasetView]
    next: str | None = None


class ArtefactView(msgspec.Struct, frozen=True):
    """Something work produced or needed, by digest. `owners` each approve an export."""

    id: str
    name: str
    kind: ArtefactKind
    owner: str
    owners: list[str]
    level: int
    labels: list[str]
    residency: list[str]
    object: str
    object_kind: ObjectKind
    size_bytes: int
    job: str
    attempt: str
    created_ms: int
    copies: list[str]
    record_id: str
    key: str = ""
    key_version: int = 0
    envelope: str = ""


class ArtefactPage(msgspec.Struct, frozen=True):
    """One page of artefacts; `next` continues it."""

    items: list[ArtefactView]
    next: str | None = None


class Upload(msgspec.Struct, frozen=True):
    """Permission to send the bytes: the manifest first, then every file it names, to `/objects/{digest}`."""

    id: str
    ticket: str
    expires_ms: int


class Download(msgspec.Struct, frozen=True):
    """Permission to fetch one object, and the files of its tree, from `/objects/{digest}`."""

    object: str
    object_kind: ObjectKind
    size_bytes: int
    ticket: str
    expires_ms: int


@command(
    "data.dataset.add",
    kind=Kind.RECORDED,
    resource="Dataset",
    groups=("use", "at_rest"),
    ja="データセットを追加します（この後でファイルを送ります）。",
)
class AddDataset(Command[Upload]):
    """Add a dataset; its files follow under the ticket that this answers.

    From level 1 on the files are encrypted before they are sent, by a data key that `key` wraps.
    """

    name: Name
    object: Digest
    size_bytes: Count
    files: Annotated[int, Meta(ge=1, le=200_000)]
    level: Level
    residency: Residency
    labels: Annotated[list[Label], Meta(max_length=32)] = msgspec.field(default_factory=list)
    licence: Annotated[str, Meta(max_length=200)] = ""
    key: KeyName = ""
    key_version: Count = 0
    envelope: EnvelopeDigest = ""


@command(
    "data.dataset.seal",
    kind=Kind.RECORDED,
    resource="Dataset",
    groups=("use",),
    ja="送り終えたデータセットを検査し、使えるようにします。",
)
class SealDataset(Command[DatasetView]):
    """Check that every byte of a dataset arrived, and make it usable."""

    dataset: str


@command(
    "data.dataset.show", kind=Kind.READ, resource="Dataset", groups=("view",), ja="データセットを表示します。"
)
class ShowDataset(Command[DatasetView]):
    """Show one dataset, by id or name."""

    dataset: str


@command(
    "data.dataset.list", kind=Kind.READ, resource="Dataset", groups=("view",), ja="データセットを一覧します。"
)
class ListDatasets(Command[DatasetPage]):
    """List the datasets that you may see."""

    cursor: str = ""
    limit: Limit = 50


@command(
    "data.workdir.add",
    kind=Kind.RECORDED,
    resource="Artifact",
    groups=("use", "at_rest"),
    ja="ジョブの作業フォルダーを追加します（この後でファイルを送ります）。",
)
class AddWorkdir(Command[Upload]):
    """Add a job's working folder; its files follow under the ticket that this answers."""

    object: Digest
    size_bytes: Count
    level: Level = 0
    residency: Residency = msgspec.field(default_factory=lambda: ["any"])
    labels: Annotated[list[Label], Meta(max_length=32)] = msgspec.field(default_factory=list)
    key: KeyName = ""
    key_version: Count = 0
    envelope: EnvelopeDigest = ""


@command(
    "data.artefact.show", kind=Kind.READ, resource="Artifact", groups=("view",), ja="成果物を表示します。"
)
class ShowArtefact(Command[ArtefactView]):
    """Show one artefact."""

    artefact: str


@command(
    "data.artefact.list", kind=Kind.READ, resource="Artifact", groups=("view",), ja="成果物を一覧します。"
)
class ListArtefacts(Command[ArtefactPage]):
    """List artefacts that you may see, newest first, of one job when it is named."""

    job: str = ""
    cursor: str = ""
    limit: Limit = 50


@command(
    "data.artefact.fetch",
    kind=Kind.RECORDED,
    resource="Artifact",
    groups=("use",),
    ja="成果物を取り出す許可を得ます（レベル1まで。それより上と、他の所有者がいるものには、持ち出しの申請が必要です）。",
)
class FetchArtefact(Command[Download]):
    """Get a ticket for an artefact's bytes, up to level 1 and of one owner; anything else takes an export."""

    artefact: str
