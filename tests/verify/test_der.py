"""DER: one spelling for everything, in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import der
from sekisho_verify.der import DerError


@given(st.integers(-(2**80), 2**80))
def test_an_integer_reads_as_written(value: int) -> None:
    assert der.integer(der.read_one(der.write_integer(value))) == value


@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 2**40), max_size=5))
def test_an_object_identifier_reads_as_written(first: int, second: int, rest: list[int]) -> None:
    text = ".".join(map(str, [first, second, *rest]))
    assert der.oid(der.read_one(der.write_oid(text))) == text


@given(st.integers(0, 70_000))
def test_every_length_has_one_form(size: int) -> None:
    whole = der.write(der.OCTETS, bytes(size))
    item = der.read_one(whole, der.OCTETS)
    assert (len(item.content), item.whole) == (size, whole)


def test_a_sequence_is_its_parts() -> None:
    whole = der.write(der.SEQUENCE, der.write_integer(1), der.write_integer(-129))
    assert [der.integer(item) for item in der.read_all(der.read_one(whole, der.SEQUENCE).content)] == [
        1,
        -129,
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "der.truncated"),
        (b"\x02", "der.truncated"),
        (b"\x1f\x01\x00", "der.truncated"),
        (b"\x04\x02a", "der.truncated"),
        (b"\x04\x81\x01a", "der.length"),
        (b"\x04\x80", "der.length"),
        (b"\x04\x82\x00\x80" + bytes(128), "der.length"),
        (b"\x04\x84\x00\x00\x00\x01a", "der.length"),
        (b"\x04\x82\x01", "der.length"),
        (b"\x04\x01ab", "der.trailing"),
    ],
)
def test_another_form_is_none(data: bytes, code: str) -> None:
    with pytest.raises(DerError) as caught:
        der.read_one(data)
    assert caught.value.code == code


@pytest.mark.parametrize("content", [b"", b"\x00\x01", b"\xff\xff", b"\x00\x7f"])
def test_an_integer_has_one_form(content: bytes) -> None:
    with pytest.raises(DerError):
        der.integer(der.read_one(der.write(der.INTEGER, content)))


@pytest.mark.parametrize("content", [b"", b"\x80", b"\x2a\x80\x01", b"\x2a\x86", bytes(33)])
def test_an_object_identifier_has_one_form(content: bytes) -> None:
    with pytest.raises(DerError):
        der.oid(der.read_one(der.write(der.OID, content)))


def test_a_tag_is_checked() -> None:
    with pytest.raises(DerError) as caught:
        der.read_one(der.write_integer(1), der.OCTETS)
    assert caught.value.code == "der.tag"
