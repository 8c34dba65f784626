"""Outside the wall: what the canaries try to reach. Every nonce that arrives is remembered.

One set of listeners serves all attempts of an agent; nonces tell them apart. The listeners answer with a fixed word and
read nothing else, so they are no service to anybody who finds them.
"""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sekisho_agent import canaries
from sekisho_agent.shortpaths import make_short_folder
from sekisho_wire.messages import CanaryResult

SIOCGIFADDR: Final = 0x8915
INTERFACE_REQUEST_BYTES: Final = 256
NONCE_BYTES: Final = 12
MESSAGE_BYTES_MAX: Final = 512
HEARD_MAX: Final = 100_000


def host_address() -> str | None:
    """An IPv4 address of this machine other than loopback, or None; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack(f"{INTERFACE_REQUEST_BYTES}s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
            except OSError:
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                return address
    return None


class Listeners:
    """Open listeners on all routes; close them with `close`."""

    def __init__(self) -> None:
        self._folder = make_short_folder()
        self._heard: set[bytes] = set()
        self._guard = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._addresses = self._open()

    def targets(self, *, proxy: str | None = None) -> dict[str, canaries.Target]:
        """Fresh targets for one probe: address and nonce by route. `proxy` replaces the always-open proxy's socket."""
        addresses = dict(self._addresses)
        if proxy is not None:
            addresses["proxy_unlisted"] = proxy
        return {
            route: {"address": address, "nonce": secrets.token_hex(NONCE_BYTES)}
            for route, address in addresses.items()
        }

    def heard(self, nonce: str) -> bool:
        """Whether a nonce arrived on any route."""
        with self._guard:
            return any(nonce.encode() in message for message in self._heard)

    def forget(self, targets: Mapping[str, canaries.Target]) -> None:
        """Drop the nonces of a finished probe."""
        nonces = [target["nonce"].encode() for target in targets.values()]
        with self._guard:
            self._heard = {
                message for message in self._heard if not any(nonce in message for nonce in nonces)
            }

    def close(self) -> None:
        """Stop listening and remove the sockets."""
        for opened in self._sockets:
            with contextlib.suppress(OSError):  # a datagram socket is not connected, yet its reader wakes
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self) -> dict[str, canaries.Address]:
        host = host_address()
        path, any_proxy = str(self._folder / "daemon.sock"), str(self._folder / "proxy.sock")
        abstract = "sekisho-canary-" + secrets.token_hex(NONCE_BYTES)
        self._unix(path, self._answer)
        self._unix("\0" + abstract, self._answer)
        self._unix(any_proxy, self._answer_as_proxy)
        addresses: dict[str, canaries.Address] = {
            "tcp_loopback": self._tcp("127.0.0.1"),
            "udp": self._datagram(host or "127.0.0.1", self._answer_datagram),
            "dns": self._datagram(host or "127.0.0.1", self._answer_query),
            "unix_abstract": "@" + abstract,
            "unix_path": path,
            "raw": [host or "127.0.0.1", 0],
            "proxy_unlisted": any_proxy,
        }
        if host is not None:
            addresses["tcp_host"] = self._tcp(host)
        return addresses

    def _tcp(self, host: str) -> canaries.Address:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.bind((host, 0))
        self._listen(server, self._answer)
        return list(server.getsockname())

    def _unix(self, name: str, answer: Callable[[socket.socket], None]) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(name)
        if name.startswith("/"):
            Path(name).chmod(0o666)
        self._listen(server, answer)

    def _listen(self, server: socket.socket, answer: Callable[[socket.socket], None]) -> None:
        server.listen(64)
        self._sockets.append(server)
        _start(lambda: _serve(server, answer))

    def _datagram(self, host: str, answer: Callable[[socket.socket], None]) -> canaries.Address:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((host, 0))
        self._sockets.append(server)
        _start(lambda: _repeat(server, answer))
        return list(server.getsockname())

    def _remember(self, message: bytes) -> None:
        with self._guard:
            if len(self._heard) < HEARD_MAX:
                self._heard.add(message)

    def _answer(self, connection: socket.socket) -> None:
        self._remember(connection.recv(MESSAGE_BYTES_MAX))
        connection.sendall(canaries.ANSWER)

    def _answer_as_proxy(self, connection: socket.socket) -> None:
        self._remember(connection.recv(MESSAGE_BYTES_MAX))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    def _answer_datagram(self, server: socket.socket) -> None:
        message, sender = server.recvfrom(MESSAGE_BYTES_MAX)
        if not message:  # also what a reader gets that `close` woke
            return
        self._remember(message)
        server.sendto(canaries.ANSWER, sender)

    def _answer_query(self, server: socket.socket) -> None:
        """NXDOMAIN for whatever was asked."""
        message, sender = server.recvfrom(MESSAGE_BYTES_MAX)
        if not message:  # also what a reader gets that `close` woke
            return
        self._remember(message)
        server.sendto(message[:2] + b"\x81\x83" + message[4:], sender)


def compare(
    outside: Mapping[str, bool],
    inside: Mapping[str, bool],
    heard: Mapping[str, bool],
) -> dict[str, CanaryResult]:
    """The verdict on each route: `open`, `closed`, or `unproven` where the canary did not get through outside either.

    A route that was reached inside, or whose nonce was heard, is open whatever the outside says; so is the one that
    leads to a listener elsewhere, when that was reached.
    """
    also = {canaries.SAME_ROUTE[name] for name in canaries.OBSERVED if inside.get(name, False)}
    verdicts: dict[str, CanaryResult] = {}
    for route in canaries.ROUTES:
        if inside.get(route, False) or heard.get(route, False) or route in also:
            verdicts[route] = "open"
        else:
            verdicts[route] = "closed" if outside.get(route, False) and route in inside else "unproven"
    return verdicts


def _start(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="canary-listener", daemon=True).start()


def _serve(server: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        _start(lambda connection=connection: _one(connection, answer))


def _one(connection: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    with connection:
        connection.settimeout(2 * canaries.WAIT_SECONDS)
        try:
            answer(connection)
        except OSError:
            return


def _repeat(server: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            answer(server)
        except OSError:
            return
