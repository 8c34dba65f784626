"""Where a payload may be let out to: what it asks the proxy for, and which addresses no name may lead to. Pure.

A request's head is read by the grammar of RFC 9112 and RFC 3986 and by nothing looser, because whoever reads it next
may read it otherwise: one head must be one request, to one host, for everybody. What goes on is written anew from what
was understood, never copied.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import msgspec

HTTP_PORT: Final = 80
PORT_MAX: Final = 65_535
HOST_CHARS_MAX: Final = 253
FIELDS_MAX: Final = 100
NEVER: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
            *("fd00:42::42/128", "fd00:c1::a9fe:a9fe/128", "fd00:ec2::/32", "fd20:ce::254/128"),
            *(
                "192.88.99.0/24",
                "::/96",
                "::ffff:0:0:0/96",
                "64:ff9b::/96",
                "64:ff9b:1::/48",
                "2001::/32",
                "2002::/16",
            ),
            "fec0::/10",
        ),
    )
)
"""Where no name leads, whatever an operator permits. First where clouds hand a machine its credentials and its orders,
beside link-local addresses; then ways of writing or relaying to an IPv4 address (RFC 7526, 4291, 2765, 6052, 8215, 4380
and 3056); last what once was private to a site (RFC 3879).
"""
LOOPBACK: Final = ipaddress.ip_address("::1")
"""Lies in one of these networks, yet is what it is."""
FRAMING: Final = frozenset(
    {"content-length", "expect", "http2-settings", "trailer", "transfer-encoding", "upgrade"}
)
"""Fields that announce a body or another protocol: no request that is passed on has either."""
OPTIONS: Final = frozenset({"close", "keep-alive", "te"})
"""What `Connection` may say; none of it is passed on."""
PASSED: Final = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "authorization",
        "cache-control",
        "cookie",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "pragma",
        "range",
        "referer",
        "user-agent",
    }
)
"""Fields that are passed on; others stay here, because some servers let them stand for another host or method."""

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
_PORT = r"(?P<port>[1-9][0-9]{0,4})"
_CHARS = r"A-Za-z0-9._~!$&'()*+,;=:@/-"
_CONNECT = re.compile(rf"CONNECT (?P<authority>{_HOST}:{_PORT}) HTTP/1\.[01]")
_PLAIN = re.compile(
    rf"(?P<method>GET|HEAD) http://(?P<authority>{_HOST}(?::{_PORT})?)(?P<path>(?:/(?:[{_CHARS}]|%[0-9A-Fa-f]{{2}})*)?)"
    rf"(?P<query>(?:\?(?:[?{_CHARS}]|%[0-9A-Fa-f]{{2}})*)?) (?P<version>HTTP/1\.[01])"
)
_FIELD = re.compile(r"(?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]+):(?P<value>[\t -~]*)")


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

    `head` ends with the CRLF of its last line. A plain request is passed on with the destination's own name as its
    Host, so that a server of many names serves no other.
    """
    try:
        first, *lines, last = head.decode("ascii").split("\r\n")
    except ValueError:
        return None
    fields, connect = _fields(lines), _CONNECT.fullmatch(first)
    found = connect or _PLAIN.fullmatch(first)
    if last or found is None or fields is None or not _harmless(fields, found["authority"], found["host"]):
        return None
    host, port = found["host"].strip("[]").lower(), int(found["port"] or HTTP_PORT)
    if len(host) > HOST_CHARS_MAX or port > PORT_MAX:
        return None
    return Destination(host, port, b"" if connect else _passed(found, port, fields))


def _fields(lines: list[str]) -> list[tuple[str, str]] | None:
    """Names in lower case, and values; None where a line is none, such as one that goes on from the line before."""
    found = [_FIELD.fullmatch(line) for line in lines[:FIELDS_MAX]]
    fields = [(one["name"].lower(), one["value"].strip(" \t")) for one in found if one is not None]
    return fields if len(fields) == len(lines) else None


def _harmless(fields: list[tuple[str, str]], authority: str, host: str) -> bool:
    """Whether no field gives the request a body, another protocol or another host."""
    options = ",".join(value for name, value in fields if name == "connection").lower()
    hosts = [value.lower() for name, value in fields if name == "host"]
    return (
        not any(name in FRAMING for name, _ in fields)
        and {option.strip(" \t") for option in options.split(",")} <= OPTIONS | {""}
        and len(hosts) <= 1
        and all(given in {authority.lower(), host.lower()} for given in hosts)
    )


def _passed(found: re.Match[str], port: int, fields: list[tuple[str, str]]) -> bytes:
    name = found["host"].lower()
    lines = [
        f"{found['method']} {found['path'] or '/'}{found['query']} {found['version']}",
        f"host: {name}" if port == HTTP_PORT else f"host: {name}:{port}",
        *(f"{name}: {value}" for name, value in fields if name in PASSED),
        "connection: close",
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


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
    odd = found.is_multicast or found.is_unspecified or found.is_link_local
    never = any(found in network for network in NEVER if network.version == found.version)
    if odd or (never and found != LOOPBACK):
        return False
    return permit_private or found.is_global
