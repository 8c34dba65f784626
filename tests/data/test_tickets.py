"""A ticket opens one object in one direction until its end, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.data import Tickets
from sekisho.data.tickets import VALID_MS
from sekisho.kernel.clock import ManualClock
from sekisho.kernel.errors import SekishoError
from sekisho_verify import canonical
from tests.data.world import digest_of
from tests.support.toy import START_MS

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
A = digest_of(b"a")
WANTS = st.sampled_from(["get", "put"])
KINDS = st.sampled_from(["file", "tree"])
SIZES = st.integers(0, 2**53 - 1)


def tickets(key: bytes = KEY, now_ms: int = START_MS) -> Tickets:
    return Tickets(key, ManualClock(now_ms))


def refused(by: Tickets, ticket: str) -> None:
    with pytest.raises(SekishoError) as caught:
        by.open(ticket)
    assert (caught.value.code, caught.value.params) == ("data.ticket", {})


@given(want=WANTS, kind=KINDS, size_bytes=SIZES, content=st.binary())
def test_a_ticket_opens_what_it_was_made_for(want: str, kind: str, size_bytes: int, content: bytes) -> None:
    ticket = tickets().issue(want, digest_of(content), kind, size_bytes, into="ds_1")  # type: ignore[arg-type] - drawn from the literals
    grant = tickets().open(ticket)
    assert (grant.want, grant.object, grant.kind, grant.size_bytes) == (
        want,
        digest_of(content),
        kind,
        size_bytes,
    )
    assert grant.expires_ms == START_MS + VALID_MS


@pytest.mark.parametrize(("later_ms", "open_"), [(0, True), (VALID_MS - 1, True), (VALID_MS, False)])
def test_it_ends_to_the_millisecond(later_ms: int, open_: bool) -> None:
    ticket = tickets().issue("get", A, "file", 1, into="ds_1")
    late = tickets(now_ms=START_MS + later_ms)
    if open_:
        assert late.open(ticket).object == A
    else:
        refused(late, ticket)


def test_a_ticket_of_another_key_is_refused() -> None:
    refused(tickets(OTHER_KEY), tickets().issue("get", A, "file", 1, into="ds_1"))


@given(position=st.integers(0, 10_000), letter=st.characters())
def test_a_ticket_changed_anywhere_is_refused(position: int, letter: str) -> None:
    ticket = tickets().issue("get", A, "tree", 12, into="ds_1")
    position %= len(ticket)
    changed = ticket[:position] + letter + ticket[position + 1 :]
    if changed != ticket:
        refused(tickets(), changed)


@given(st.text(max_size=300))
def test_any_other_text_is_refused(text: str) -> None:
    refused(tickets(), text)


def test_the_parts_of_two_tickets_do_not_mix() -> None:
    get, put = (tickets().issue(want, A, "file", 1, into="ds_1") for want in ("get", "put"))  # type: ignore[arg-type] - the loop turns literals into text
    refused(tickets(), get.split(".")[0] + "." + put.split(".")[1])


@pytest.mark.parametrize(
    "grant",
    [
        {
            "want": "delete",
            "object": A,
            "kind": "file",
            "size_bytes": 1,
            "expires_ms": START_MS + 1,
            "into": "",
        },
        {"want": "get", "object": A, "kind": "file", "size_bytes": 1, "into": ""},
        {
            "want": "get",
            "object": A,
            "kind": "file",
            "size_bytes": 1,
            "expires_ms": START_MS + 1,
            "into": "",
            "more": 1,
        },
        {
            "want": "get",
            "object": A,
            "kind": "file",
            "size_bytes": "1",
            "expires_ms": START_MS + 1,
            "into": "",
        },
    ],
)
def test_a_signed_payload_of_another_shape_is_refused(grant: dict[str, object]) -> None:
    """Whatever an older or newer version may have signed."""
    maker = tickets()
    payload = canonical.encode(grant)
    mac = canonical.to_base64url(maker._mac(payload))
    refused(maker, f"{canonical.to_base64url(payload)}.{mac}")


def test_no_ticket_names_a_secret() -> None:
    payload = canonical.from_base64url(tickets().issue("get", A, "file", 1, into="ds_1").split(".")[0])
    assert set(canonical.decode_object(payload)) == {
        "want",
        "object",
        "kind",
        "size_bytes",
        "expires_ms",
        "into",
    }
