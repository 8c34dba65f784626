"""One record with its proof under a signed checkpoint: what goes along when something leaves because of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sekisho.kernel.tx import Tx
from sekisho.ledger import tables
from sekisho.ledger.tree import Tree
from sekisho.ledger.witnesses import Witness, best_head, cosigned_note
from sekisho_verify.checkpoint import parse_note


class Proven(msgspec.Struct, frozen=True):
    """A record's canonical bytes, its place in the log, and the way from there to the root of `checkpoint`.

    `path` are the sibling hashes of RFC 9162 2.1.3, leaf's side first; `checkpoint` is a signed note.
    """

    record: bytes
    log_index: int
    stream_seq: int
    path: list[bytes]
    checkpoint: bytes


def prove(tx: Tx, record_id: str, cosigners: Sequence[Witness] = (), *, quorum: int = 0) -> Proven | None:
    """The proof under the newest checkpoint, or under an earlier one that more of the witnesses in force have cosigned.

    None until a checkpoint with at least `quorum` of their lines covers the record, and for a record that was erased.
    Reads tiles anew: what a transaction that writes has seen must not be remembered for others.
    """
    entry, head = tables.entry(tx, record_id), tables.latest_checkpoint(tx)
    body = tables.body(tx, record_id)
    if entry is None or head is None or body is None or entry.log_index >= head["size"]:
        return None
    best = best_head(tx, head, cosigners, at_least=entry.log_index + 1)
    note = cosigned_note(tx, best, cosigners)
    if quorum and len(parse_note(note).signatures) - len(parse_note(bytes(best["note"])).signatures) < quorum:
        return None
    with Tree().at(tx) as tree:
        path = tree.inclusion_path(entry.log_index, best["size"])
    return Proven(body, entry.log_index, entry.stream_seq, list(path), note)
