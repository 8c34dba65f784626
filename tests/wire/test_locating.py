"""Addresses and tasks of landmarks: what a resolver or a file's name would choke on never gets that far."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sekisho_verify.canonical import to_base64url
from sekisho_wire.locating import Task, host_and_port

KEY = to_base64url(bytes(32))
TASK = Task("prq_1", "site", "site_1", KEY, "192.0.2.7:7700", KEY, 30)

GOOD = {
    "192.0.2.7:7700": ("192.0.2.7", 7700),
    "answers.example:1": ("answers.example", 1),
    "answers.example.:65535": ("answers.example.", 65535),
    "[2001:db8::7]:7700": ("2001:db8::7", 7700),
    "[::ffff:192.0.2.7]:7700": ("::ffff:c000:207", 7700),
}
BAD = (
    *("", ":", "host", "host:", ":7700", "host:0", "host:65536", "host:07", "host:7 ", "host:7\n", "host:٧"),
    *("a..b:1", ".a:1", "-a:1", "a-:1", f"{'a' * 64}.example:1", f"{'a.' * 127}a:1", "ホスト:1", "a_b:1"),
    *("[::1:7700", "::1:7700", "[]:1", "[::1]7", "[1:2]:7", "[fe80::1%lo]:7", "[host]:7", "user@host:7"),
)


@pytest.mark.parametrize("address", GOOD)
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    assert host_and_port(address) == GOOD[address]


@pytest.mark.parametrize("address", BAD)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        host_and_port(address)


@given(st.from_regex(r"[A-Za-z0-9.:\[\]-]{1,300}:[0-9]{1,6}") | st.text())
@example("a" * 64 + ":1")
def test_whatever_passes_can_be_given_to_a_resolver(address: str) -> None:
    try:
        host, port = host_and_port(address)
    except ValueError:
        return
    assert host.encode("idna")
    assert 0 < port < 65536


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", "../../etc"),
        ("target", "a/b"),
        ("target", "."),
        ("target", ""),
        ("target", "x" * 65),
        ("target", "a\n"),
        ("request", "../x"),
        ("public_key", "AAAA"),
        ("nonce", KEY + "A"),
        ("seconds", -1),
        ("address", "x" * 301),
    ],
)
def test_a_task_names_nothing_but_names(field: str, value: object) -> None:
    body = msgspec.to_builtins(TASK)
    assert msgspec.convert(body, Task) == TASK
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body | {field: value}, Task)
