"""One authenticated connection between the relays of two nodes: how it is made, and frames in both directions."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final

from sekisho_agent import clock
from sekisho_agent.peers import Node
from sekisho_agent.sealing import (
    FRAME_BYTES_MAX,
    GREETING,
    HEADER,
    HERE,
    LEAVING,
    Greeting,
    Opener,
    Sealer,
    SealError,
    directions,
)

GREETING_SECONDS_MAX: Final = 10.0
"""For all of a greeting, whatever it dribbles: strangers take up places while they greet."""
LEAVING_SECONDS_MAX: Final = 1.0
SILENT_SECONDS: Final = 10
SILENT_TRIES: Final = 3
SETTLED: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENT_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SILENT_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, SILENT_TRIES),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_SECONDS * SILENT_TRIES * 1000),
)
"""A machine that answers nothing for half a minute is gone."""
RECEIVED_BYTES: Final = 4 * FRAME_BYTES_MAX


class Link:
    """An authenticated connection to one node; sending is guarded, receiving is one thread's."""

    def __init__(self, peer: int, connection: socket.socket, sealer: Sealer, opener: Opener) -> None:
        self.peer = peer
        self._connection = connection
        self._sealer = sealer
        self._opener = opener
        self._guard = threading.Lock()
        self._received = bytearray(RECEIVED_BYTES)
        self._start = self._end = 0

    def send(self, kind: int, payload: memoryview | bytes = b"") -> None:
        """Waits for a slow receiver. OSError when the connection has ended."""
        with self._guard:
            self._connection.sendall(self._sealer.seal(kind, payload))

    def leave(self) -> None:
        """Say goodbye if the receiver is listening, and wake whoever sends or receives here."""
        if self._guard.acquire(timeout=LEAVING_SECONDS_MAX):
            with contextlib.suppress(OSError):
                self._connection.sendmsg([self._sealer.seal(LEAVING)], (), socket.MSG_DONTWAIT)
            self._guard.release()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def settle(self) -> None:
        """From greeting to carrying: no time limit, but one for a machine that has fallen silent."""
        self._connection.settimeout(None)
        for level, option, value in SETTLED:
            self._connection.setsockopt(level, option, value)

    def receive(self) -> tuple[int, memoryview]:
        """The next frame; SealError or OSError when there is none to be had any more."""
        header = self._take(HEADER.size)
        size = self._opener.size(header)
        return self._opener.open(header, self._take(size))

    def close(self) -> None:
        """Only by the thread that receives, so that no number is read from that is somebody else's by now."""
        self._connection.close()

    def _take(self, size: int) -> bytes | memoryview:
        while self._end - self._start < size:
            if self._start:
                left = self._received[self._start : self._end]
                self._received[: len(left)] = left
                self._start, self._end = 0, len(left)
            count = self._connection.recv_into(memoryview(self._received)[self._end :])
            if not count:
                raise ConnectionResetError("the connection ended")
            self._end += count
        taken = memoryview(self._received)[self._start : self._start + size]
        self._start += size
        return bytes(taken) if size == HEADER.size else taken


def dialled(connection: socket.socket, peer: int, node: Node, key: bytes) -> Link:
    """The link to the node that was dialled. SealError or OSError where that is not who answers."""
    until = clock.monotonic() + GREETING_SECONDS_MAX
    ours = Greeting.fresh(node.rank, peer, node.nodes)
    connection.sendall(ours.encode())
    theirs = _greeting(connection, node, until)
    if theirs.sender != peer:
        raise SealError("another node than the one that was dialled")
    there, back = directions(key, ours, theirs)
    sealer, opener = Sealer(there), Opener(back)
    _prove(connection, sealer, opener, until)
    return Link(peer, connection, sealer, opener)


def answered(connection: socket.socket, node: Node, key: bytes) -> Link:
    """The link to whichever node above this one has dialled. SealError or OSError where it is none."""
    until = clock.monotonic() + GREETING_SECONDS_MAX
    theirs = _greeting(connection, node, until)
    if not node.rank < theirs.sender < node.nodes:
        raise SealError("a node that does not dial this one")
    ours = Greeting.fresh(node.rank, theirs.sender, node.nodes)
    connection.sendall(ours.encode())
    there, back = directions(key, theirs, ours)
    sealer, opener = Sealer(back), Opener(there)
    _prove(connection, sealer, opener, until)
    return Link(theirs.sender, connection, sealer, opener)


def _greeting(connection: socket.socket, node: Node, until: float) -> Greeting:
    theirs = Greeting.decode(_exactly(connection, GREETING.size, until))
    if theirs.receiver != node.rank or theirs.nodes != node.nodes:
        raise SealError("a greeting for somebody else")
    return theirs


def _prove(connection: socket.socket, sealer: Sealer, opener: Opener, until: float) -> None:
    """Whoever can seal and open the first frame of each direction holds the key. SealError or OSError otherwise."""
    connection.sendall(sealer.seal(HERE))
    header = _exactly(connection, HEADER.size, until)
    kind, _ = opener.open(header, _exactly(connection, opener.size(header), until))
    if kind != HERE:
        raise SealError("not the first frame")


def _exactly(connection: socket.socket, size: int, until: float) -> bytes:
    received = b""
    while len(received) < size:
        left = until - clock.monotonic()
        if left <= 0:
            raise TimeoutError("the greeting takes too long")
        connection.settimeout(left)
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionResetError("the connection ended")
        received += chunk
    return received
