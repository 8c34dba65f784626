"""Whatever arrives, decoding answers a command or one refusal, never anything else."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.http import decode
from sekisho.http.errors import RefusedError
from sekisho.http.route import Route
from sekisho.http.routes import ROUTES
from tests.http import toyserver
from tests.http.toyserver import Echo, Inner, ListThings, Things
from tests.support.toy import PutThing

PUT = next(route for route in toyserver.ROUTES if route.command is PutThing)
LIST = next(route for route in toyserver.ROUTES if route.command is ListThings)
ECHO = next(route for route in toyserver.ROUTES if route.command is Echo)
ALL = [*ROUTES, *toyserver.ROUTES]

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _check(refused: RefusedError) -> None:
    assert refused.code.startswith("input.")
    assert "\0" not in str(refused)
    str(refused).encode()


def _try(route: Route, *, body: bytes = b"", query: bytes = b"", path: str = "x") -> Any:
    given_input = decode.Input(path=dict.fromkeys(route.placeholders, path), query=query, body=body)
    try:
        return decode.command_from(route, given_input)
    except RefusedError as refused:
        _check(refused)
        return None


@settings(max_examples=300)
@given(body=st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    for route in (PUT, ECHO):
        assert _try(route, body=body) is None or isinstance(json.loads(body or b"{}"), dict)


@settings(max_examples=200)
@given(query=st.binary(max_size=100))
def test_any_query(query: bytes) -> None:
    _try(LIST, query=query)


@settings(max_examples=200)
@given(path=st.text(max_size=40), value=JSON_VALUES, route=st.sampled_from(ALL))
def test_any_json_for_any_route(path: str, value: Any, route: Route) -> None:
    fields = [name for name in route.command.__struct_fields__ if name not in route.placeholders]
    for name in ["", *fields]:
        body = json.dumps({name: value} if name else value).encode()
        _try(route, body=body if route.takes_body else b"", path=path)


@given(
    expires=st.integers(min_value=1, max_value=253_402_300_799_999),
    tags=st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), max_size=4
    ),
    colours=st.dictionaries(st.text("abc", max_size=3), st.sampled_from(["red", "blue"]), max_size=3),
)
def test_what_the_api_spells_it_reads_back(expires: int, tags: list[str], colours: dict[str, str]) -> None:
    from sekisho.http import spelling

    inner = {name: Inner(colour) for name, colour in colours.items()}
    asked = Echo(expires_ms=expires, tags=tuple(tags), inner=inner)
    body = msgspec.json.encode(spelling.answer(asked))
    assert _try(ECHO, body=body) == asked


def test_a_number_at_the_edge() -> None:
    assert _try(PUT, body=b'{"amount":9007199254740991}').amount == 2**53 - 1
    assert _try(PUT, body=b'{"amount":-9007199254740991}').amount == -(2**53) + 1
    assert _try(PUT, body=b'{"amount":-9007199254740992}') is None


@pytest.mark.parametrize(("query", "large"), [(b"large=true", True), (b"large=0", False), (b"", False)])
def test_query_values_are_read_from_their_usual_spelling(query: bytes, large: bool) -> None:
    assert _try(LIST, query=query + b"&lang=ja").large is large


def test_the_language_belongs_to_no_command() -> None:
    assert _try(LIST, query=b"lang=ja") == ListThings()


def test_the_answer_of_a_page() -> None:
    from sekisho.http import spelling

    assert spelling.answer(Things([], "")) == {"items": [], "next": None}
    assert spelling.answer([1]) == {"items": [1], "next": None}
    assert spelling.answer(None) == {}
    assert spelling.answer("x") == {"result": "x"}
    assert spelling.answer({"a_ms": 0, "b_ms": 1000, "c_ms": True}) == {
        "a_at": None,
        "b_at": "1970-01-01T00:00:01.000Z",
        "c_ms": True,
    }
