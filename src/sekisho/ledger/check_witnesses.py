"""Kept cosignatures against the heads they stand under."""

from __future__ import annotations

from sekisho.kernel.tx import Tx
from sekisho.ledger import tables_witness
from sekisho.ledger.notes import Notes
from sekisho_verify.checkpoint import parse_key, parse_note, verify_cosignature
from sekisho_verify.errors import VerifyError
from sekisho_wire.witnessing import parse_signatures


def run(tx: Tx, notes: Notes) -> None:
    """Each line is one cosignature, by the key it is filed under, of the head of its size."""
    for row in tables_witness.cosignatures_from(tx, 0):
        place = f"size {row['size']}"
        head = tables_witness.head_at(tx, row["size"])
        if head is None:
            notes.find("cosignature.no_head", place)
            continue
        try:
            key, text = parse_key(row["vkey"]), parse_note(bytes(head["note"])).text
            (line,) = parse_signatures(text, row["line"].encode())
            time_s = verify_cosignature(text, key, line.data)
        except (VerifyError, ValueError) as error:
            notes.find("cosignature.signature", place, str(error))
            continue
        if (line.name, line.key_id, time_s) != (key.name, key.key_id, row["time_s"]):
            notes.find("cosignature.signature", place, "filed under another key or time")
