"""Where a payload may be let out to: what it asks the proxy for, and which addresses no name may lead to. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

import msgspec

HTTP_PORT: Final = 80
PORT_MAX: Final = 65_535
HOST_CHARS_MAX: Final = 253
METADATA: Final = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
"""Where clouds hand a machine its credentials, beside the link-local 169.254.169.254."""
TRANSLATED: Final = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")))
"""IPv6 addresses that are another way of writing an IPv4 one (RFC 6052, 8215, 3056)."""
_SELF: Final = frozenset({"connection", "proxy-connection", "proxy-authorization", "keep-alive", "host"})


class Destination(msgspec.Struct, frozen=True):
    """Where a client wants to go, and the head to pass on (empty for CONNECT, which gets an answer instead)."""

    host: str
    port: int
    head: bytes

    @property
    def name(self) -> str:
        """As it must stand on the list."""
        return f"{self.host}:{self.port}"

    @property
    def literal(self) -> bool:
        """Whether the host is an address rather than a name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def parse_head(head: bytes) -> Destination | None:
    """The destination of `CONNECT host:port` or of a plain `GET http://host/...`; None for anything else.

    A plain request is passed on with the destination's own name as its Host, so that a server of many names serves no
    other.
    """
    try:
        first, _, others = head.decode("ascii").partition("\r\n")
        method, target, version = first.split(" ")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            return _destination(host.strip("[]").lower(), int(port), b"")
        parts = urlsplit(target)
        if parts.scheme != "http" or not parts.hostname or method not in {"GET", "HEAD"}:
            return None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        port = parts.port or HTTP_PORT
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        host_line = f"host: {name}" if port == HTTP_PORT else f"host: {name}:{port}"
        lines = [
            line
            for line in others.split("\r\n")
            if line and line.partition(":")[0].strip().lower() not in _SELF
        ]
        passed = "\r\n".join([f"{method} {path} {version}", host_line, *lines, "connection: close", "", ""])
        return _destination(parts.hostname, port, passed.encode("ascii"))
    except ValueError:
        return None


def permitted(address: str, *, permit_private: bool) -> bool:
    """Whether a connection may go to this address, whatever name has led to it.

    Addresses of machines and private networks only where the site's operator permits them; those where a machine gets
    its credentials, groups, and addresses that stand for other addresses never.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    found = mapped or found
    odd = found.is_multicast or found.is_unspecified or found.is_link_local or found in METADATA
    if odd or any(found in network for network in TRANSLATED if network.version == found.version):
        return False
    return permit_private or found.is_global


def _destination(host: str, port: int, head: bytes) -> Destination | None:
    fits = 0 < len(host) <= HOST_CHARS_MAX and 0 <= port <= PORT_MAX
    return Destination(host=host, port=port, head=head) if fits else None
