"""Transcripts and datagrams as hostile input: one error with a stable code, and no way round a signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import canonical
from sekisho_verify import location_packets as packets
from sekisho_verify.errors import VerifyError
from sekisho_verify.location_transcript import (
    TRANSCRIPT_BYTES_MAX,
    encode_landmark,
    parse_landmark,
    read_transcript,
    write_transcript,
)
from sekisho_verify.sealed import seal
from tests.verify.places import Held, key_of, outcome

HELD = Held()
GOOD = HELD.write()
PREFIXES = ("transcript.", "canonical.", "sealed.", "signature.", "packet.")


def _anybody(_key: bytes) -> bool:
    return True


def test_reading_gives_what_was_written() -> None:
    found = read_transcript(GOOD, _anybody)
    assert found.landmark == HELD.known()
    assert found.session == HELD.session()
    assert found.nonce == HELD.nonce
    assert write_transcript(found.landmark, found.session, key_of("north").sign) == GOOD


def test_a_landmark_is_described_in_one_way() -> None:
    data = encode_landmark(HELD.known())
    assert parse_landmark(data) == HELD.known()
    for bad in (b"", b"{}", b"[]", data.replace(b'"v":1', b'"v":2'), data.replace(b"latitude", b"longlat")):
        with pytest.raises(VerifyError):
            parse_landmark(bad)


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_every_flipped_bit_is_refused(bit: int) -> None:
    bad = bytearray(GOOD)
    bad[bit // 8] ^= 1 << bit % 8
    with pytest.raises(VerifyError) as caught:
        read_transcript(bytes(bad), _anybody)
    assert caught.value.code.startswith(PREFIXES)


@given(st.binary(max_size=400))
def test_any_bytes_end_in_one_error(data: bytes) -> None:
    with pytest.raises(VerifyError):
        read_transcript(data, _anybody)


def test_a_transcript_without_end_is_not_read() -> None:
    with pytest.raises(VerifyError) as caught:
        read_transcript(b" " * (TRANSCRIPT_BYTES_MAX + 1), _anybody)
    assert caught.value.code == "transcript.size"


JSON = st.recursive(
    st.booleans() | st.integers(-(2**52), 2**52) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
)
FIELDS = sorted(canonical.decode_object(GOOD.partition(b"\n")[2]))


@given(st.sampled_from(FIELDS), JSON)
def test_a_landmark_that_signs_nonsense_is_refused(field: str, value: object) -> None:
    body = canonical.decode_object(GOOD.partition(b"\n")[2])
    counts = {"late", "duplicated", "forged"}
    if (
        body[field] == value
        or (field in counts and type(value) is int)
        or field in {"sent", "ended_ms", "started_ms"}
    ):
        return
    body[field] = value
    with pytest.raises(VerifyError) as caught:
        read_transcript(seal(body, key_of("north").sign), _anybody)
    assert caught.value.code.startswith(PREFIXES)


@given(st.sampled_from(["landmark", "site", "closed"]), st.sampled_from(["drop", "more", "list"]))
def test_inner_objects_are_as_strict(field: str, change: str) -> None:
    body = canonical.decode_object(GOOD.partition(b"\n")[2])
    inner = body[field]
    assert isinstance(inner, dict)
    first = min(inner)
    match change:
        case "drop":
            del inner[first]
        case "more":
            inner["more"] = 1
        case _:
            inner[first] = ["?"]
    with pytest.raises(VerifyError):
        read_transcript(seal(body, key_of("north").sign), _anybody)


@pytest.mark.parametrize("latitude", [91_000_000, -91_000_000, "north"])
def test_a_place_is_on_the_earth(latitude: object) -> None:
    body = canonical.decode_object(GOOD.partition(b"\n")[2])
    inner = body["landmark"]
    assert isinstance(inner, dict)
    inner["latitude_udeg"] = latitude
    with pytest.raises(VerifyError) as caught:
        read_transcript(seal(body, key_of("north").sign), _anybody)
    assert caught.value.code == "transcript.place"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("site", {"id": "site_1", "key": "A" * 43}, "transcript.foreign_session"),
        ("landmark", "north", "transcript.fields"),
        ("rounds", [[0, "AA", "AA", 1]] * 257, "transcript.rounds"),
        ("rounds", [[0, "AA", "AA"]], "transcript.round"),
        ("rounds", [[0, "AA", "AA", 1]], "transcript.bytes"),
        ("v", 2, "transcript.fields"),
        ("sent", -1, "transcript.number"),
        ("hello", "", "transcript.bytes"),
        ("hello", "AA", "packet.shape"),
    ],
)
def test_what_a_landmark_may_not_write(field: str, value: object, code: str) -> None:
    body = canonical.decode_object(GOOD.partition(b"\n")[2]) | {field: value}
    data = seal(body, key_of("north").sign)
    assert outcome(lambda sealed: read_transcript(sealed, _anybody), data) == code


def test_no_answer_is_longer_than_its_question() -> None:
    pairs = (
        (packets.HELLO_BYTES, packets.WELCOME_BYTES),
        (packets.CHALLENGE_PACKET_BYTES, packets.ANSWER_BYTES),
        (packets.CLOSE_BYTES, packets.CLOSED_BYTES),
    )
    assert pairs == ((205, 141), (71, 55), (101, 93))
    assert all(answer <= question for question, answer in pairs)
    session = HELD.session()
    assert (len(session.hello), len(session.welcome)) == pairs[0]


READERS = (
    packets.read_hello,
    packets.read_welcome,
    packets.read_challenge,
    packets.read_answer,
    packets.read_close,
    packets.read_closed,
)


@given(st.sampled_from(READERS), st.binary(max_size=256))
def test_any_datagram_is_read_or_refused(read: Callable[[bytes], object], data: bytes) -> None:
    assert outcome(read, data) in {"", "packet.shape"}


def test_a_datagram_of_one_kind_is_none_of_another() -> None:
    session = HELD.session()
    for read in READERS[1:]:
        with pytest.raises(packets.PacketError):
            read(session.hello)
    assert [
        packets.kind_of(data) for data in (session.hello, session.welcome, b"", b"SKL1", b"SKL2\x01")
    ] == [
        1,
        2,
        0,
        0,
        0,
    ]


def test_tags_and_answers_depend_on_key_session_number_and_challenge() -> None:
    key, other = bytes(32), bytes([1] * 32)
    asked = packets.Challenge(bytes(16), 7, bytes(32))
    data = packets.make_challenge(key, asked)
    assert packets.read_challenge(data) == asked
    assert packets.tag_holds(key, data)
    assert not packets.tag_holds(other, data)
    macs = {
        packets.answer_mac(key, asked),
        packets.answer_mac(other, asked),
        packets.answer_mac(key, asked._replace(seq=8)),
        packets.answer_mac(key, asked._replace(session=bytes([1] * 16))),
        packets.answer_mac(key, asked._replace(challenge=bytes([1] * 32))),
    }
    assert len(macs) == 5


def test_answers_and_closes_come_back_as_they_were() -> None:
    close = packets.Close(bytes(16), 0b1011, bytes(range(32)))
    assert packets.read_close(packets.make_close(bytes(32), close)) == close
    answer = packets.Answer(bytes(16), 3, bytes(32))
    assert packets.read_answer(packets.make_answer(answer)) == answer
    closed = packets.Closed(bytes(16), 5, bytes(64))
    assert packets.read_closed(packets.make_closed(closed)) == closed


def test_a_share_of_low_order_opens_no_session() -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    with pytest.raises(packets.PacketError) as caught:
        packets.session_key(X25519PrivateKey.generate(), bytes(32), hello=b"", welcome=b"")
    assert caught.value.code == "packet.share"


def test_sessions_are_deterministic_for_the_tests() -> None:
    assert HELD.session() == HELD.session()
    assert replace(HELD, at_ms=HELD.at_ms + 1).session().id != HELD.session().id
