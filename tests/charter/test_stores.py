"""Stores in Japan: read from the charter in force, and from nothing else."""

from __future__ import annotations

import ipaddress

import pytest

from sekisho.charter import stores_jp, tables
from sekisho.charter.stores import read_networks
from sekisho.kernel.db import open_database
from sekisho.kernel.tx import Tx

PERMIT = "permit (principal, action, resource);"
CHARTERS = {
    f'@id("a") {PERMIT}': (),
    f'@id("a") @stores_jp("203.0.113.0/24, 2001:db8::/32") {PERMIT}\n@id("b") @stores_jp("198.51.100.7") {PERMIT}': (
        "203.0.113.0/24",
        "2001:db8::/32",
        "198.51.100.7/32",
    ),
}


@pytest.mark.parametrize("policies", CHARTERS)
def test_the_networks_of_the_charter_in_force(db_url: str, policies: str) -> None:
    database = open_database(db_url)

    def activate(tx: Tx) -> None:
        with tx.claimed_by("rec_1"):
            tables.insert(
                tx,
                version="chv_1",
                digest="d",
                policies=policies,
                schema="{}",
                state="active",
                drafted_by="usr_a",
                drafted_ms=5,
                activated_ms=5,
            )

    try:
        assert database.read(stores_jp) == ()
        database.write(activate)
        expected = tuple(ipaddress.ip_network(text) for text in CHARTERS[policies])
        assert database.read(stores_jp) == expected
    finally:
        database.close()


@pytest.mark.parametrize(
    "text", ["", " , ", "store.example.jp", "203.0.113.7/24", "203.0.113.0/33", "203.0.113.0/24;"]
)
def test_anything_but_networks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_networks(text)
