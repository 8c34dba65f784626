"""Stores in Japan, as the charter's owner gives them: IP networks in the annotation `@stores_jp` of a policy.

Names are not enough: what a name leads to is decided elsewhere, and a shared front serves many. The annotation is part
of the charter's text, so it stands in its digest and is changed by two people like everything else in it.
"""

from __future__ import annotations

import functools
import ipaddress

from sekisho.charter import tables
from sekisho.charter.policies import read_policies
from sekisho.kernel.tx import Tx

ANNOTATION = "stores_jp"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def stores_jp(tx: Tx) -> tuple[Network, ...]:
    """The networks of the charter in force; empty where it names none, or there is no charter."""
    row = tables.active(tx)
    return _named(row["policies"]) if row else ()


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks separated by commas or spaces; ValueError for anything else, or for none."""
    words = text.replace(",", " ").split()
    if not words:
        raise ValueError("no network")
    return tuple(ipaddress.ip_network(word) for word in words)


@functools.lru_cache(maxsize=8)
def _named(policies: str) -> tuple[Network, ...]:
    found: list[Network] = []
    for policy in read_policies(policies):
        text = policy.annotations.get(ANNOTATION)
        if text is not None:
            found += read_networks(text)
    return tuple(found)
