"""One record with its proof under a signed checkpoint: what goes along when something leaves because of it."""

from __future__ import annotations

import msgspec

from sekisho.kernel.tx import Tx
from sekisho.ledger import tables
from sekisho.ledger.tree import Tree


class Proven(msgspec.Struct, frozen=True):
    """A record's canonical bytes, its place in the log, and the way from there to the root of `checkpoint`.

    `path` are the sibling hashes of RFC 9162 2.1.3, leaf's side first; `checkpoint` is a signed note.
    """

    record: bytes
    log_index: int
    stream_seq: int
    path: list[bytes]
    checkpoint: bytes


def prove(tx: Tx, record_id: str) -> Proven | None:
    """The proof under the newest checkpoint; None until one covers the record, and for a record that was erased.

    Reads tiles anew: what a transaction that writes has seen must not be remembered for others.
    """
    entry, head = tables.entry(tx, record_id), tables.latest_checkpoint(tx)
    body = tables.body(tx, record_id)
    if entry is None or head is None or body is None or entry.log_index >= head["size"]:
        return None
    with Tree().at(tx) as tree:
        path = tree.inclusion_path(entry.log_index, head["size"])
    return Proven(body, entry.log_index, entry.stream_seq, list(path), bytes(head["note"]))
