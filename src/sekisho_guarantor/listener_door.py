"""The listener on its sockets: TCP for requests and canaries, UDP, and UDP in the shape of DNS. All waits bounded."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final

from sekisho_guarantor import clock
from sekisho_guarantor.errors import ADDRESS_UNUSABLE, GuarantorError
from sekisho_guarantor.listener import Listener, RefusedError
from sekisho_guarantor.listener_config import ListenerConfig
from sekisho_verify.errors import VerifyError
from sekisho_wire.observing import FRAME_BYTES_MAX, HEARD, PREFIX, REFUSED, frame, unframe

CONNECTIONS_MAX: Final = 128
CONNECTION_SECONDS_MAX: Final = 5.0
MESSAGE_BYTES_MAX: Final = 512
POLL_SECONDS: Final = 0.2
DNS_HEAD_BYTES: Final = 12
NAME_ERROR: Final = b"\x81\x83"
"""Flags of an answer that says: no such name (RFC 1035 4.1.1)."""


class ListenerServer:
    """Three bound sockets; `start`, then `close` from any thread."""

    def __init__(self, listener: Listener, config: ListenerConfig) -> None:
        """Bind; `guarantor.address_unusable` for a port that is taken."""
        self._listener = listener
        self._closing = threading.Event()
        self._slots = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._sockets: list[socket.socket] = []
        for kind, port in (
            (socket.SOCK_STREAM, config.tcp),
            (socket.SOCK_DGRAM, config.udp),
            (socket.SOCK_DGRAM, config.dns),
        ):
            self._sockets.append(self._bind(config.host, kind, port))
        self._tcp, self._udp, self._dns = self._sockets

    @property
    def ports(self) -> tuple[int, int, int]:
        """TCP, UDP, DNS."""
        tcp, udp, dns = (int(each.getsockname()[1]) for each in self._sockets)
        return tcp, udp, dns

    def start(self) -> None:
        """Listen in threads of its own."""
        for work in (self._accept, self._take_datagrams, self._take_questions):
            threading.Thread(target=work, name="listener", daemon=True).start()

    def close(self) -> None:
        """Hear nothing more."""
        self._closing.set()
        for each in self._sockets:
            with contextlib.suppress(OSError):  # a datagram socket is not connected, yet its reader wakes
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _bind(self, host: str, kind: socket.SocketKind, port: int) -> socket.socket:
        bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        try:
            if kind == socket.SOCK_STREAM:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host, port))
            if kind == socket.SOCK_STREAM:
                bound.listen(CONNECTIONS_MAX)
        except OSError as error:
            for each in (bound, *self._sockets):
                each.close()
            what = error.strerror or ""
            raise GuarantorError(ADDRESS_UNUSABLE, address=f"{host}:{port}", what=what) from error
        return bound

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._tcp.accept()
            except OSError:  # also when there are no descriptors left: not in circles
                self._closing.wait(POLL_SECONDS)
                continue
            if self._slots.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connection,), name="listener", daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(CONNECTION_SECONDS_MAX)
                first = connection.recv(MESSAGE_BYTES_MAX)
                if first.startswith(PREFIX[: len(first)]) and first:
                    connection.sendall(self._answer(connection, first))
                elif self._listener.hear(first, "tcp"):
                    connection.sendall(HEARD)
        except OSError:  # whoever was there has gone
            return
        finally:
            self._slots.release()

    def _answer(self, connection: socket.socket, received: bytes) -> bytes:
        """Whoever drips holds its place no longer than anybody."""
        give_up = clock.monotonic_s() + CONNECTION_SECONDS_MAX
        try:
            while (content := unframe(received)) is None:
                connection.settimeout(max(POLL_SECONDS / 10, give_up - clock.monotonic_s()))
                more = connection.recv(FRAME_BYTES_MAX) if clock.monotonic_s() < give_up else b""
                if not more:
                    return b""
                received += more
            return frame(self._listener.answer(content))
        except RefusedError as error:
            return REFUSED + error.code.encode("ascii") + b"\n"
        except VerifyError as error:
            return REFUSED + error.code.encode("ascii") + b"\n"

    def _take_datagrams(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(OSError):
                message, sender = self._udp.recvfrom(MESSAGE_BYTES_MAX)
                if self._listener.hear(message, "udp"):
                    self._udp.sendto(HEARD, sender)

    def _take_questions(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(OSError):
                message, sender = self._dns.recvfrom(MESSAGE_BYTES_MAX)
                if self._listener.hear(message[DNS_HEAD_BYTES:], "dns"):
                    self._dns.sendto(message[:2] + NAME_ERROR + message[4:], sender)
