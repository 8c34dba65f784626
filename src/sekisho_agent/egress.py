"""The egress proxy: the one door in the wall of a job that names destinations. It runs outside, one per attempt.

A destination is a `host:port` that stands on the list letter for letter. A name is resolved here, once, and the
connection goes to that address; an address that is not global is refused unless it stands on the list itself as a
number (or the operator's own configuration brought the list), so a name cannot be pointed at this machine's services.
"""

from __future__ import annotations

import ipaddress
import selectors
import shutil
import socket
import threading
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from sekisho_agent.shortpaths import make_short_folder

HEAD_BYTES_MAX: Final = 16_384
CHUNK_BYTES: Final = 65_536
HEAD_SECONDS_MAX: Final = 10.0
IDLE_SECONDS_MAX: Final = 120.0
CONNECTIONS_MAX: Final = 64
HTTP_PORT: Final = 80


class Destination(msgspec.Struct, frozen=True):
    """Where a client wants to go, and the head to pass on (empty for CONNECT, which gets an answer instead)."""

    host: str
    port: int
    head: bytes

    @property
    def name(self) -> str:
        """As it must stand on the list."""
        return f"{self.host}:{self.port}"


class EgressProxy:
    """Listens on a socket in a folder of its own until closed; counts what it let through and what not."""

    def __init__(self, allow: list[str], *, permit_private: bool = False) -> None:
        self._allow = frozenset(allow)
        self._permit_private = permit_private
        self.folder = make_short_folder()
        self.allowed_count = 0
        self.refused_count = 0
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(self.socket_path))
        self.socket_path.chmod(0o666)
        self._server.listen(CONNECTIONS_MAX)
        threading.Thread(target=self._accept, name="egress-proxy", daemon=True).start()

    @property
    def socket_path(self) -> Path:
        """The socket on the host; the wall shows its folder."""
        return self.folder / "proxy.sock"

    def close(self) -> None:
        """Take no more connections; those open end when their payload does."""
        self._server.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread, which close alone does not
        self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._slots.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(client,), name="egress", daemon=True).start()
            else:
                client.close()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                client.settimeout(HEAD_SECONDS_MAX)
                head, rest = _read_head(client)
                wanted = parse_head(head)
                upstream = self._connect(wanted) if wanted else None
                if wanted is None or upstream is None:
                    self.refused_count += 1
                    client.sendall(
                        b"HTTP/1.1 403 Not on the list\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    )
                    return
                self.allowed_count += 1
                with upstream:
                    _relay(client, upstream, wanted, rest)
            except OSError:
                return
            finally:
                self._slots.release()

    def _connect(self, wanted: Destination) -> socket.socket | None:
        """A connection to a listed destination, or None. OSError when it is listed but does not answer."""
        if wanted.name not in self._allow:
            return None
        found = socket.getaddrinfo(wanted.host, wanted.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found:
            if not self._permitted(wanted.host, str(address[0])):
                continue
            upstream = socket.socket(family, kind, protocol)
            upstream.settimeout(HEAD_SECONDS_MAX)
            try:
                upstream.connect(address)
            except OSError:
                upstream.close()
                continue
            return upstream
        return None

    def _permitted(self, host: str, address: str) -> bool:
        if self._permit_private or host == address:
            return True
        return ipaddress.ip_address(address.partition("%")[0]).is_global


def parse_head(head: bytes) -> Destination | None:
    """The destination of `CONNECT host:port` or of a plain `GET http://host/...`; None for anything else."""
    try:
        first, _, others = head.decode("ascii").partition("\r\n")
        method, target, version = first.split(" ")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            return Destination(host=host.strip("[]").lower(), port=int(port), head=b"")
        parts = urlsplit(target)
        if parts.scheme != "http" or not parts.hostname or method not in {"GET", "HEAD"}:
            return None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [line for line in others.split("\r\n") if line and not _hop_header(line)]
        passed = "\r\n".join([f"{method} {path} {version}", *lines, "connection: close", "", ""])
        return Destination(host=parts.hostname, port=parts.port or HTTP_PORT, head=passed.encode("ascii"))
    except ValueError:
        return None


def _hop_header(line: str) -> bool:
    return line.partition(":")[0].strip().lower() in {
        "connection",
        "proxy-connection",
        "proxy-authorization",
        "keep-alive",
    }


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = client.recv(CHUNK_BYTES)
        if not chunk or len(received) > HEAD_BYTES_MAX:
            return b"", b""
        received += chunk
    head, _, rest = received.partition(b"\r\n\r\n")
    return head + b"\r\n", rest


def _relay(client: socket.socket, upstream: socket.socket, wanted: Destination, rest: bytes) -> None:
    """For CONNECT both ways; for a plain request its one answer only, as a second request could name another host."""
    upstream.sendall(wanted.head or rest)
    if not wanted.head:
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    partners = {upstream: client} if wanted.head else {client: upstream, upstream: client}
    with selectors.DefaultSelector() as selector:
        for side in partners:
            side.settimeout(IDLE_SECONDS_MAX)
            selector.register(side, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(IDLE_SECONDS_MAX)
            if not ready:
                return
            for key, _ in ready:
                source = client if key.fileobj is client else upstream
                chunk = source.recv(CHUNK_BYTES)
                if chunk:
                    partners[source].sendall(chunk)
                    continue
                selector.unregister(source)
                partners[source].shutdown(socket.SHUT_WR)
