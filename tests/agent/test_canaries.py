from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent import canaries, listeners
from sekisho_agent.canaries import dns_query, echo_request, probe
from sekisho_agent.listeners import Listeners, compare
from sekisho_wire.messages import CANARY_ROUTES


@pytest.fixture
def open_listeners(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listeners]:
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    running = Listeners()
    yield running
    running.close()


def test_the_routes_are_the_ones_that_reports_name() -> None:
    assert tuple(canaries.ROUTES) == CANARY_ROUTES


def test_every_canary_gets_through_outside(open_listeners: Listeners) -> None:
    """What proves the canaries: without a wall they are heard, each with its own nonce."""
    targets = open_listeners.targets()
    reached = probe({route: target for route, target in targets.items() if route != "raw"})
    assert reached == dict.fromkeys(reached, True)
    assert len(reached) == 6
    assert all(open_listeners.heard(targets[route]["nonce"]) for route in reached)
    other = open_listeners.targets()
    assert not any(open_listeners.heard(target["nonce"]) for target in other.values())
    open_listeners.forget(targets)
    assert not any(open_listeners.heard(target["nonce"]) for target in targets.values())


def test_nothing_is_reached_when_nobody_listens(open_listeners: Listeners) -> None:
    targets = open_listeners.targets()
    open_listeners.close()
    del targets["raw"]
    assert probe(targets) == dict.fromkeys(targets, False)


@pytest.mark.parametrize(
    ("outside", "inside", "heard", "verdict"),
    [
        (True, False, False, "closed"),
        (True, True, False, "open"),
        (True, False, True, "open"),
        (False, False, False, "unproven"),
        (False, True, False, "open"),
        (False, False, True, "open"),
    ],
)
def test_verdicts(outside: bool, inside: bool, heard: bool, verdict: str) -> None:
    found = compare({"udp": outside}, {"udp": inside}, {"udp": heard})
    assert found["udp"] == verdict
    assert {result for route, result in found.items() if route != "udp"} == {"unproven"}


def test_a_route_the_inside_did_not_try_is_unproven() -> None:
    assert compare({"udp": True}, {}, {})["udp"] == "unproven"


def test_a_dns_query_is_well_formed() -> None:
    assert dns_query(b"ab") == (
        b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02ab\x06canary\x07invalid\x00\x00\x01\x00\x01"
    )


@given(st.binary(max_size=64))
def test_an_echo_request_has_the_right_checksum(nonce: bytes) -> None:
    packet = echo_request(nonce)
    total = sum(int.from_bytes(packet[i : i + 2], "big") for i in range(0, len(packet), 2))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    assert total == 0xFFFF
