"""A bundle's members, read into checked parts, and parts put together into a bundle.

Reading looks at shapes and at which member may stand beside which; whether digests, proofs and signatures
hold is for `verdict.py`, so that a report can name everything that fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sekisho_verify.archive import read_archive, write_archive
from sekisho_verify.canonical import (
    DIGEST_PREFIX,
    decode,
    decode_object,
    digest,
    encode,
    from_base64url,
    to_base64url,
)
from sekisho_verify.checkpoint import Checkpoint, SignedNote, parse_checkpoint, parse_note
from sekisho_verify.detail import Detail, read_detail
from sekisho_verify.errors import BundleError, VerifyError
from sekisho_verify.merkle import HASH_BYTES
from sekisho_verify.record import Record, Resource, is_stream, parse_record, read_resource

TIMESTAMPS_MAX = 16

_MANIFEST_FIELDS = {"v", "origin", "subject", "stream", "first_index", "records"}
_PROOF_FIELDS = {"index", "stream_seq", "path"}
_CHARTER_FIELDS = {"v", "schema", "policies"}
_folder_of_member = re.compile(
    r"(bundle\.json|checkpoint|proofs\.json|consistency\.json|records/[0-9]{6}\.json"
    r"|charters/[0-9a-f]{64}\.json|facts/[0-9a-f]{64}\.json|files/[0-9a-f]{64}|timestamps/[0-9a-f]{64})"
).fullmatch


class Proof(NamedTuple):
    """Where a record is in the log (`index`) and in its stream, and its inclusion path, bottom up."""

    index: int
    stream_seq: int
    path: list[bytes]


class Consistency(NamedTuple):
    """That the log at the bundle's checkpoint extends the log at `from_size`."""

    from_size: int
    path: list[bytes]


class Manifest(NamedTuple):
    """`bundle.json`: each field is derived from the other members and compared with them."""

    origin: str
    subject: Resource
    stream: str
    first_index: int
    records: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """The parsed members. Charters, facts, files and time stamps are raw bytes by the digest text of their names."""

    manifest: Manifest
    note: SignedNote
    checkpoint: Checkpoint
    proofs: tuple[Proof, ...]
    records: tuple[Record, ...]
    details: tuple[Detail, ...]
    charters: Mapping[str, bytes]
    facts: Mapping[str, bytes]
    files: Mapping[str, bytes]
    consistency: Consistency | None
    timestamps: Mapping[str, bytes]


def parse_bundle(data: bytes) -> Bundle:
    """Read a bundle; a VerifyError subclass naming the member for everything that is not exactly one."""
    members = read_archive(data)
    for name in members:
        if not _folder_of_member(name):
            raise BundleError("bundle.member", "a member that no bundle has", where=name[:80])
    manifest = _read_manifest(_member(members, "bundle.json"))
    note, checkpoint = _read_checkpoint(_member(members, "checkpoint"))
    records, details = _read_records(members, manifest.records)
    bundle = Bundle(
        manifest=manifest,
        note=note,
        checkpoint=checkpoint,
        proofs=tuple(_read_proofs(_member(members, "proofs.json"))),
        records=tuple(records),
        details=tuple(details),
        charters=_by_digest(members, "charters/", ".json"),
        facts=_by_digest(members, "facts/", ".json"),
        files=_by_digest(members, "files/", ""),
        consistency=_read_consistency(members.get("consistency.json")),
        timestamps=_by_digest(members, "timestamps/", ""),
    )
    if len(bundle.timestamps) > TIMESTAMPS_MAX:
        raise BundleError("bundle.timestamps", f"more than {TIMESTAMPS_MAX}", where="timestamps")
    _check_together(bundle)
    return bundle


def write_bundle(members: Mapping[str, bytes]) -> bytes:
    """The canonical zip of these members, whatever they hold; `assemble` makes such as belong together."""
    return write_archive(members)


def assemble(
    *,
    checkpoint: bytes,
    records: Sequence[bytes],
    proofs: Sequence[Proof],
    charters: Iterable[bytes],
    facts: Iterable[bytes] = (),
    files: Iterable[bytes] = (),
    consistency: Consistency | None = None,
    timestamps: Iterable[bytes] = (),
) -> dict[str, bytes]:
    """Members of the bundle of one stream, records and proofs in stream order.

    Origin comes from the checkpoint; subject and stream from the first record. Nothing is verified here.
    """
    first = parse_record(records[0])
    manifest = {
        "v": 1,
        "origin": parse_checkpoint(parse_note(checkpoint).text).origin,
        "subject": first.resource._asdict(),
        "stream": first.stream,
        "first_index": proofs[0].index,
        "records": len(records),
    }
    entries = [{**proof._asdict(), "path": list(map(to_base64url, proof.path))} for proof in proofs]
    members = {"bundle.json": encode(manifest), "checkpoint": checkpoint, "proofs.json": encode(entries)}
    members |= {_record_name(number): data for number, data in enumerate(records)}
    members |= {f"charters/{_hex(data)}.json": data for data in charters}
    members |= {f"facts/{_hex(data)}.json": data for data in facts}
    members |= {f"files/{_hex(data)}": data for data in files}
    members |= {f"timestamps/{_hex(data)}": data for data in timestamps}
    if consistency is not None:
        path = list(map(to_base64url, consistency.path))
        members["consistency.json"] = encode({"from_size": consistency.from_size, "path": path})
    return members


def _check_together(bundle: Bundle) -> None:
    manifest, records, proofs = bundle.manifest, bundle.records, bundle.proofs
    if manifest.origin != bundle.checkpoint.origin:
        raise BundleError(
            "bundle.origin", "the bundle names another log than its checkpoint", where="bundle.json"
        )
    if len(proofs) != len(records):
        raise BundleError(
            "bundle.proofs", f"{len(proofs)} proofs for {len(records)} records", where="proofs.json"
        )
    if manifest.first_index != proofs[0].index:
        raise BundleError("bundle.first_index", "not the index of the first proof", where="bundle.json")
    if manifest.subject != records[0].resource:
        raise BundleError("bundle.subject", "not what the first record is about", where="bundle.json")
    for number, record in enumerate(records):
        if record.stream != manifest.stream:
            raise BundleError(
                "bundle.foreign_record", "a record of another stream", where=_record_name(number)
            )
    if len({record.id for record in records}) != len(records):
        raise BundleError("bundle.duplicate_record", "the same record id twice")
    _check_named(bundle)


def _check_named(bundle: Bundle) -> None:
    """Charters exactly as the records name them; facts and files only such as a record names."""
    charters = {record.charter for record in bundle.records}
    if charters != bundle.charters.keys():
        odd = min(charters ^ bundle.charters.keys())
        raise BundleError(
            "bundle.charters", f"charter {odd} is missing, or named by no record", where="charters"
        )
    named = {name for detail in bundle.details for name in detail.files.values()}
    for folder, have, allowed in (
        ("facts", bundle.facts, {record.facts for record in bundle.records}),
        ("files", bundle.files, named),
    ):
        if not have.keys() <= allowed:
            raise BundleError(
                "bundle.unnamed", f"{min(have.keys() - allowed)} is named by no record", where=folder
            )


def _member(members: Mapping[str, bytes], name: str) -> bytes:
    if name not in members:
        raise BundleError("bundle.missing", "a member that every bundle has is missing", where=name)
    return members[name]


def _read_manifest(data: bytes) -> Manifest:
    try:
        body = decode_object(data)
        if body.keys() != _MANIFEST_FIELDS or body["v"] != 1 or type(body["v"]) is not int:
            raise BundleError("bundle.manifest", "a field missing, unknown, or an unknown version")
        origin, stream = body["origin"], body["stream"]
        if not isinstance(origin, str) or not isinstance(stream, str) or not is_stream(stream):
            raise BundleError("bundle.manifest", "an origin or stream of the wrong shape")
        first_index, records = _count(body["first_index"]), _count(body["records"])
        if records == 0:
            raise BundleError("bundle.empty", "a bundle without records")
        return Manifest(origin, read_resource(body["subject"]), stream, first_index, records)
    except VerifyError as error:
        error.at("bundle.json")
        raise


def _read_checkpoint(data: bytes) -> tuple[SignedNote, Checkpoint]:
    try:
        note = parse_note(data)
        return note, parse_checkpoint(note.text)
    except VerifyError as error:
        error.at("checkpoint")
        raise


def _read_records(members: Mapping[str, bytes], count: int) -> tuple[list[Record], list[Detail]]:
    found = sum(name.startswith("records/") for name in members)
    if found != count:
        raise BundleError(
            "bundle.records", f"{found} records where the bundle names {count}", where="records"
        )
    records: list[Record] = []
    details: list[Detail] = []
    for number in range(count):
        name = _record_name(number)
        try:
            record = parse_record(_member(members, name))
            details.append(read_detail(record.detail))
        except VerifyError as error:
            error.at(name)
            raise
        records.append(record)
    return records, details


def _read_proofs(data: bytes) -> list[Proof]:
    known = _Hashes()
    try:
        items = decode(data)
        if not isinstance(items, list):
            raise BundleError("bundle.proofs", "a list of proofs is needed")
        proofs: list[Proof] = []
        for item in items:
            if not isinstance(item, dict) or item.keys() != _PROOF_FIELDS:
                raise BundleError("bundle.proofs", "a proof with a field missing or unknown")
            path = _read_path(item["path"], known)
            proofs.append(Proof(_count(item["index"]), _count(item["stream_seq"]), path))
        return proofs
    except VerifyError as error:
        error.at("proofs.json")
        raise


def _read_consistency(data: bytes | None) -> Consistency | None:
    if data is None:
        return None
    try:
        body = decode_object(data)
        if body.keys() != {"from_size", "path"}:
            raise BundleError("bundle.consistency", "a field missing or unknown")
        return Consistency(_count(body["from_size"]), _read_path(body["path"], _Hashes()))
    except VerifyError as error:
        error.at("consistency.json")
        raise


class _Hashes(dict[str, bytes]):
    """Decoded hashes by their text, filled when asked: neighbours share most of their paths."""

    def __missing__(self, text: object) -> bytes:
        step = from_base64url(text) if isinstance(text, str) else b""
        if len(step) != HASH_BYTES:
            raise BundleError("bundle.path", "a hash that is not 32 bytes of base64url")
        self[str(text)] = step
        return step


def _read_path(value: object, known: _Hashes) -> list[bytes]:
    if not isinstance(value, list):
        raise BundleError("bundle.path", "a list of hashes is needed")
    try:
        return [known[text] for text in value]
    except TypeError as error:
        raise BundleError("bundle.path", "a list of hashes is needed") from error


def _by_digest(members: Mapping[str, bytes], folder: str, ending: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, data in members.items():
        if name.startswith(folder):
            found[DIGEST_PREFIX + name.removeprefix(folder).removesuffix(ending)] = data
            if ending:
                _check_object(name, data, charter=folder == "charters/")
    return found


def _check_object(name: str, data: bytes, *, charter: bool) -> None:
    try:
        body = decode_object(data)
        if charter and not (
            _CHARTER_FIELDS <= body.keys() <= _CHARTER_FIELDS | {"territory"}
            and type(body.pop("v")) is int
            and all(isinstance(text, str) for text in body.values())
        ):
            raise BundleError(
                "bundle.charter", "a charter with a field missing, unknown or of the wrong shape"
            )
    except VerifyError as error:
        error.at(name)
        raise


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise BundleError("bundle.number", "a whole number is needed")
    return value


def _record_name(number: int) -> str:
    return f"records/{number:06}.json"


def _hex(data: bytes) -> str:
    return digest(data).removeprefix(DIGEST_PREFIX)
