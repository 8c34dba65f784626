"""Closes the two ways out that pytest-socket leaves open: name lookups and datagrams.

pytest-socket guards `connect`; a lookup or a UDP packet to another host would still leave the machine.
Loopback and Unix sockets work. Child processes are not covered.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

_LOCAL_NAMES = frozenset({"", "localhost", "localhost.localdomain"})


class NetworkUsedError(RuntimeError):
    """A test tried to reach another host."""


def is_local(host: object) -> bool:
    """Whether a host as given to the socket module stays on this machine; None and "" bind everywhere."""
    if host is None:
        return True
    text = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)
    if text.lower() in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def close_the_network(patch: pytest.MonkeyPatch) -> None:
    """Guard lookups and datagrams until `patch` is undone."""
    lookup, send = socket.getaddrinfo, socket.socket.sendto

    def guarded_lookup(host: Any, *arguments: Any, **options: Any) -> Any:
        if not is_local(host):
            raise NetworkUsedError(f"looked up {host!r}")
        return lookup(host, *arguments, **options)

    def guarded_send(self: socket.socket, *arguments: Any) -> int:
        address = arguments[-1]
        if self.family in {socket.AF_INET, socket.AF_INET6} and not is_local(address[0]):
            raise NetworkUsedError(f"sent a datagram to {address[0]!r}")
        return send(self, *arguments)

    patch.setattr(socket, "getaddrinfo", guarded_lookup)
    patch.setattr(socket.socket, "sendto", guarded_send)
