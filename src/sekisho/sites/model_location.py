"""What can be asked about places: landmarks, the territory file, proofs, and what landmarks are to do."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sekisho.kernel.command import Command, Kind, command
from sekisho.sites.model import Fact
from sekisho_wire.locating import Task

LandmarkName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
Latitude = Annotated[int, Meta(ge=-90_000_000, le=90_000_000)]
Longitude = Annotated[int, Meta(ge=-180_000_000, le=180_000_000)]
Address = Annotated[str, Meta(pattern=r"^([A-Za-z0-9.:\[\]-]{1,253}:\d{1,5})?\Z")]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
PublicKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
TERRITORY_CHARS_MAX = 16 << 20
TERRITORY_BYTES = 20 << 20
"""How long a request may be that carries a territory file, as JSON text."""
TRANSCRIPT_CHARS_MAX = 90_000
TRANSCRIPTS_AT_ONCE = 8


class LandmarkView(msgspec.Struct, frozen=True):
    """A landmark as it is known here. One that other landmarks contradict does not count until it is added anew."""

    name: str
    organisation: str
    public_key: str
    latitude_udeg: int
    longitude_udeg: int
    address: str
    contradicted_by: list[str]
    record_id: str


class TerritoryView(msgspec.Struct, frozen=True):
    """One version of the territory file; `disputed` says how it counts what is disputed."""

    digest: str
    name: str
    version: str
    disputed: dict[str, str]
    state: str
    added_ms: int
    in_force_since_ms: int | None
    record_id: str


class Told(msgspec.Struct, frozen=True):
    """Something for people, under its stable code, in both languages."""

    code: str
    en: str
    ja: str


class LandmarkFinding(msgspec.Struct, frozen=True):
    """What one landmark's transcript comes to: `counts`, `too_far` or `refused`, and why, in whole metres.

    `margin_m` is what is left between its disc and the nearest foreign land; 0 or less excludes nothing.
    """

    landmark: str
    organisation: str
    state: str
    rounds: int
    rtt_ns: int
    bound_m: int
    margin_m: int
    foreign_m: int
    foreign: str
    told: Told


class ProofView(msgspec.Struct, frozen=True):
    """Where a site was shown to be, and what the newest attempt to show it came to.

    `standing` is the proof that holds now (grade M), None while there is none. `binding_grade` says how the key that
    answered is known to be the site's: D, its own word. `state` is `open`, `accepted`, `refused` or `never`.
    """

    site: str
    site_name: str
    state: str
    request: str
    code: str
    asked_ms: int
    closed_ms: int | None
    findings: list[LandmarkFinding]
    waiting: list[str]
    landmarks: list[str]
    organisations: list[str]
    organisations_needed: int
    summary: Told
    standing: Fact | None
    binding_grade: str
    territory: str
    file: str
    not_shown: list[Told]


@command(
    "sites.landmark.add",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("administer",),
    ja="測位基準点を登録します。",
)
class AddLandmark(Command[LandmarkView]):
    """Register a landmark: who runs it, its key, its surveyed place; adding it again replaces what was known.

    Give `address` (UDP, host:port) for one that other landmarks measure as well.
    """

    name: LandmarkName
    organisation: str
    public_key: PublicKey
    latitude_udeg: Latitude
    longitude_udeg: Longitude
    address: Address = ""


@command(
    "sites.landmark.list",
    kind=Kind.READ,
    resource="Site",
    groups=("view",),
    ja="測位基準点を一覧します。",
)
class ListLandmarks(Command[list[LandmarkView]]):
    """List the landmarks that are known here."""


@command(
    "sites.landmark.remove",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("administer",),
    ja="測位基準点の登録を取り消します。",
)
class RemoveLandmark(Command[LandmarkView]):
    """Forget a landmark: what it measured counts no more."""

    name: LandmarkName


@command(
    "sites.territory.add",
    kind=Kind.RECORDED,
    resource="Charter",
    groups=("govern",),
    ja="領域ファイルの版を追加します。",
)
class AddTerritory(Command[TerritoryView]):
    """Keep a version of the territory file, checked, without putting it in force."""

    territory: Annotated[str, Meta(max_length=TERRITORY_CHARS_MAX)]


@command(
    "sites.territory.set",
    kind=Kind.RECORDED,
    resource="Charter",
    groups=("govern",),
    two_people=True,
    changes_facts=True,
    ja="領域ファイルの版を有効にします（2人の承認が必要）。",
)
class SetTerritory(Command[TerritoryView]):
    """Put a version of the territory file in force, by two people; standing proofs are judged again on it."""

    digest: Digest


@command(
    "sites.territory.list",
    kind=Kind.READ,
    resource="Charter",
    groups=("view", "govern"),
    ja="領域ファイルの版を一覧します。",
)
class ListTerritories(Command[list[TerritoryView]]):
    """List the versions of the territory file."""


@command(
    "sites.proof.request",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("operate", "govern"),
    ja="拠点の位置の測定を測位基準点に依頼します。",
)
class RequestProof(Command[ProofView]):
    """Ask the landmarks to measure a site now."""

    site: str


@command(
    "sites.proof.add",
    kind=Kind.RECORDED,
    resource="Site",
    groups=("measure",),
    changes_facts=True,
    ja="署名付きの測定記録を提出し、判定します。",
)
class AddProof(Command[ProofView]):
    """Hand in signed transcripts (base64url) of one request; they are judged at once."""

    site: str
    request: str
    transcripts: Annotated[
        list[Annotated[str, Meta(max_length=TRANSCRIPT_CHARS_MAX)]],
        Meta(min_length=1, max_length=TRANSCRIPTS_AT_ONCE),
    ]


@command(
    "sites.proof.show",
    kind=Kind.READ,
    resource="Site",
    groups=("view",),
    ja="拠点の位置の証明を表示します。",
)
class ShowProof(Command[ProofView]):
    """Show where a site was shown to be, landmark by landmark, and what that does not show."""

    site: str


@command(
    "sites.task.list",
    kind=Kind.READ,
    resource="Site",
    groups=("measure",),
    ja="測位基準点が今行うべき測定を一覧します。",
)
class ListTasks(Command[list[Task]]):
    """List what a landmark of your organisation is to measure now."""

    landmark: LandmarkName


@command(
    "sites.proof.ask",
    kind=Kind.RECORDED,
    resource="Site",
    principals=("System",),
    groups=("system",),
    ja="拠点の位置を無作為な時刻に測り直します。",
)
class AskProof(Command[bool]):
    """Have a site measured again, at a time nobody can foresee."""

    site: str


@command(
    "sites.proof.close",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="測定の依頼を締め切ります。",
)
class CloseProof(Command[bool]):
    """End a request whose time is over."""

    request: str


@command(
    "sites.landmark.ask",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="測位基準点どうしの測定を依頼します。",
)
class AskLandmarks(Command[int]):
    """Have the landmarks that answer measured by the others, at times nobody can foresee."""
