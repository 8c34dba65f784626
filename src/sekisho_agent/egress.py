"""The egress proxy: the one door in the wall of a job that names destinations. It runs outside, one per attempt.

A destination is a `host:port` that stands on the list letter for letter. A name is resolved here and nowhere else, each
time anew, and the connection goes to an address that was looked at (`destinations.permitted`), so a name cannot be
pointed at this machine, its network or its credentials. An address is a destination only where the list has it as such.

What a client sends through CONNECT must be TLS that asks for the very name it gave us: a server of many names serves
the listed one, and nothing but TLS passes. A plain request goes out with the listed name as its Host.

Known limit: what is said inside TLS is not read, so a server can still be asked for another of its own pages by a
client that the server lets name one thing outside and another inside.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import shutil
import socket
import threading
from pathlib import Path
from typing import Any, Final

from sekisho_agent import clock
from sekisho_agent.destinations import Destination, parse_head, permitted
from sekisho_agent.hello import HELLO_BYTES_MAX, HelloError, asked_name
from sekisho_agent.shortpaths import make_short_folder
from sekisho_wire.egress import (
    ADDRESSES_MAX,
    DESTINATIONS_MAX,
    REFUSED_MAX,
    EgressReport,
    Held,
    Reached,
)

HEAD_BYTES_MAX: Final = 16_384
CHUNK_BYTES: Final = 65_536
HEAD_SECONDS_MAX: Final = 10.0
IDLE_SECONDS_MAX: Final = 120.0
LAST_BYTES_SECONDS_MAX: Final = 3.0
CONNECTIONS_MAX: Final = 64
MALFORMED, UNLISTED, ADDRESS, NO_TLS, NAME, BUSY = (
    "malformed",
    "not_listed",
    "address",
    "not_tls",
    "other_name",
    "busy",
)
"""Why something was refused: no request; not on the list; a forbidden address; then what CONNECT carried; too many."""
UNNAMED: Final = "-"

_FORBIDDEN = b"HTTP/1.1 403 Not on the list\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_UNREACHED = b"HTTP/1.1 502 Not reached\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_OPENED = b"HTTP/1.1 200 OK\r\n\r\n"


class _RefusedError(Exception):
    """Not let through; the text is the reason."""


def led_to(host: str, port: int, *, permit_private: bool) -> list[tuple[Any, ...]]:
    """Where a name leads now, as `socket.getaddrinfo` has it, without the addresses that nobody may be let out to.

    OSError or UnicodeError for a name that leads nowhere.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [each for each in found if _open_to(each[0], each[4], permit_private=permit_private)]


def _open_to(family: int, address: tuple[object, ...], *, permit_private: bool) -> bool:
    """As `destinations.permitted`; every address of this machine is private, also one that the world can reach."""
    if not permitted(str(address[0]), permit_private=permit_private):
        return False
    return permit_private or not is_own(family, address)


class Tally:
    """What was let through and what was refused, bounded in memory whatever a payload asks for. For any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._reached: dict[str, list[int]] = {}
        self._addresses: dict[str, dict[str, None]] = {}
        self._refused: dict[tuple[str, str], int] = {}
        self._refused_count = 0

    def refuse(self, destination: str, reason: str) -> None:
        """Count one refusal; beyond the first kinds, only its number."""
        with self._guard:
            self._refused_count += 1
            key = destination[:300], reason
            if key in self._refused or len(self._refused) < REFUSED_MAX:
                self._refused[key] = self._refused.get(key, 0) + 1

    def connect(self, destination: str, address: str) -> None:
        """Count one connection to a listed destination; the list is shorter than what is kept."""
        with self._guard:
            self._reached.setdefault(destination, [0, 0, 0])[0] += 1
            known = self._addresses.setdefault(destination, {})
            if len(known) < ADDRESSES_MAX:
                known[address] = None

    def carry(self, destination: str, size: int, *, sent: bool) -> None:
        """Count bytes of a connection, in the payload's direction."""
        with self._guard:
            self._reached[destination][1 if sent else 2] += size

    def report(self, mechanism: str) -> EgressReport:
        """All of it."""
        with self._guard:
            reached = [
                Reached(name, connections, sent, received, list(self._addresses[name]))
                for name, (connections, sent, received) in sorted(self._reached.items())
            ]
            refused = [Held(name, reason, count) for (name, reason), count in sorted(self._refused.items())]
            return EgressReport(mechanism, reached[:DESTINATIONS_MAX], refused, self._refused_count)


class EgressProxy:
    """Listens on a socket in a folder of its own until closed."""

    def __init__(self, allow: list[str], *, permit_private: bool = False) -> None:
        self._allow = frozenset(each.lower().replace("[", "").replace("]", "") for each in allow)
        self._permit_private = permit_private
        self.folder = make_short_folder()
        self.tally = Tally()
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._guard = threading.Condition()
        self._open: set[socket.socket] = set()
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
        """Take no more connections, and end those that are open once their last bytes are through, or after a moment.

        The tally is complete afterwards.
        """
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread, which close alone does not
        self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        give_up = clock.monotonic() + LAST_BYTES_SECONDS_MAX
        with self._guard:
            self._guard.wait_for(lambda: not self._open, LAST_BYTES_SECONDS_MAX)
            for side in self._open:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
            self._guard.wait_for(lambda: not self._open, max(1.0, give_up - clock.monotonic()))

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._slots.acquire(blocking=False):
                self._keep(client)
                threading.Thread(target=self._serve, args=(client,), name="egress", daemon=True).start()
            else:
                self.tally.refuse(UNNAMED, BUSY)
                client.close()

    def _keep(self, side: socket.socket) -> None:
        with self._guard:
            self._open.add(side)

    def _drop(self, *sides: socket.socket) -> None:
        with self._guard:
            for side in sides:
                side.close()
            self._open.difference_update(sides)
            self._guard.notify_all()

    def _serve(self, client: socket.socket) -> None:
        try:
            client.settimeout(HEAD_SECONDS_MAX)
            self._pass(client)
        except OSError:  # one of the two sides is gone
            return
        finally:
            self._drop(client)
            self._slots.release()

    def _pass(self, client: socket.socket) -> None:
        """One request from its head to the end of its connection."""
        head, rest = _read_head(client)
        wanted = parse_head(head)
        name = wanted.name if wanted else UNNAMED
        try:
            upstream = self._connect(wanted)
        except _RefusedError as error:
            self.tally.refuse(name, str(error))
            client.sendall(_FORBIDDEN)
            return
        except OSError:
            client.sendall(_UNREACHED)
            return
        self._keep(upstream)
        try:
            if wanted is not None:
                self._relay(client, upstream, wanted, rest)
        except _RefusedError as error:
            self.tally.refuse(name, str(error))
        finally:
            self._drop(upstream)

    def _connect(self, wanted: Destination | None) -> socket.socket:
        """A connection to a listed destination. OSError when it is listed but does not answer."""
        if wanted is None:
            raise _RefusedError(MALFORMED)
        if wanted.name not in self._allow:
            raise _RefusedError(UNLISTED)
        open_to = led_to(wanted.host, wanted.port, permit_private=self._permit_private)
        if not open_to:
            raise _RefusedError(ADDRESS)
        for family, kind, protocol, _, address in open_to:
            upstream = socket.socket(family, kind, protocol)
            upstream.settimeout(HEAD_SECONDS_MAX)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                upstream.connect(address)
            except OSError:
                upstream.close()
                continue
            self.tally.connect(wanted.name, str(address[0]))
            return upstream
        raise OSError("none of its addresses answers")

    def _relay(
        self, client: socket.socket, upstream: socket.socket, wanted: Destination, rest: bytes
    ) -> None:
        """For CONNECT both ways; for a plain request its one answer only: a second request could name another host."""
        if wanted.head:
            first, partners = wanted.head, {upstream: client}
        else:
            client.sendall(_OPENED)
            first, partners = _checked_hello(client, wanted, rest), {client: upstream, upstream: client}
        upstream.sendall(first)
        self.tally.carry(wanted.name, len(first), sent=True)
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
                        self.tally.carry(wanted.name, len(chunk), sent=source is client)
                        continue
                    selector.unregister(source)
                    partners[source].shutdown(socket.SHUT_WR)


def is_own(family: int, address: tuple[object, ...]) -> bool:
    """Whether this machine has the address: only then, or where its kernel is told otherwise, may it be bound."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address[0], 0, *address[2:]))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _checked_hello(client: socket.socket, wanted: Destination, received: bytes) -> bytes:
    """The client's first bytes, once they are TLS that asks for the destination's own name. Nothing was sent on yet."""
    give_up = clock.monotonic() + HEAD_SECONDS_MAX
    try:
        while (name := asked_name(received)) is None:
            chunk = _received(client, give_up)
            if not chunk or len(received) > HELLO_BYTES_MAX:
                raise _RefusedError(NO_TLS)
            received += chunk
    except (HelloError, TimeoutError) as error:
        raise _RefusedError(NO_TLS) from error
    client.settimeout(HEAD_SECONDS_MAX)
    if name != ("" if wanted.literal else wanted.host):
        raise _RefusedError(NAME)
    return received


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """The head with the CRLF of its last line, and what came after it; nothing where there is no head."""
    give_up = clock.monotonic() + HEAD_SECONDS_MAX
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        chunk = _received(client, give_up)
        if not chunk or len(received) > HEAD_BYTES_MAX:
            return b"", b""
        received += chunk
    client.settimeout(HEAD_SECONDS_MAX)
    return (received[: end + 2], received[end + 4 :]) if end <= HEAD_BYTES_MAX else (b"", b"")


def _received(client: socket.socket, give_up: float) -> bytes:
    """What comes next, empty at the end; TimeoutError at that moment, however slowly something drips."""
    left = give_up - clock.monotonic()
    if left <= 0:
        raise TimeoutError
    client.settimeout(left)
    return client.recv(CHUNK_BYTES)
