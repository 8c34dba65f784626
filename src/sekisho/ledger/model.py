"""What can be asked of the ledger."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from sekisho.kernel.command import PEOPLE, Command, Kind, command

EVERYBODY = (*PEOPLE, "Agent", "Operator", "System", "Anonymous")

RecordId = Annotated[str, Meta(pattern=r"^rec_[0-9a-hjkmnp-tv-z]{26}\Z")]
Name = Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z")]
Limit = Annotated[int, Meta(ge=1, le=500)]
Vkey = Annotated[str, Meta(max_length=400)]
Size = Annotated[int, Meta(ge=0, lt=2**53)]


class RecordLine(msgspec.Struct, frozen=True):
    """One record in a list. An erased one has only its place: the other fields are empty."""

    id: str
    log_index: int
    stream_seq: int
    time: str = ""
    actor: str = ""
    action: str = ""
    resource_type: str = ""
    resource_id: str = ""
    decision: str = ""
    outcome: str = ""
    erased: bool = False


class RecordPage(msgspec.Struct, frozen=True):
    """One page of records, newest first; `next` continues it."""

    items: list[RecordLine]
    next: str | None = None


class RecordView(msgspec.Struct, frozen=True):
    """One record. `body` is its canonical JSON; `log_index` is -1 until it has a place in the log.

    `path` is the inclusion proof (base64url hashes, bottom up) at `checkpoint_size`, empty until `covered`.
    """

    id: str
    body: str
    digest: str
    log_index: int
    stream_seq: int
    covered: bool
    erased: bool
    checkpoint_size: int = 0
    path: list[str] = []


class CheckpointView(msgspec.Struct, frozen=True):
    """The newest signed head of the log; `note` is the signed note as text, `root` base64url."""

    origin: str
    size: int
    root: str
    note: str
    vkey: str
    signed_ms: int


class TrustFile(msgspec.Struct, frozen=True):
    """What an auditor is handed apart from any bundle: the trust file as canonical JSON text."""

    text: str


class RootView(msgspec.Struct, frozen=True):
    """The tree's present size, and its root at the size that was asked for (base64url; empty if there is none)."""

    size: int
    root: str


class TileFile(msgspec.Struct, frozen=True):
    """One static file of the published log: its path as C2SP tlog-tiles names it, and its bytes."""

    path: str
    content: bytes


class TileBatch(msgspec.Struct, frozen=True):
    """Files that bring a published log from one size to `size`, in the order of writing.

    `checkpoint` is empty while more batches must come before the signed head may be published.
    """

    size: int
    files: list[TileFile]
    checkpoint: bytes = b""


class Offer(msgspec.Struct, frozen=True):
    """What to show a witness next. `size` is -1 where there is nothing to show it.

    `seen` is the size that the proof starts from, `cosigned` the greatest that this witness has cosigned, `signed` the
    greatest size this log has signed.
    """

    size: int
    seen: int = 0
    cosigned: int = 0
    signed: int = 0
    note: bytes = b""
    proof: list[bytes] = []


class Sequenced(msgspec.Struct, frozen=True):
    """What one batch did. `leads` is False while another process holds the lease; `more` asks for another batch."""

    leads: bool
    taken: int
    size: int
    more: bool


class StreamClosed(msgspec.Struct, frozen=True):
    """How a stream ended: the number of its records, the closing one included, and the closing record's id."""

    count: int
    record: str


class BundleExport(msgspec.Struct, frozen=True):
    """An export that was allowed and recorded; the bundle is read under `record` once a checkpoint covers it."""

    record: str
    subject_type: str
    subject_id: str


class BundleFile(msgspec.Struct, frozen=True):
    """A bundle: suggested file name and bytes of the canonical zip."""

    name: str
    content: bytes


class KeyRotated(msgspec.Struct, frozen=True):
    """The keys before and after, as verifier keys."""

    previous: str
    vkey: str


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it must be: a stable code, where it was found, and what was seen there."""

    code: str
    place: str
    seen: str = ""


class CheckReport(msgspec.Struct, frozen=True):
    """What a check of the whole ledger saw. It is clean when `findings` is empty; at most 1,000 are listed."""

    records: int
    waiting: int
    erased: int
    rows: int
    claims: int
    tiles: int
    checkpoints: int
    findings: list[Finding]


@command(
    "ledger.record.list",
    kind=Kind.READ,
    resource="Ledger",
    groups=("audit",),
    ja="記録を新しい順に一覧します。",
)
class ListRecords(Command[RecordPage]):
    """List records, newest first, of the whole log or of one stream."""

    stream: Annotated[str, Meta(max_length=255)] = ""
    after: Annotated[str, Meta(pattern=r"^[0-9]{0,16}\Z")] = ""
    limit: Limit = 50


@command(
    "ledger.record.show",
    kind=Kind.READ,
    resource="Record",
    groups=("audit",),
    ja="記録とその証明を表示します。",
)
class ShowRecord(Command[RecordView]):
    """Show one record with its place in the log and its inclusion proof."""

    record: RecordId


@command(
    "ledger.record.erase",
    kind=Kind.RECORDED,
    resource="Record",
    principals=("User",),
    groups=("administer",),
    two_people=True,
    ja="2人の承認で記録の内容を消去し、消去の印を残します。",
)
class EraseRecord(Command[RecordView]):
    """Erase a record's content, leaving its place in the log and a mark."""

    record: RecordId
    reason: Annotated[str, Meta(min_length=1, max_length=300)]


@command(
    "ledger.checkpoint.show",
    kind=Kind.READ,
    resource="Ledger",
    principals=EVERYBODY,
    groups=("public",),
    ja="署名済みの最新チェックポイントを表示します。",
)
class ShowCheckpoint(Command[CheckpointView]):
    """Show the newest signed checkpoint."""


@command(
    "ledger.trust.show",
    kind=Kind.READ,
    resource="Ledger",
    principals=EVERYBODY,
    groups=("public",),
    ja="この台帳の信頼ファイルを表示します。",
)
class ShowTrust(Command[TrustFile]):
    """Show the trust file of this log: origin and keys, for the verifier."""


@command(
    "ledger.tree.root",
    kind=Kind.READ,
    resource="Ledger",
    principals=EVERYBODY,
    groups=("public",),
    ja="指定した大きさでの台帳の根を表示します。",
)
class ShowRoot(Command[RootView]):
    """Show the log's root at an earlier size."""

    size: Size


@command(
    "ledger.log.check",
    kind=Kind.READ,
    resource="Ledger",
    principals=(*PEOPLE, "System"),
    groups=("audit", "system"),
    ja="台帳とすべての行を照合します。",
)
class CheckLedger(Command[CheckReport]):
    """Check every row against its record and every record against the log."""


@command(
    "ledger.log.tiles",
    kind=Kind.READ,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="公開するタイルを読み出します。",
)
class ReadTiles(Command[TileBatch]):
    """Read the files that continue a published log of this size."""

    size: Size


@command(
    "ledger.witness.offer",
    kind=Kind.READ,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="立会人に示す確認点とその証明を読み出します。",
)
class OfferCheckpoint(Command[Offer]):
    """Read the checkpoint to show to a witness, with its proof.

    It is the newest one signed before `before_ms`, so that all who ask at about the same time show the same one.
    `seen` is the size that the witness says it has; -1 for the one on our side's memory.
    """

    vkey: Vkey
    before_ms: int
    seen: Annotated[int, Meta(ge=-1, lt=2**53)] = -1


@command(
    "ledger.witness.keep",
    kind=Kind.PLUMBING,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="立会人の署名を検証して保存します。",
)
class KeepCosignature(Command[bool]):
    """Verify a witness's answer and keep its cosignature; answers whether it was the first for this size."""

    vkey: Vkey
    size: Size
    answer: bytes


@command(
    "ledger.witness.note",
    kind=Kind.PLUMBING,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="立会人についての所見を保存します。",
)
class NoteWitness(Command[bool]):
    """Keep what is wrong with a witness until it cosigns again; answers whether that is news."""

    vkey: Vkey
    finding: str
    size: Size


@command(
    "ledger.log.sequence",
    kind=Kind.PLUMBING,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="記録を台帳に並べます。",
)
class SequenceBatch(Command[Sequenced]):
    """Give waiting records their place in the log."""


@command(
    "ledger.log.sign",
    kind=Kind.PLUMBING,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="台帳のチェックポイントに署名します。",
)
class SignCheckpoint(Command[int]):
    """Sign the committed tree; answers its size."""


@command(
    "ledger.stream.close",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("System",),
    groups=("system",),
    ja="証跡の系列を閉じ、件数を確定します。",
)
class CloseStream(Command[StreamClosed]):
    """End an evidence stream with a record that counts it."""

    stream: Name
    resource_type: Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z0-9]{0,63}\Z")]
    resource_id: Name


@command(
    "ledger.bundle.export",
    kind=Kind.RECORDED,
    resource="Job",
    groups=("view", "audit"),
    ja="ジョブの証拠ファイルの書き出しを記録します。",
)
class ExportBundle(Command[BundleExport]):
    """Ask for a job's evidence bundle; the asking is recorded in the reader's stream."""

    job: Name


@command(
    "ledger.bundle.read",
    kind=Kind.READ,
    resource="Job",
    groups=("view", "audit"),
    ja="書き出しを記録した証拠ファイルを読み出します。",
)
class ReadBundle(Command[BundleFile]):
    """Read the bundle of an export that a checkpoint covers."""

    export: RecordId
    seen_size: Size = 0


@command(
    "ledger.key.rotate",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("User",),
    groups=("administer",),
    two_people=True,
    ja="2人の承認で台帳の署名鍵を交換します。",
)
class RotateKey(Command[KeyRotated]):
    """Let the log sign with another key of its key folder."""

    vkey: Vkey
    reason: Annotated[str, Meta(min_length=1, max_length=300)]


class LogRestored(msgspec.Struct, frozen=True):
    """A restore on record: the record's id."""

    record: str


@command(
    "ledger.log.restore",
    kind=Kind.RECORDED,
    resource="Ledger",
    principals=("User",),
    groups=("administer",),
    two_people=True,
    ja="バックアップからの復元を、2人の承認とともに記録します。",
)
class RestoreLog(Command[LogRestored]):
    """Put on record that this database came back from a backup; `manifest` is the digest of the backup's manifest."""

    manifest: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
