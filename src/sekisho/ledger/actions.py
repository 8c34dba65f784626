"""Handlers of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from sekisho.kernel.command import Command
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.errors import InvalidInputError, NotFoundError, SekishoError
from sekisho.kernel.facts import Entity, Ref, Target
from sekisho.kernel.tx import DELETED, Tx
from sekisho.ledger import bundle, files, sequencer, tables, timestamps, witnesses
from sekisho.ledger.bundle import Subjects
from sekisho.ledger.check import check
from sekisho.ledger.errors import (
    KEY_MISSING,
    KEY_USED,
    NOT_COVERED,
    NOTHING_LOGGED,
    RECORD_ERASED,
    STAMP_UNKNOWN,
)
from sekisho.ledger.keys import KeyFolder
from sekisho.ledger.model import (
    BundleExport,
    BundleFile,
    CheckLedger,
    CheckpointView,
    CheckReport,
    CloseStream,
    EraseRecord,
    ExportBundle,
    KeepCosignature,
    KeyRotated,
    ListRecords,
    LogRestored,
    NoteWitness,
    Offer,
    OfferCheckpoint,
    ReadBundle,
    ReadTiles,
    RecordLine,
    RecordPage,
    RecordView,
    RestoreLog,
    RootView,
    RotateKey,
    SequenceBatch,
    Sequenced,
    ShowCheckpoint,
    ShowRecord,
    ShowRoot,
    ShowTrust,
    SignCheckpoint,
    StreamClosed,
    TileBatch,
    TrustFile,
)
from sekisho.ledger.model_time import KeepStamp, OfferHead, Unstamped
from sekisho.ledger.recorder import Ledger, under_checkpoint
from sekisho.ledger.rules import DIGEST_PREFIX
from sekisho.ledger.timestamps import TimeAuthority
from sekisho.ledger.tree import Tree
from sekisho.ledger.witnesses import Witness
from sekisho_verify.canonical import to_base64url
from sekisho_verify.checkpoint import ED25519, parse_key
from sekisho_verify.errors import VerifyError
from sekisho_verify.record import CLOSE_ACTION

Params = ParamSpec("Params")
ResultT = TypeVar("ResultT")

LEDGER = Entity(Ref("Ledger", "ledger"))
SYSTEM_STREAM = "system"
SUBJECT_TYPE = "Job"


class Parts(msgspec.Struct, frozen=True):
    """What the handlers work with. `holder` names this control plane, the same after a restart."""

    ledger: Ledger
    keys: KeyFolder
    subjects: Subjects
    holder: str
    published: Path | None = None
    witnesses: tuple[Witness, ...] = ()
    authorities: tuple[TimeAuthority, ...] = ()
    tree: Tree = msgspec.field(default_factory=Tree)


def _ledger_target(tx: Tx, principal: Entity, command: Command[Any]) -> Target:
    del tx, command
    return Target(resource=LEDGER, stream=principal.ref.id)


def _system_target(tx: Tx, principal: Entity, command: Command[Any]) -> Target:
    del tx, principal, command
    return Target(resource=LEDGER, stream=SYSTEM_STREAM)


def _record_target(tx: Tx, principal: Entity, command: ShowRecord | EraseRecord) -> Target:
    if tables.body(tx, command.record) is None and tables.erased_claims(tx, command.record) is None:
        raise NotFoundError(id=command.record)
    return Target(resource=Entity(Ref("Record", command.record)), stream=principal.ref.id)


def _export_target(parts: Parts, tx: Tx, principal: Entity, command: ExportBundle) -> Target:
    job = parts.subjects.subject(tx, SUBJECT_TYPE, command.job, principal)
    return Target(resource=job, stream=principal.ref.id)


def _read_target(parts: Parts, tx: Tx, principal: Entity, command: ReadBundle) -> Target:
    """The subject of an export that this principal made; another's looks like one that does not exist."""
    record = msgspec.json.decode(tables.body(tx, command.export) or b"{}")
    made = (record.get("action"), record.get("outcome"), record.get("actor"))
    if made != ("ledger.bundle.export", "done", principal.ref.id):
        raise NotFoundError(id=command.export)
    job = parts.subjects.subject(tx, SUBJECT_TYPE, record["resource"]["id"], principal)
    return Target(resource=job, stream=principal.ref.id)


def _list(parts: Parts, ctx: Ctx, command: ListRecords) -> RecordPage:
    before = int(command.after) if command.after else tables.NUMBER_MAX
    if command.stream:
        stream = parts.ledger.pseudonym(command.stream)
        rows = tables.newest_of(ctx.tx, stream, before=before, limit=command.limit)
    else:
        rows = tables.newest(ctx.tx, before=before, limit=command.limit)
    items = [_line(row) for row in rows]
    return RecordPage(items, str(items[-1].log_index) if len(items) == command.limit else None)


def _line(row: dict[str, Any]) -> RecordLine:
    place = {"id": row["id"], "log_index": row["log_index"], "stream_seq": row["stream_seq"]}
    if row["body"] is None:
        return RecordLine(**place, erased=True)
    body = msgspec.json.decode(row["body"])
    return RecordLine(
        **place,
        **{name: body[name] for name in ("time", "actor", "action", "decision", "outcome")},
        resource_type=body["resource"]["type"],
        resource_id=body["resource"]["id"],
    )


def _show(parts: Parts, ctx: Ctx, command: ShowRecord) -> RecordView:
    return _view(parts, ctx.tx, command.record, prove=True)


def _view(parts: Parts, tx: Tx, record: str, *, prove: bool) -> RecordView:
    body, entry = tables.body(tx, record), tables.entry(tx, record)
    size = tables.covered_size(tx)
    covered = entry is not None and entry.log_index < size
    path: list[bytes] = []
    if prove and covered and entry is not None:
        with parts.tree.at(tx) as tree:
            path = tree.inclusion_path(entry.log_index, size)
    digest = entry.digest if entry else tables.waiting_digest(tx, record) or b""
    return RecordView(
        id=record,
        body=(body or b"").decode(),
        digest=DIGEST_PREFIX + digest.hex(),
        log_index=entry.log_index if entry else -1,
        stream_seq=entry.stream_seq if entry else -1,
        covered=covered,
        erased=body is None,
        checkpoint_size=size if covered else 0,
        path=list(map(to_base64url, path)),
    )


def _erase(parts: Parts, ctx: Ctx, command: EraseRecord) -> RecordView:
    body = tables.body(ctx.tx, command.record)
    if body is None:
        raise SekishoError(RECORD_ERASED, id=command.record)
    effects = msgspec.json.decode(body)["effects"]
    claims = [[table, key, digest if digest == DELETED else ""] for table, key, digest in effects]
    tables.erase(ctx.tx, command.record, claims=msgspec.json.encode(claims).decode(), now_ms=ctx.now_ms)
    ctx.detail(erased=command.record, reason=command.reason)
    return _view(parts, ctx.tx, command.record, prove=False)


def _checkpoint(parts: Parts, ctx: Ctx, command: ShowCheckpoint) -> CheckpointView:
    del command
    head = bundle.covering(ctx.tx)
    return CheckpointView(
        origin=parts.keys.origin,
        size=head["size"],
        root=to_base64url(head["root"]),
        note=witnesses.cosigned_note(ctx.tx, head, parts.witnesses).decode(),
        vkey=head["vkey"],
        signed_ms=head["signed_ms"],
    )


def _trust(parts: Parts, ctx: Ctx, command: ShowTrust) -> TrustFile:
    del command
    return TrustFile(bundle.trust_file(ctx.tx, parts.keys, parts.witnesses, parts.authorities).decode())


def _root(parts: Parts, ctx: Ctx, command: ShowRoot) -> RootView:
    size = tables.tree(ctx.tx).size
    if command.size > size:
        return RootView(size, "")
    with parts.tree.at(ctx.tx) as tree:
        return RootView(size, to_base64url(tree.root(command.size)))


def _check(parts: Parts, ctx: Ctx, command: CheckLedger) -> CheckReport:
    del command
    return check(ctx.tx, parts.keys, published=parts.published)


def _tiles(parts: Parts, ctx: Ctx, command: ReadTiles) -> TileBatch:
    return files.batch(ctx.tx, command.size, parts.witnesses)


def _offer(parts: Parts, ctx: Ctx, command: OfferCheckpoint) -> Offer:
    with parts.tree.at(ctx.tx) as tree:
        return witnesses.offer(ctx.tx, tree, command.vkey, before_ms=command.before_ms, seen=command.seen)


def _keep(parts: Parts, ctx: Ctx, command: KeepCosignature) -> bool:
    witness = witnesses.by_vkey(parts.witnesses, command.vkey)
    return witnesses.keep(ctx.tx, witness, size=command.size, answer=command.answer, now_ms=ctx.now_ms)


def _note(ctx: Ctx, command: NoteWitness) -> bool:
    return witnesses.note_finding(
        ctx.tx, command.vkey, finding=command.finding, size=command.size, now_ms=ctx.now_ms
    )


def _offer_head(parts: Parts, ctx: Ctx, command: OfferHead) -> Unstamped:
    return timestamps.offer(ctx.tx, command.authority, since_ms=command.since_ms, cosigners=parts.witnesses)


def _keep_stamp(parts: Parts, ctx: Ctx, command: KeepStamp) -> bool:
    for authority in parts.authorities:
        if authority.name == command.authority:
            return timestamps.keep(
                ctx.tx,
                authority,
                size=command.size,
                nonce=command.nonce,
                answer=command.answer,
                now_ms=ctx.now_ms,
            )
    raise SekishoError(STAMP_UNKNOWN)


def _sequence(parts: Parts, ctx: Ctx, command: SequenceBatch) -> Sequenced:
    del command
    return sequencer.sequence(ctx.tx, holder=parts.holder, now_ms=ctx.now_ms)


def _sign(parts: Parts, ctx: Ctx, command: SignCheckpoint) -> int:
    del command
    return sequencer.sign(ctx.tx, keys=parts.keys, now_ms=ctx.now_ms)


def _close(parts: Parts, ctx: Ctx, command: CloseStream) -> StreamClosed:
    """Mark and count in one transaction. An append that this count did not see fails, or fails this."""
    stream = parts.ledger.pseudonym(command.stream)
    closed = tables.closure(ctx.tx, stream)
    if closed is not None:
        return StreamClosed(closed["record_count"], closed["record_id"])
    count = tables.count_records(ctx.tx, stream) + 1
    resource = Ref(command.resource_type, command.resource_id)
    with ctx.row(
        action=CLOSE_ACTION, resource=resource, stream=command.stream, detail={"count": count}
    ) as record:
        tables.insert_closure(ctx.tx, stream, count=count, now_ms=ctx.now_ms)
    return StreamClosed(count, record)


def _export(parts: Parts, ctx: Ctx, command: ExportBundle) -> BundleExport:
    del command
    subject = ctx.target.resource.ref
    if not tables.count_records(ctx.tx, parts.ledger.pseudonym(subject.id)):
        raise SekishoError(NOTHING_LOGGED, id=subject.id)
    return BundleExport(ctx.record_id, subject.type, subject.id)


def _read_bundle(parts: Parts, ctx: Ctx, command: ReadBundle) -> BundleFile:
    if not under_checkpoint(ctx.tx, command.export):
        raise SekishoError(NOT_COVERED, seconds=1)
    job = ctx.target.resource.ref.id
    stream = parts.ledger.pseudonym(job)
    with parts.tree.at(ctx.tx) as tree:
        content = bundle.build(
            ctx.tx,
            tree,
            stream=stream,
            subject=job,
            cosigners=parts.witnesses,
            authorities=parts.authorities,
            seen_size=command.seen_size,
        )
    return BundleFile(f"{job}.bundle.zip", content)


def _rotate(parts: Parts, ctx: Ctx, command: RotateKey) -> KeyRotated:
    try:
        key = parse_key(command.vkey)
    except VerifyError as error:
        raise InvalidInputError(field="vkey", what=error.detail) from error
    if key.name != parts.keys.origin or key.kind != ED25519:
        raise InvalidInputError(field="vkey", what=f"not a key of {parts.keys.origin}")
    if key.vkey in sequencer.log_keys(ctx.tx, parts.keys):
        raise SekishoError(KEY_USED)
    if not parts.keys.holds(key.vkey):
        raise SekishoError(KEY_MISSING, name=f"{key.name}+{key.key_id.hex()}")
    previous = sequencer.active_key(ctx.tx, parts.keys)
    tables.insert_key(ctx.tx, vkey=key.vkey, previous=previous, now_ms=ctx.now_ms)
    ctx.detail(previous=previous, vkey=key.vkey, reason=command.reason)
    return KeyRotated(previous, key.vkey)


def _restored(ctx: Ctx, command: RestoreLog) -> LogRestored:
    """Changes nothing: that two people wanted it is the evidence, and the log goes on from here."""
    ctx.detail(manifest=command.manifest, size=tables.tree(ctx.tx).size)
    return LogRestored(ctx.record_id)


def handlers(parts: Parts) -> tuple[Handler[Any], ...]:
    """One handler per command of the ledger."""

    def of(function: Callable[Concatenate[Parts, Params], ResultT]) -> Callable[Params, ResultT]:
        def bound(*args: Params.args, **kwargs: Params.kwargs) -> ResultT:
            return function(parts, *args, **kwargs)

        return bound

    return (
        Handler(ListRecords, _ledger_target, of(_list)),
        Handler(ShowRecord, _record_target, of(_show)),
        Handler(EraseRecord, _record_target, of(_erase)),
        Handler(ShowCheckpoint, _ledger_target, of(_checkpoint)),
        Handler(ShowTrust, _ledger_target, of(_trust)),
        Handler(ShowRoot, _ledger_target, of(_root)),
        Handler(CheckLedger, _ledger_target, of(_check)),
        Handler(ReadTiles, _system_target, of(_tiles)),
        Handler(OfferCheckpoint, _system_target, of(_offer)),
        Handler(KeepCosignature, _system_target, of(_keep), lambda _command: "ledger witnesses"),
        Handler(NoteWitness, _system_target, _note, lambda _command: "ledger witnesses"),
        Handler(OfferHead, _system_target, of(_offer_head)),
        Handler(KeepStamp, _system_target, of(_keep_stamp), lambda _command: "ledger timestamps"),
        Handler(SequenceBatch, _system_target, of(_sequence), lambda _command: "ledger"),
        Handler(SignCheckpoint, _system_target, of(_sign), lambda _command: "ledger"),
        Handler(CloseStream, _system_target, of(_close), lambda command: f"stream {command.stream}"),
        Handler(ExportBundle, of(_export_target), of(_export)),
        Handler(ReadBundle, of(_read_target), of(_read_bundle)),
        Handler(RestoreLog, _ledger_target, _restored),
        Handler(RotateKey, _ledger_target, of(_rotate), lambda _command: "ledger keys"),
    )
