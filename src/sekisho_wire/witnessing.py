"""What a log and a witness say to each other: `add-checkpoint` of C2SP tlog-witness, as bytes.

A request is `old <size>`, at most 63 hashes in base64 (the consistency proof from that size), an empty line and the
checkpoint. The answer is signature lines, or with status 409 the size that the witness has. Nothing here verifies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sekisho_verify.canonical import from_base64, to_base64
from sekisho_verify.checkpoint import (
    SIZE_LIMIT,
    Checkpoint,
    Signature,
    SignedNote,
    parse_checkpoint,
    parse_note,
)
from sekisho_verify.errors import CanonicalError, NoteError
from sekisho_verify.merkle import HASH_BYTES

PATH = "/add-checkpoint"
SIZE_MEDIA = "text/x.tlog.size"
PROOF_LINES_MAX = 63
REQUEST_BYTES_MAX = 64 << 10
ANSWER_BYTES_MAX = 64 << 10

_HEAD_LINES = 3
_old_line = re.compile(r"old (0|[1-9][0-9]{0,15})").fullmatch
_size_line = re.compile(r"(0|[1-9][0-9]{0,15})\n").fullmatch


class Request(NamedTuple):
    """One checkpoint shown to a witness: the size it is to have seen before, the proof from there, the note."""

    old_size: int
    proof: tuple[bytes, ...]
    note: SignedNote
    head: Checkpoint


def encode_request(old_size: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The request's body; `checkpoint` is the signed note."""
    lines = [f"old {old_size}\n", *(f"{to_base64(step)}\n" for step in proof), "\n"]
    return "".join(lines).encode() + checkpoint


def parse_request(data: bytes) -> Request:
    """A request from its body; NoteError for anything that is not exactly one."""
    front, found, checkpoint = data.partition(b"\n\n")
    if not found or len(data) > REQUEST_BYTES_MAX:
        raise NoteError("witness.shape", "no empty line before the checkpoint, or too long")
    try:
        first, *lines = front.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise NoteError("witness.shape", "the lines before the checkpoint are not ASCII") from error
    old = _old_line(first)
    if old is None or len(lines) > PROOF_LINES_MAX:
        raise NoteError("witness.old", f"`old` and a size are needed, then at most {PROOF_LINES_MAX} hashes")
    note = parse_note(checkpoint)
    return Request(int(old[1]), tuple(map(_hash, lines)), note, parse_head(note.text))


def parse_head(text: str) -> Checkpoint:
    """Origin, size and root of a checkpoint; unlike our own log's, it may have extension lines (C2SP)."""
    lines = text.split("\n")[:-1]
    if not all(lines):
        raise NoteError("checkpoint.lines", "an empty line in a checkpoint")
    return parse_checkpoint("".join(f"{line}\n" for line in lines[:_HEAD_LINES]))


def parse_signatures(text: str, answer: bytes) -> tuple[Signature, ...]:
    """The signature lines of an answer over the checkpoint `text`; NoteError for anything else."""
    if len(answer) > ANSWER_BYTES_MAX:
        raise NoteError("witness.answer", "an answer that is too long")
    return parse_note(f"{text}\n".encode() + answer).signatures


def encode_size(size: int) -> bytes:
    """The body of a 409: the size of the latest checkpoint that the witness cosigned."""
    return b"%d\n" % size


def parse_size(answer: bytes) -> int:
    """The size in a 409; NoteError for anything else."""
    found = _size_line(answer.decode("ascii", "replace"))
    if found is None or int(found[1]) >= SIZE_LIMIT:
        raise NoteError("witness.answer", "not a size")
    return int(found[1])


def _hash(line: str) -> bytes:
    try:
        step = from_base64(line)
    except CanonicalError as error:
        raise NoteError("witness.proof", error.detail) from error
    if len(step) != HASH_BYTES:
        raise NoteError("witness.proof", "a hash has 32 bytes")
    return step
