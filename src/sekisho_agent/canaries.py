"""Eight ways out of a wall, tried by the same code outside (where each must succeed) and inside (where none may).

Standard library only: it also runs inside the wall. A route counts as reached when its listener's answer comes back; a
listener that heard the nonce without an answer getting through counts as well, which only the outside can know.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from typing import Final, TypedDict

WAIT_SECONDS: Final = 1.0
ANSWER: Final = b"heard"
ANSWER_BYTES_MAX: Final = 512
ICMP_ECHO_REQUEST: Final = 8
IPV4_HEADER_WORD_BYTES: Final = 4

Address = str | list[str | int]


class Target(TypedDict):
    """Where a canary goes: a path, `@` and an abstract name, or host and port; and what it carries."""

    address: Address
    nonce: str


def probe(targets: Mapping[str, Target]) -> dict[str, bool]:
    """Which routes were reached. A target is {"address": ..., "nonce": text}; routes without a target are left out."""
    known = {**ROUTES, **OBSERVED}
    return {route: _reached(known[route], target) for route, target in targets.items() if route in known}


def _reached(reach: Callable[[Address, bytes], bool], target: Target) -> bool:
    """Any error of the system is a closed route: what cannot be reached for whatever reason is not reached."""
    try:
        return reach(target["address"], target["nonce"].encode("ascii"))
    except OSError:
        return False


def _tcp(address: Address, nonce: bytes) -> bool:
    with socket.create_connection(_pair(address), WAIT_SECONDS) as connection:
        connection.sendall(nonce)
        return connection.recv(ANSWER_BYTES_MAX) == ANSWER


def _unix(address: Address, nonce: bytes) -> bool:
    """A path, or an abstract name written with a leading `@`."""
    name = _name(address)
    name = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT_SECONDS)
        connection.connect(name)
        connection.sendall(nonce)
        return connection.recv(ANSWER_BYTES_MAX) == ANSWER


def _udp(address: Address, nonce: bytes) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(WAIT_SECONDS)
        connection.connect(_pair(address))  # so that a refusal comes back as an error, not as silence
        connection.send(nonce)
        return connection.recv(ANSWER_BYTES_MAX) == ANSWER


def _dns(address: Address, nonce: bytes) -> bool:
    """A real query for the A record of `<nonce>.canary.invalid`."""
    query = dns_query(nonce)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(WAIT_SECONDS)
        connection.connect(_pair(address))
        connection.send(query)
        return connection.recv(ANSWER_BYTES_MAX)[:2] == query[:2]


def dns_query(nonce: bytes) -> bytes:
    """The query's bytes: header with one question, name in labels, type A, class IN (RFC 1035 4.1)."""
    header = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label for label in (nonce, b"canary", b"invalid"))
    return header + labels + b"\0" + struct.pack(">2H", 1, 1)


def _raw(address: Address, nonce: bytes) -> bool:
    """An ICMP echo that carries the nonce; the host's own reply counts, told from the request by its type."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as connection:
        connection.settimeout(WAIT_SECONDS)
        connection.sendto(echo_request(nonce), (_pair(address)[0], 0))
        while True:
            packet = connection.recv(ANSWER_BYTES_MAX)
            header_bytes = (packet[0] & 0x0F) * IPV4_HEADER_WORD_BYTES
            if packet[header_bytes] != ICMP_ECHO_REQUEST and nonce in packet:
                return True


def echo_request(nonce: bytes) -> bytes:
    """An ICMP echo request (RFC 792) with the internet checksum in place."""
    body = struct.pack(">BBHHH", ICMP_ECHO_REQUEST, 0, 0, 1, 1) + nonce + b"\0" * (len(nonce) % 2)
    total = sum(struct.unpack(f">{len(body) // 2}H", body))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return body[:2] + struct.pack(">H", checksum) + body[4:]


def _proxy(address: Address, nonce: bytes) -> bool:
    """Asks the egress proxy's socket for a destination that no list names; the nonce is part of the name."""
    name = f"{nonce.decode()}.canary.invalid:443"
    request = f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT_SECONDS)
        connection.connect(_name(address))
        connection.sendall(request.encode())
        return connection.recv(ANSWER_BYTES_MAX).startswith(b"HTTP/1.1 200")


def _pair(address: Address) -> tuple[str, int]:
    host, port = address
    return str(host), int(port)


def _name(address: Address) -> str:
    return address if isinstance(address, str) else ""


ROUTES: Final[Mapping[str, Callable[[Address, bytes], bool]]] = {
    "tcp_loopback": _tcp,
    "tcp_host": _tcp,
    "udp": _udp,
    "dns": _dns,
    "unix_abstract": _unix,
    "unix_path": _unix,
    "raw": _raw,
    "proxy_unlisted": _proxy,
}
OBSERVED: Final[Mapping[str, Callable[[Address, bytes], bool]]] = {
    "listener_tcp": _tcp,
    "listener_udp": _udp,
    "listener_dns": _dns,
}
"""Towards a listener outside the site, which says itself what arrived."""
SAME_ROUTE: Final[Mapping[str, str]] = {
    "listener_tcp": "tcp_host",
    "listener_udp": "udp",
    "listener_dns": "dns",
}
"""The route of the agent's own report that is open where one to a listener is."""
