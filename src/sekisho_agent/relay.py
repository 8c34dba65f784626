"""Outside the wall: one node's end of the overlay that joins the network namespaces of one attempt.

A relay listens for the nodes above it and dials those below, one TCP connection for each pair, sealed under the
attempt's key (`sealing`). Packets come from the interface that PID 1 made in the payload's namespace (`tunnel`) and
go to the node that owns their destination; what comes from a node is let in only if it is from that node's address and
to ours. Anything else is dropped and counted.

No payload of the gang starts before every node has said that its own wall stands. A node that does not come in time,
and a connection that ends without a word of leaving, end the payload (`peers.missing`, `peers.lost`): a program that
waits for a node that is gone may wait for ever.

Known limits: no connection is made a second time; a payload's packets wait for the slowest receiver; packets are copied
through this process, so RDMA is not carried.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from sekisho_agent import sealing
from sekisho_agent.errors import AgentError, EngineError
from sekisho_agent.listeners import host_address
from sekisho_agent.peers import Node, node_address
from sekisho_agent.sealing import (
    FRAME_BYTES_MAX,
    GREETING,
    HEADER,
    HERE,
    LEAVING,
    PACKET,
    PAYLOAD_BYTES_MAX,
    READY,
    Greeting,
    Opener,
    Sealer,
    SealError,
    directions,
)
from sekisho_wire.messages import REASON_PEERS_LOST, REASON_PEERS_MISSING

START_SECONDS_MAX: Final = 120.0
"""From the moment that the addresses are known until every wall of the gang must stand."""
GREETING_SECONDS_MAX: Final = 10.0
DIAL_SECONDS_MAX: Final = 5.0
DIAL_PAUSE_SECONDS: Final = 0.1
STRANGERS_MAX: Final = 32
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
IPV4: Final = 4
IPV4_HEADER_BYTES: Final = 20
NAMED_MAX: Final = 20
ANY_PORT: Final = 9

Lost = Callable[[str, str], None]
"""Told once, with a reason and a sentence, when the gang cannot go on."""

log = structlog.get_logger(__name__)


class _Link:
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


class Relay:
    """One node's relay. Its port is open from the start; the rest may be called in any order, from any thread."""

    def __init__(self, node: Node, key: bytes, *, host: str) -> None:
        """`host` is the address of this machine at which the other nodes' machines reach it."""
        self.node = node
        self.dropped_count = 0
        self._key = key
        self._own = socket.inet_aton(node.address)
        self._ranks = {
            socket.inet_aton(node_address(rank)): rank for rank in range(node.nodes) if rank != node.rank
        }
        self._guard = threading.Condition()
        self._links: dict[int, _Link] = {}
        self._left: set[int] = set()
        self._ready: set[int] = set()
        self._stands = False
        self._then: Callable[[], None] | None = None
        self._lost: Lost | None = None
        self._interface = -1
        self._closing = threading.Event()
        self._strangers = threading.BoundedSemaphore(node.nodes + STRANGERS_MAX)
        self._server = socket.create_server((host, 0), backlog=node.nodes + STRANGERS_MAX)
        self._wake_read, self._wake_write = os.pipe()
        self._users: list[threading.Thread] = []

    @property
    def address(self) -> tuple[str, int]:
        """Where the nodes above this one connect to."""
        host, port = self._server.getsockname()[:2]
        return str(host), int(port)

    def connect(self, addresses: Sequence[tuple[str, int]], lost: Lost) -> None:
        """Join the gang, given every node's address by rank. Returns at once; `lost` may be called from now on.

        EngineError `engine.handoff` for too few or too many addresses.
        """
        if len(addresses) != self.node.nodes:
            raise EngineError("engine.handoff", "not as many addresses as nodes")
        with self._guard:
            if self._lost is not None:
                return
            self._lost = lost
        self._start(self._accept, "accept")
        for peer in range(self.node.rank):
            self._start(lambda peer=peer: self._dial(peer, addresses[peer]), "dial")
        self._start(self._watch_start, "start")

    def attach(self, interface: int) -> None:
        """Carry the packets of this interface, whose descriptor is ours from now on."""
        with self._guard:
            if self._closing.is_set() or self._interface >= 0:
                os.close(interface)
                return
            os.set_blocking(interface, False)
            self._interface = interface
            self._users.append(self._start(self._carry, "carry"))

    def stands(self, then: Callable[[], None]) -> None:
        """Tell the others that this wall stands. `then` is called, in a thread of ours, once those of all nodes do."""
        with self._guard:
            self._stands, self._then = True, then
            links = list(self._links.values())
        for link in links:
            self._say(link, READY)
        self._begin()

    def close(self) -> None:
        """Take leave of the others and let go of everything. Not from a thread of the relay's own."""
        with self._guard:
            if self._closing.is_set():
                return
            self._closing.set()
            links = list(self._links.values())
            self._guard.notify_all()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for link in links:
            link.leave()
        os.write(self._wake_write, b"x")
        # Whoever still used the interface's number after it was closed would write into another file.
        for thread in self._users:
            thread.join()
        if self._interface >= 0:
            os.close(self._interface)
        os.close(self._wake_read)
        os.close(self._wake_write)

    # --- connections

    def _start(self, work: Callable[[], None], what: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"peers-{what}-{self.node.rank}", daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if self._strangers.acquire(blocking=False):
                self._start(lambda connection=connection: self._answer(connection), "answer")
            else:
                connection.close()

    def _answer(self, connection: socket.socket) -> None:
        try:
            link = self._greeted(connection, None)
        finally:
            self._strangers.release()
        if link is not None:
            self._listen(link)

    def _dial(self, peer: int, address: tuple[str, int]) -> None:
        """Until the node answers as itself: before it is up, anybody may have its port."""
        while not self._closing.wait(DIAL_PAUSE_SECONDS):
            try:
                connection = socket.create_connection(address, DIAL_SECONDS_MAX)
            except OSError:
                continue
            link = self._greeted(connection, peer)
            if link is not None:
                self._listen(link)
                return

    def _greeted(self, connection: socket.socket, peer: int | None) -> _Link | None:
        """The connection as a link once both sides have shown that they hold the key; None, and closed, otherwise."""
        try:
            connection.settimeout(GREETING_SECONDS_MAX)
            link = self._dialled(connection, peer) if peer is not None else self._answered(connection)
            if self._keep(link):
                return link
        except (OSError, AgentError) as error:
            log.info("peers.stranger", node=self.node.rank, error=type(error).__name__)
        connection.close()
        return None

    def _dialled(self, connection: socket.socket, peer: int) -> _Link:
        ours = Greeting.fresh(self.node.rank, peer, self.node.nodes)
        connection.sendall(ours.encode())
        theirs = Greeting.decode(_exactly(connection, GREETING.size))
        self._check(theirs)
        if theirs.sender != peer:
            raise SealError("another node than the one that was dialled")
        there, back = directions(self._key, ours, theirs)
        return self._proven(_Link(peer, connection, Sealer(there), Opener(back)))

    def _answered(self, connection: socket.socket) -> _Link:
        theirs = Greeting.decode(_exactly(connection, GREETING.size))
        self._check(theirs)
        if not self.node.rank < theirs.sender < self.node.nodes:
            raise SealError("a node that does not dial this one")
        ours = Greeting.fresh(self.node.rank, theirs.sender, self.node.nodes)
        connection.sendall(ours.encode())
        there, back = directions(self._key, theirs, ours)
        return self._proven(_Link(theirs.sender, connection, Sealer(back), Opener(there)))

    def _check(self, theirs: Greeting) -> None:
        if theirs.receiver != self.node.rank or theirs.nodes != self.node.nodes:
            raise SealError("a greeting for somebody else")

    def _proven(self, link: _Link) -> _Link:
        link.send(HERE)
        kind, _ = link.receive()
        if kind != HERE:
            raise SealError("not the first frame")
        return link

    def _keep(self, link: _Link) -> bool:
        """Whether this is the node's one connection; this thread is then the one that receives on it."""
        with self._guard:
            if self._closing.is_set() or link.peer in self._links or link.peer in self._left:
                return False
            link.settle()
            self._links[link.peer] = link
            self._users.append(threading.current_thread())
            stands = self._stands
        if stands:
            self._say(link, READY)
        return True

    def _say(self, link: _Link, kind: int, payload: memoryview | bytes = b"") -> None:
        """What cannot be sent is told by the end of the connection, to the thread that receives."""
        with contextlib.suppress(OSError):
            link.send(kind, payload)

    # --- receiving

    def _listen(self, link: _Link) -> None:
        try:
            while self._take(link.peer, *link.receive()):
                pass
        except (OSError, AgentError) as error:
            self._gone(link.peer, REASON_PEERS_LOST, str(error))
        with self._guard:
            self._left.add(link.peer)
            self._links.pop(link.peer, None)
        link.close()

    def _take(self, peer: int, kind: int, payload: memoryview) -> bool:
        """Whether more is to come."""
        match kind:
            case sealing.PACKET:
                self._let_in(peer, payload)
            case sealing.READY:
                with self._guard:
                    self._ready.add(peer)
                self._begin()
            case sealing.LEAVING:
                with self._guard:
                    self._left.add(peer)
                if not self._begun():
                    self._gone(peer, REASON_PEERS_MISSING, "it ended before all of the gang had begun")
                return False
            case _:
                raise SealError("a second first frame")
        return True

    def _let_in(self, peer: int, packet: memoryview) -> None:
        if (
            not self._fits(packet)
            or packet[16:20] != self._own
            or self._ranks.get(bytes(packet[12:16])) != peer
        ):
            self.dropped_count += 1
            return
        with contextlib.suppress(OSError):  # the interface is gone or not there yet: so is the packet
            os.write(self._interface, packet)

    def _fits(self, packet: memoryview) -> bool:
        """Whether this is one whole IPv4 packet."""
        return (
            len(packet) >= IPV4_HEADER_BYTES
            and packet[0] >> 4 == IPV4
            and int.from_bytes(packet[2:4], "big") == len(packet)
        )

    # --- sending

    def _carry(self) -> None:
        packet = memoryview(bytearray(PAYLOAD_BYTES_MAX))
        poller = select.poll()
        poller.register(self._interface, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        while not self._closing.is_set():
            try:
                size = os.readv(self._interface, [packet])
            except BlockingIOError:
                poller.poll()
                continue
            except OSError:  # the namespace has ended, and the interface with it
                return
            self._let_out(packet[:size])

    def _let_out(self, packet: memoryview) -> None:
        peer = self._ranks.get(bytes(packet[16:20])) if self._fits(packet) else None
        link = self._links.get(peer) if peer is not None and packet[12:16] == self._own else None
        if link is None:
            self.dropped_count += 1
            return
        self._say(link, PACKET, packet)

    # --- the gang

    def _begun(self) -> bool:
        with self._guard:
            return self._complete()

    def _complete(self) -> bool:
        return self._stands and len(self._ready) == len(self._ranks)

    def _begin(self) -> None:
        """Call `then`, once, when this was the last that was missing."""
        if not self._begun():
            return
        with self._guard:
            then, self._then = self._then, None
            self._guard.notify_all()
        if then is not None:
            then()

    def _watch_start(self) -> None:
        with self._guard:
            over = self._guard.wait_for(lambda: self._closing.is_set() or self._complete(), START_SECONDS_MAX)
            missing = sorted(set(self._ranks.values()) - self._ready)
        if over:
            return
        named = ", ".join(str(rank) for rank in missing[:NAMED_MAX]) or "this one"
        self._tell(REASON_PEERS_MISSING, f"did not come up in {START_SECONDS_MAX:g} s: node {named}")

    def _gone(self, peer: int, reason: str, why: str) -> None:
        self._tell(reason, f"node {peer}: {why}")

    def _tell(self, reason: str, detail: str) -> None:
        with self._guard:
            lost, self._lost = self._lost, _nobody
            closing = self._closing.is_set()
        if lost is not None and not closing:
            log.warning("peers.ended", node=self.node.rank, code=reason, detail=detail)
            lost(reason, detail)


def _nobody(_reason: str, _detail: str) -> None:
    """It was told already."""


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionResetError("the connection ended")
        received += chunk
    return received


def own_address(given: str, launcher: str) -> str:
    """The address at which machines of the same job reach this one; sends nothing.

    The one given, else the one on the way to the machine that launched the job, else any but loopback.
    """
    if given:
        return given
    if launcher:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((launcher, ANY_PORT))
            return str(probe.getsockname()[0])
    return host_address() or "127.0.0.1"
