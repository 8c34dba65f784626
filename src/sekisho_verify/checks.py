"""Integrity: digests, signatures, inclusion, consistency, completeness. Each check returns its lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from sekisho_verify.canonical import digest
from sekisho_verify.checkpoint import SIZE_LIMIT, Cosignature, verify_note
from sekisho_verify.errors import (
    ChecksumError,
    ConsistencyError,
    Exit,
    InclusionError,
    SignatureError,
    VerifyError,
)
from sekisho_verify.lines import ABSENT, DECLARED, NOTE, OK, SIGNED, Case, Line, Opened, failed
from sekisho_verify.merkle import InclusionVerifier, verify_consistency
from sekisho_verify.record import CLOSE_ACTION
from sekisho_verify.trust import Seen, Trust


class CompletenessError(VerifyError):
    """A stream with a gap, a wrong count, or something after its end."""

    exit_code = Exit.COMPLETENESS


def records(case: Case) -> list[Line]:
    """What the bundle is about."""
    manifest = case.bundle.manifest
    fields = {
        "count": manifest.records,
        "stream": manifest.stream,
        "type": manifest.subject.type,
        "id": manifest.subject.id,
    }
    return [Line("records", OK, "records.count", fields)]


def digests(case: Case) -> list[Line]:
    """Charters, facts and files against the digests that records name; time stamps against their own names.

    What a record names and the bundle leaves out fails: nobody can say whether it would have held.
    """
    bundle = case.bundle
    lines = [failed("digests", error) for error in _left_out(case)]
    for folder in (bundle.charters, bundle.facts, bundle.files, bundle.timestamps):
        for name, data in folder.items():
            if digest(data) != name:
                error = ChecksumError("digest.member", "a member that differs from its digest", where=name)
                lines.append(failed("digests", error))
    counts = {
        "charters": len(bundle.charters),
        "facts": len(bundle.facts),
        "facts_named": len({record.facts for record in bundle.records}),
        "files": len(bundle.files),
        "files_named": len({name for detail in bundle.details for name in detail.files.values()}),
    }
    return lines or [Line("digests", OK, "digests.match", counts)]


def checkpoint(case: Case) -> list[Line]:
    """The signed head of the log: origin, signature of the log, cosignatures of witnesses."""
    head, trust = case.bundle.checkpoint, case.trust
    fields = {"origin": head.origin, "size": head.size}
    if trust is None:
        return [Line("checkpoint", NOTE, "checkpoint.unverified", fields)]
    try:
        cosignatures = _check_signatures(case, trust)
    except VerifyError as error:
        return [failed("checkpoint", error.at("checkpoint"))]
    return [Line("checkpoint", OK, "checkpoint.signed", fields), *_witnesses(cosignatures)]


def inclusion(case: Case) -> list[Line]:
    """Each record's leaf, as the number of the stream its proof claims, leads to the checkpoint's root."""
    size = case.bundle.checkpoint.size
    verifier = InclusionVerifier(size, case.bundle.checkpoint.root)
    lines: list[Line] = []
    for record, proof in zip(case.bundle.records, case.bundle.proofs, strict=True):
        try:
            leaf = record.leaf_hash(proof.stream_seq)
            verifier.verify(leaf, proof.path, index=proof.index)
        except InclusionError as error:
            lines.append(failed("inclusion", error.at(record.id)))
    return lines or [Line("inclusion", OK, "inclusion.all", {"size": size})]


def consistency(case: Case) -> list[Line]:
    """The log against the head that the auditor has seen before."""
    proof, size = case.bundle.consistency, case.bundle.checkpoint.size
    seen = case.trust.seen if case.trust else None
    if seen is None and proof is None:
        return [Line("consistency", ABSENT, "consistency.none")]
    if seen is not None and proof is None and seen.size != size:
        return [Line("consistency", NOTE, "consistency.not_shown", {"seen": seen.size, "size": size})]
    try:
        seen_size = _check_consistency(case, seen)
    except ConsistencyError as error:
        return [failed("consistency", error)]
    return [Line("consistency", OK, "consistency.extends", {"seen": seen_size})]


def completeness(case: Case) -> list[Line]:
    """Stream numbers from 0 without a gap, log order, and a closing record, last, that counts them all."""
    try:
        _check_order(case)
        closed = _closed_count(case)
    except CompletenessError as error:
        return [failed("completeness", error)]
    if closed:
        return [Line("completeness", OK, "completeness.closed", {"count": closed})]
    return [Line("completeness", NOTE, "completeness.open", {"count": len(case.bundle.records)})]


def messages(case: Case) -> list[Line]:
    """Agents' own signatures, and that a message stands in a record it can have caused."""
    opened, errors = case.opened
    lines = [failed("messages", error) for error in errors]
    said: dict[tuple[str, str, int], bytes] = {}
    for found in opened:
        try:
            _check_message(case, found, said)
        except SignatureError as error:
            lines.append(failed("messages", error.at(f"records/{found.number:06}.json detail.message")))
    if not lines and not opened:
        return [Line("messages", ABSENT, "messages.none")]
    return lines or [Line("messages", OK, "messages.signed", {"count": len(opened)}, DECLARED)]


def _left_out(case: Case) -> Iterator[CompletenessError]:
    """One error for each facts slice and each file that is named and not there, at the first record that names it."""
    told: set[str] = set()
    for number, (record, detail) in enumerate(zip(case.bundle.records, case.bundle.details, strict=True)):
        named = [("facts", record.facts, case.bundle.facts)]
        named += [(name, found, case.bundle.files) for name, found in sorted(detail.files.items())]
        for name, found, folder in named:
            if found not in folder and found not in told:
                told.add(found)
                yield CompletenessError(
                    "completeness.left_out",
                    f"{found} is named and not in the bundle",
                    where=f"records/{number:06}.json {name}",
                )


def is_closed(case: Case) -> bool:
    """Whether the stream ends with its closing record (whose count `completeness` checks)."""
    return case.bundle.records[-1].action == CLOSE_ACTION


def _check_signatures(case: Case, trust: Trust) -> list[Cosignature]:
    origin = case.bundle.checkpoint.origin
    if origin != trust.origin:
        raise SignatureError("signature.origin", f"the log is {origin!r}, not the trusted one")
    return verify_note(case.bundle.note, log_keys=trust.keys, witness_keys=trust.witnesses)


def _witnesses(cosignatures: list[Cosignature]) -> list[Line]:
    if not cosignatures:
        return [Line("witness", ABSENT, "witness.none")]
    lines: list[Line] = []
    for name, time_s in cosignatures:
        time = datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(Line("witness", OK, "witness.cosigned", {"name": name, "time": time}, SIGNED))
    return lines


def _check_consistency(case: Case, seen: Seen | None) -> int:
    """Size of the head seen before; a proof that nothing can be held against is refused."""
    proof, head = case.bundle.consistency, case.bundle.checkpoint
    if seen is None:
        raise ConsistencyError("consistency.unseen", "a consistency proof without a head seen before")
    if proof is not None and proof.from_size != seen.size:
        raise ConsistencyError("consistency.from", f"a proof from size {proof.from_size}, not {seen.size}")
    verify_consistency(
        proof.path if proof else [],
        first_size=seen.size,
        first_root=seen.root,
        second_size=head.size,
        second_root=head.root,
    )
    return seen.size


def _check_order(case: Case) -> None:
    before = -1
    for number, proof in enumerate(case.bundle.proofs):
        if proof.stream_seq != number:
            raise CompletenessError("completeness.gap", f"number {proof.stream_seq} where {number} is due")
        if not before < proof.index < SIZE_LIMIT:
            raise CompletenessError("completeness.order", f"log index {proof.index} after {before}")
        before = proof.index


def _closed_count(case: Case) -> int:
    """Records of the closed stream; 0 while it is open."""
    *earlier, last = case.bundle.records
    if any(record.action == CLOSE_ACTION for record in earlier):
        raise CompletenessError("completeness.after_close", "a record after the one that closes its stream")
    if last.action != CLOSE_ACTION:
        return 0
    count = last.detail.get("count")
    if last.outcome != "done" or type(count) is not int or count != len(case.bundle.records):
        raise CompletenessError(
            "completeness.count", f"closed with a count that is not {len(case.bundle.records)}"
        )
    return count


def _check_message(case: Case, found: Opened, said: dict[tuple[str, str, int], bytes]) -> None:
    """One message may cause several records; two messages under one number are a lie by somebody."""
    message, record = found.message, case.bundle.records[found.number]
    sealed = case.bundle.details[found.number].message
    if said.setdefault((message.agent, message.lane, message.seq), sealed) != sealed:
        raise SignatureError("sealed.number_twice", f"two messages numbered {message.seq} by {message.agent}")
    if record.actor.startswith("agt_") and record.actor != message.agent:
        raise SignatureError(
            "sealed.other_agent", f"a message of {message.agent} in a record of {record.actor}"
        )
    if message.attempt and record.detail.get("attempt", message.attempt) != message.attempt:
        raise SignatureError("sealed.other_attempt", "a message about another attempt than its record")
