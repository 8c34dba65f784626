"""Signed notes, keys, checkpoints, cosignatures: one spelling each, and no line that is not known and true."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.checkpoint import (
    COSIGNATURE_V1,
    Checkpoint,
    Cosignature,
    Signature,
    SignedNote,
    cosign_note,
    format_note,
    make_key,
    parse_checkpoint,
    parse_key,
    parse_note,
    sign_note,
    verify_log_lines,
    verify_note,
    verify_signature,
)
from sekisho_verify.errors import NoteError, SignatureError, VerifyError
from tests.verify.builders import ORIGIN, WITNESSES, Signer, job_log

LOG = Signer.make(ORIGIN)
TEXT = Checkpoint(ORIGIN, 7, bytes(32)).text()
WITNESS_KEYS = [witness.key for witness in WITNESSES]


def lines(*signatures: Signature) -> SignedNote:
    return SignedNote(TEXT, signatures)


def log_line() -> Signature:
    return sign_note(TEXT, LOG.key, LOG.sign)


def witness_line(time_s: int = 1_795_000_000, which: int = 0) -> Signature:
    return cosign_note(TEXT, WITNESSES[which].key, WITNESSES[which].sign, time_s=time_s)


# The example of the C2SP cosignature specification: its format is public, its keys are not given.
EXAMPLE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeM"
    "cTOAYQ8=\n"
).encode()


def test_a_note_written_by_others_is_read() -> None:
    note = parse_note(EXAMPLE)
    assert parse_checkpoint(note.text)[:2] == ("example.com/behind-the-sofa", 20852163)
    assert [line.key_id.hex() for line in note.signatures] == ["033de0ae"]
    assert format_note(note) == EXAMPLE


def test_notes_and_keys_round_trip() -> None:
    note = parse_note(job_log().checkpoint())
    assert format_note(note) == job_log().checkpoint()
    for key in (LOG.key, *WITNESS_KEYS):
        assert parse_key(key.vkey) == key
    assert parse_checkpoint(note.text).text() == note.text


def test_all_lines_known_and_true() -> None:
    note = lines(log_line(), witness_line(5), witness_line(6, which=1))
    assert verify_note(note, log_keys=[LOG.key], witness_keys=WITNESS_KEYS) == [
        Cosignature("witness.example/one", 5),
        Cosignature("witness.example/two", 6),
    ]


def spoil(line: Signature) -> Signature:
    return line._replace(data=line.data[:-1] + bytes([line.data[-1] ^ 1]))


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (lines(spoil(log_line())), "signature.invalid"),
        (lines(log_line(), spoil(witness_line())), "signature.invalid"),
        (lines(log_line(), log_line()), "signature.unknown_key"),
        (lines(log_line(), witness_line(1), witness_line(2)), "signature.unknown_key"),
        (lines(witness_line()), "signature.no_log_key"),
        (lines(log_line()._replace(name="other")), "signature.unknown_key"),
        (lines(log_line()._replace(key_id=b"abcd")), "signature.unknown_key"),
        (lines(log_line()._replace(data=log_line().data[:63])), "signature.invalid"),
        (lines(log_line(), witness_line()._replace(data=bytes(71))), "signature.cosignature"),
        (lines(log_line(), witness_line(253_402_300_800)), "signature.cosignature"),
        (lines(log_line(), witness_line()._replace(data=log_line().data)), "signature.cosignature"),
    ],
)
def test_a_line_that_is_unknown_or_untrue_refuses_the_note(note: SignedNote, code: str) -> None:
    with pytest.raises(SignatureError) as caught:
        verify_note(note, log_keys=[LOG.key], witness_keys=WITNESS_KEYS)
    assert caught.value.code == code


def test_a_foreign_cosignature_is_refused() -> None:
    stranger = Signer.make("stranger.example", kind=COSIGNATURE_V1)
    note = lines(log_line(), cosign_note(TEXT, stranger.key, stranger.sign, time_s=1))
    with pytest.raises(SignatureError, match="not trusted"):
        verify_note(note, log_keys=[LOG.key], witness_keys=WITNESS_KEYS)


def test_a_witness_cannot_speak_as_the_log_nor_the_log_as_a_witness() -> None:
    as_log = make_key(ORIGIN, WITNESSES[0].key.public)
    with pytest.raises(SignatureError):
        verify_note(
            lines(sign_note(TEXT, as_log, WITNESSES[0].sign)), log_keys=[LOG.key], witness_keys=WITNESS_KEYS
        )
    as_witness = make_key(ORIGIN, LOG.key.public, kind=COSIGNATURE_V1)
    note = lines(cosign_note(TEXT, as_witness, LOG.sign, time_s=1))
    with pytest.raises(SignatureError):
        verify_note(note, log_keys=[LOG.key], witness_keys=WITNESS_KEYS)


def test_a_key_of_no_valid_point_is_a_failed_signature() -> None:
    with pytest.raises(SignatureError):
        verify_signature(b"short", bytes(64), b"")
    with pytest.raises(SignatureError):
        verify_signature(bytes([2]) + bytes(31), bytes(64), b"message")


GOOD = format_note(lines(log_line()))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"\xff" + GOOD,
        GOOD[:-1],
        GOOD + b"\n",
        GOOD + b"x",
        GOOD.replace("\u2014".encode(), b"-"),
        GOOD.replace("\u2014 ".encode(), "\u2014".encode()),
        GOOD.replace(b"\n\n", b"\n"),
        GOOD.replace(b"\n\n", b"\r\n\r\n"),
        GOOD.replace(b"\n\n", b"\n\t\n\n"),
        GOOD[:-2] + b"!\n",
        TEXT.encode() + b"\n",
        TEXT.encode() + "\n\u2014 name AAAA\n".encode(),
        TEXT.encode() + "\n\u2014 a+b AAAAAAAA\n".encode(),
        TEXT.encode() + "\n\u2014 name  AAAAAAAA\n".encode(),
        TEXT.encode() + "\n\u2014 name AAAAAAAA \n".encode(),
        TEXT.encode() + "\n\u2014 na\u00a0me AAAAAAAA\n".encode(),
        GOOD + "\u2014 name AAAAAAAA\n".encode() * 64,
    ],
)
def test_a_note_in_another_shape_is_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        parse_note(data)


def test_base64_of_a_signature_has_one_spelling() -> None:
    encoded = base64.b64encode(log_line().key_id + log_line().data).decode()
    assert encoded.endswith("=")
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/":
        other = encoded[:-2] + last + "="
        if other != encoded and base64.b64decode(other) == base64.b64decode(encoded):
            with pytest.raises(NoteError):
                parse_note(f"{TEXT}\n\u2014 {ORIGIN} {other}\n".encode())
            break
    else:
        pytest.fail("no second spelling tried")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n1\n",
        "o\n1\nAAAA\n",
        "\n1\n" + "A" * 43 + "=\n",
        "o\n01\n" + "A" * 43 + "=\n",
        "o\n-1\n" + "A" * 43 + "=\n",
        "o\n\u0663\n" + "A" * 43 + "=\n",
        "o\n9007199254740992\n" + "A" * 43 + "=\n",
        "o\n" + "9" * 5000 + "\n" + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 43 + "=\nextension\n",
        "o\n1\n" + "A" * 43 + "=",
        "o o\n1\n" + "A" * 43 + "=\n",
    ],
)
def test_a_checkpoint_in_another_shape_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000+AAAA",
        LOG.key.vkey + "A",
        LOG.key.vkey.replace("+", "+0", 1),
        LOG.key.vkey.upper(),
        "a b+" + LOG.key.vkey.split("+", 1)[1],
        "name+00000000+" + base64.b64encode(bytes([2]) + bytes(32)).decode(),
        "name+00000000+" + base64.b64encode(bytes([1]) + bytes(31)).decode(),
    ],
)
def test_a_key_in_another_shape_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_key(text)


def test_a_note_that_could_not_be_read_back_is_not_written() -> None:
    for note in (
        SignedNote("no newline", (log_line(),)),
        SignedNote("tab\t\n", (log_line(),)),
        SignedNote(TEXT, ()),
    ):
        with pytest.raises(NoteError):
            format_note(note)


def parse_checkpoint_bytes(data: bytes) -> Checkpoint:
    return parse_checkpoint(data.decode(errors="replace"))


@pytest.mark.parametrize("parse", [parse_note, parse_checkpoint_bytes])
@given(
    data=st.binary(max_size=200)
    | st.text(max_size=60).map(lambda text: f"{TEXT}\n\u2014 {text}\n".encode(errors="replace"))
)
def test_no_other_exception_escapes(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except VerifyError:
        return


def test_who_takes_a_checkpoint_over_ignores_strangers_but_not_a_line_of_the_log_that_fails() -> None:
    stranger = Signer.make("stranger.example")
    crowd = lines(sign_note(TEXT, stranger.key, stranger.sign), witness_line(), log_line())
    verify_log_lines(crowd, [LOG.key])
    for wrong in (lines(witness_line()), lines(log_line()._replace(data=bytes(64)))):
        with pytest.raises(SignatureError):
            verify_log_lines(wrong, [LOG.key])
    with pytest.raises(SignatureError):
        verify_log_lines(lines(log_line(), log_line()._replace(data=bytes(64))), [LOG.key])


# Made once, from the words of C2SP tlog-cosignature alone, by a program that shares no code with this one.
FROZEN_KEYS = (
    "example.com/frozen+fa0f2a8b+AfMR8S1O3UZsghUfirMYnAnRbJ/43k3/HFTfncnvDqFC",
    "witness.example.com/w1+b2835b51+BNj1sK1yd9eOEcD+j1EgzuqUULaOuFlaaJQfyNkAXAF7",
)
FROZEN = (
    "example.com/frozen\n20852163\n5zPmbjRlAxOlQp8hCMXJzOyL+L3bzROyNr0ulV6k6nk=\n\n"
    "\u2014 example.com/frozen +g8qi7mbFlbhGvycceSCj1ngirVyGhI+0Ssc1H0TbntQ9IcA/cyrQvGw/8wHnuuxGfy9/x4bIc0FTNFd2Bf63E2sdAI="
    "\n\u2014 witness.example.com/w1 soNbUQAAAABkGFDLe0GwnTFPZSik22RXXGG1Uoj33RDRA7qAr1UG1cbqyChR1wFIyTOla/dCaQa8dDG7VTkmuV6PJ5"
    "+46G2mjEa5Cw==\n"
).encode()


def test_a_frozen_cosignature_holds_and_no_other_time_does() -> None:
    log, witness = map(parse_key, FROZEN_KEYS)
    note = parse_note(FROZEN)
    assert verify_note(note, log_keys=[log], witness_keys=[witness]) == [
        Cosignature("witness.example.com/w1", 1679315147)
    ]
    own, cosigned = note.signatures
    later = cosigned._replace(data=(1679315148).to_bytes(8, "big") + cosigned.data[8:])
    with pytest.raises(SignatureError):
        verify_note(SignedNote(note.text, (own, later)), log_keys=[log], witness_keys=[witness])
