"""Sealed messages: the signature covers every byte of the object, and the object is an agent's message or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.canonical import from_base64url
from sekisho_verify.errors import RecordError, SignatureError, VerifyError
from sekisho_verify.sealed import open_sealed, read_agent_message, seal
from tests.verify.builders import AGENT, AGENT_ID, agent_message, make_id

KEY = AGENT.key.public


def sealed(**changes: object) -> bytes:
    content = open_sealed(from_base64url(str(agent_message(3, {"kind": "started"})["message"])), KEY)
    return seal(content | changes, AGENT.sign)


def test_a_sealed_message_opens_with_its_key() -> None:
    message = read_agent_message(open_sealed(sealed(), KEY))
    assert message[:4] == (AGENT_ID, "main", 3, make_id("att", 1))
    assert message.body == {"kind": "started"}


def test_every_flipped_bit_is_refused() -> None:
    data = sealed()
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            with pytest.raises(VerifyError):
                open_sealed(bytes(changed), KEY)


def test_another_key_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_sealed(sealed(), bytes(32))


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"AAAA\n{}", b"\xff\n{}", sealed().replace(b"\n", b""), sealed()[1:]]
)
def test_bytes_that_are_no_sealed_message_are_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        open_sealed(data, KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": "agt"},
        {"agent": 1},
        {"lane": "Main"},
        {"lane": 1},
        {"seq": -1},
        {"seq": True},
        {"attempt": "a b"},
        {"attempt": 1},
        {"token": True},
        {"token": []},
        {"time": 5},
        {"body": []},
        {"body": {}},
        {"body": {"kind": 1}},
        {"more": 1},
    ],
)
def test_fields_of_the_wrong_shape_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        read_agent_message(open_sealed(sealed(**changes), KEY))


def test_a_field_missing_is_refused() -> None:
    value = open_sealed(sealed(), KEY)
    for name in ("agent", "lane", "seq", "time", "body"):
        with pytest.raises(RecordError):
            read_agent_message({key: item for key, item in value.items() if key != name})
    without = {key: item for key, item in value.items() if key not in {"attempt", "token"}}
    assert read_agent_message(open_sealed(seal(without, AGENT.sign), KEY)).attempt == ""


@given(st.binary(max_size=200))
def test_no_other_exception_escapes(data: bytes) -> None:
    with pytest.raises(VerifyError):
        open_sealed(data, KEY)
