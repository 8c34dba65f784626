"""The bytes between log and witness: the published example, round trips, and refusals."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.checkpoint import parse_note
from sekisho_verify.errors import NoteError
from sekisho_wire.witnessing import (
    ANSWER_BYTES_MAX,
    encode_request,
    encode_size,
    parse_head,
    parse_request,
    parse_signatures,
    parse_size,
)
from tests.verify.builders import job_log

LOG = job_log()
NOTE = LOG.checkpoint()


@given(st.integers(0, 2**53 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_a_request_comes_back_as_it_went(old: int, proof: list[bytes]) -> None:
    request = parse_request(encode_request(old, proof, NOTE))
    assert (request.old_size, list(request.proof)) == (old, proof)
    assert request.note == parse_note(NOTE)
    assert request.head.size == len(LOG.leaves)


def test_a_request_is_written_as_c2sp_says() -> None:
    body = encode_request(7, [bytes(32), b"\xff" * 32], NOTE)
    assert body.startswith(
        b"old 7\n" + b"A" * 43 + b"=\n" + b"/" * 42 + b"8=\n\n" + LOG.origin.encode() + b"\n"
    )


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for read in (parse_request, parse_size, functools.partial(parse_signatures, "a\n")):
        with pytest.raises(NoteError):
            read(data)


@given(st.integers(0, 2**53 - 1))
def test_a_size_comes_back(size: int) -> None:
    assert parse_size(encode_size(size)) == size


@pytest.mark.parametrize(
    "answer", [b"", b"5", b"05\n", b" 5\n", b"5\n\n", b"-1\n", b"9" * 30 + b"\n", b"9007199254740992\n"]
)
def test_what_is_no_size_is_refused(answer: bytes) -> None:
    with pytest.raises(NoteError):
        parse_size(answer)


def test_an_answer_is_signature_lines_and_nothing_else() -> None:
    note = parse_note(NOTE)
    lines = NOTE.rpartition(b"\n\n")[2]
    assert parse_signatures(note.text, lines) == note.signatures
    for wrong in (b"", lines[:-1], lines + b"\n", b"hello\n", lines * ANSWER_BYTES_MAX):
        with pytest.raises(NoteError):
            parse_signatures(note.text, wrong)


@pytest.mark.parametrize("text", ["", "a\n1\n", "a\n1\n\nx\n", "a\n1\nAAAA\n", "a b\n1\n" + "A" * 43 + "=\n"])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_head(text)
