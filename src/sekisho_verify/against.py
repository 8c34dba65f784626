"""A second piece of evidence of the same log, taken as the head that an auditor has seen before.

Two bundles, or a bundle and a published checkpoint, that the log signed for two histories contradict each other: of
one size with different roots, or of two sizes without a proof that joins them.
"""

from __future__ import annotations

from sekisho_verify.bundle import parse_bundle
from sekisho_verify.checkpoint import Checkpoint, SignedNote, parse_checkpoint, parse_note, verify_note
from sekisho_verify.errors import SignatureError
from sekisho_verify.trust import Seen, Trust

_ZIP = b"PK"


def head_seen(data: bytes, trust: Trust) -> Seen:
    """Size and root of a bundle's checkpoint, or of a bare one, once its signatures hold; else a VerifyError."""
    note, head = _read(data)
    if head.origin != trust.origin:
        raise SignatureError("signature.origin", f"the log is {head.origin!r}, not the trusted one")
    verify_note(note, log_keys=trust.keys, witness_keys=trust.witnesses)
    return Seen(head.size, head.root)


def _read(data: bytes) -> tuple[SignedNote, Checkpoint]:
    if data.startswith(_ZIP):
        bundle = parse_bundle(data)
        return bundle.note, bundle.checkpoint
    note = parse_note(data)
    return note, parse_checkpoint(note.text)
