"""Canonical form: equal to RFC 8785 on its subset, one spelling per value, one error for everything else."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.canonical import (
    DEPTH_MAX,
    decode,
    decode_object,
    decode_relaxed,
    digest,
    encode,
    from_base64,
    from_base64url,
    to_base64,
    to_base64url,
)
from sekisho_verify.errors import CanonicalError, VerifyError

keys = st.text(st.characters(max_codepoint=127), max_size=8)
values = st.recursive(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.booleans(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=30,
)


class Word(StrEnum):
    YES = "yes"


def nested(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


@given(values)
def test_encoding_equals_rfc_8785(value: Any) -> None:
    assert encode(value) == rfc8785.dumps(value)


@given(values)
def test_decoding_returns_what_was_encoded(value: Any) -> None:
    assert decode(encode(value)) == value


@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | values.map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_decode_to_their_only_value_or_fail_cleanly(data: bytes) -> None:
    try:
        value = decode(data)
    except VerifyError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "canonical.type"),
        (1.0, "canonical.type"),
        (float("nan"), "canonical.type"),
        (b"bytes", "canonical.type"),
        ((1, 2), "canonical.type"),
        ([{"a": {1, 2}}], "canonical.type"),
        (Word.YES, "canonical.type"),
        (2**53, "canonical.integer"),
        ([-(2**53)], "canonical.integer"),
        ({"ä": 1}, "canonical.key"),
        ({1: "one"}, "canonical.key"),
        ("\ud800", "canonical.surrogate"),
        ({"a": ["\udfff"]}, "canonical.surrogate"),
        (nested(DEPTH_MAX + 1), "canonical.depth"),
    ],
)
def test_values_without_a_canonical_form_are_refused(value: object, code: str) -> None:
    with pytest.raises(CanonicalError) as caught:
        encode(value)
    assert caught.value.code == code


def test_the_deepest_allowed_value_is_allowed() -> None:
    value = nested(DEPTH_MAX)
    assert decode(encode(value)) == value


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(CanonicalError):
        encode(value)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "canonical.json"),
        (b"\xff", "canonical.json"),
        (b"\xef\xbb\xbf1", "canonical.json"),
        (b"{", "canonical.json"),
        (b"1 2", "canonical.json"),
        (b"null", "canonical.type"),
        (b"NaN", "canonical.type"),
        (b"1.5", "canonical.type"),
        (b"1e2", "canonical.type"),
        (b"9007199254740992", "canonical.integer"),
        (b"9" * 5000, "canonical.json"),
        (b"-0", "canonical.spelling"),
        (b" 1", "canonical.spelling"),
        (b"1\n", "canonical.spelling"),
        (b'{"b":1,"a":2}', "canonical.spelling"),
        (b'{"a": 1}', "canonical.spelling"),
        (b'"\\u0041"', "canonical.spelling"),
        (b'"\\/"', "canonical.spelling"),
        (b'"\\u000a"', "canonical.spelling"),
        (b'{"a":1,"a":1}', "canonical.duplicate_key"),
        (b'{"a":{"b":1,"b":2}}', "canonical.duplicate_key"),
        (b'"\\ud800"', "canonical.surrogate"),
        (b"[" * 100_000, "canonical.depth"),
        (b"[" * 40 + b"]" * 40, "canonical.depth"),
    ],
)
def test_bytes_in_another_spelling_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(CanonicalError) as caught:
        decode(data)
    assert caught.value.code == code


def test_an_object_is_demanded_where_one_is_needed() -> None:
    assert decode_object(b'{"a":1}') == {"a": 1}
    with pytest.raises(CanonicalError, match="object"):
        decode_object(b"[1]")


def test_people_may_use_spaces_but_not_the_same_key_twice() -> None:
    assert decode_relaxed(b'{ "b": 1,\n "a": [true] }') == {"b": 1, "a": [True]}
    for data in (b'{"a":1, "a":1}', b"1.5", b"[null]"):
        with pytest.raises(CanonicalError):
            decode_relaxed(data)


def test_digest_text() -> None:
    assert digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary(max_size=50))
def test_base64_round_trips(data: bytes) -> None:
    assert from_base64url(to_base64url(data)) == data
    assert from_base64(to_base64(data)) == data
    assert "=" not in to_base64url(data)


@pytest.mark.parametrize(
    "text", ["AB", "AAB", "A", "AA==", "AA\n", " AA", "A+==", "+w", "/w", "ÄÄ", "AA AA", "\ud800", "AA="]
)
def test_a_second_spelling_of_base64url_is_refused(text: str) -> None:
    with pytest.raises(CanonicalError):
        from_base64url(text)


@pytest.mark.parametrize("text", ["AB==", "AAB=", "A", "AA", "AA=", "AA==\n", "_w==", "ÄÄ==", "AA==AA=="])
def test_a_second_spelling_of_base64_is_refused(text: str) -> None:
    with pytest.raises(CanonicalError):
        from_base64(text)


@given(st.text(max_size=12))
def test_base64_decodes_only_its_own_output(text: str) -> None:
    for decoder, encoder in ((from_base64url, to_base64url), (from_base64, to_base64)):
        try:
            data = decoder(text)
        except CanonicalError:
            continue
        assert encoder(data) == text
