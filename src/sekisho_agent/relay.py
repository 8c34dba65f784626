"""Outside the wall: one node's end of the overlay that joins the network namespaces of one attempt.

A relay listens for the nodes above it and dials those below, one TCP connection for each pair, sealed under the
attempt's key (`sealing`). Packets come from the interface that PID 1 made in the payload's namespace (`tunnel`) and
go to the node that owns their destination; what comes from a node is let in only if it is from that node's address and
to ours. Anything else is dropped and counted.

No payload of the gang starts before every node has said that its own wall stands. A node that does not come in time,
and a connection that ends without a word of leaving, end the payload (`peers.missing`, `peers.lost`): a program that
waits for a node that is gone may wait for ever. A node whose payload has ended well says so and stays until the others
have ended as well: what its programs sent last may still lie in its kernel, which goes on sending it.

Known limits: no connection is made a second time; a payload's packets wait for the slowest receiver; packets are copied
through this process, so RDMA is not carried. With the local engine that process is the agent: a gang that sends all it
can makes the agent's own threads wait for the processor like everybody else.
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
from sekisho_agent.links import Link, answered, dialled
from sekisho_agent.listeners import host_address
from sekisho_agent.peers import Node, node_address
from sekisho_agent.sealing import LEAVING, PACKET, PAYLOAD_BYTES_MAX, READY, SealError
from sekisho_wire.messages import REASON_PEERS_LOST, REASON_PEERS_MISSING

START_SECONDS_MAX: Final = 120.0
"""From the moment that the addresses are known until every wall of the gang must stand."""
DIAL_SECONDS_MAX: Final = 5.0
DIAL_PAUSE_SECONDS: Final = 0.1
STRANGERS_MAX: Final = 32
IPV4: Final = 4
IPV4_HEADER_BYTES: Final = 20
NAMED_MAX: Final = 20
ANY_PORT: Final = 9

Lost = Callable[[str, str], None]
"""Told once, with a reason and a sentence, when the gang cannot go on."""

log = structlog.get_logger(__name__)


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
        self._links: dict[int, Link] = {}
        self._left: set[int] = set()
        self._ready: set[int] = set()
        self._stands = False
        self._then: Callable[[], None] | None = None
        self._lost: Lost | None = None
        self._interface = -1
        self._leaving = False
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

    def leave(self) -> None:
        """The payload has ended well: tell the others, carry what is still under way, and close once all have left."""
        with self._guard:
            self._leaving = True
            links = list(self._links.values())
        for link in links:
            self._say(link, LEAVING)
        self._start(self._linger, "linger")

    def over(self, timeout_seconds: float) -> bool:
        """Whether it has closed, by itself or by order; waits up to the timeout."""
        return self._closing.wait(timeout_seconds)

    def close(self) -> None:
        """Take leave of the others and let go of everything. Not from a thread that carries or receives."""
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
            except OSError:  # closed; or too many files are open, which passes
                if self._closing.wait(DIAL_PAUSE_SECONDS):
                    return
                continue
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

    def _greeted(self, connection: socket.socket, peer: int | None) -> Link | None:
        """The connection as a link once both sides have shown that they hold the key; None, and closed, otherwise."""
        try:
            if peer is not None:
                link = dialled(connection, peer, self.node, self._key)
            else:
                link = answered(connection, self.node, self._key)
            if self._keep(link):
                return link
        except (OSError, AgentError) as error:
            log.info("peers.stranger", node=self.node.rank, error=type(error).__name__)
        connection.close()
        return None

    def _keep(self, link: Link) -> bool:
        """Whether this is the node's one connection; this thread is then the one that receives on it."""
        with self._guard:
            if self._closing.is_set() or link.peer in self._links or link.peer in self._left:
                return False
            link.settle()
            self._links[link.peer] = link
            self._users.append(threading.current_thread())
            stands, leaving = self._stands, self._leaving
        if stands:
            self._say(link, READY)
        if leaving:
            self._say(link, LEAVING)
        return True

    def _say(self, link: Link, kind: int, payload: memoryview | bytes = b"") -> None:
        """What cannot be sent is told by the end of the connection, to the thread that receives."""
        with contextlib.suppress(OSError):
            link.send(kind, payload)

    # --- receiving

    def _listen(self, link: Link) -> None:
        try:
            while True:
                self._take(link.peer, *link.receive())
        except (OSError, AgentError) as error:
            self._gone(link.peer, REASON_PEERS_LOST, str(error))
        with self._guard:
            self._left.add(link.peer)
            self._links.pop(link.peer, None)
            self._guard.notify_all()
        link.close()

    def _take(self, peer: int, kind: int, payload: memoryview) -> None:
        match kind:
            case sealing.PACKET:
                self._let_in(peer, payload)
            case sealing.READY:
                with self._guard:
                    self._ready.add(peer)
                self._begin()
            case sealing.LEAVING:
                if not self._begun():
                    self._gone(peer, REASON_PEERS_MISSING, "it ended before all of the gang had begun")
                with self._guard:
                    self._left.add(peer)
                    self._guard.notify_all()
            case _:
                raise SealError("a second first frame")

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

    def _linger(self) -> None:
        with self._guard:
            self._guard.wait_for(lambda: self._closing.is_set() or not self._links.keys() - self._left)
        self.close()

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
        """Of no consequence once it has taken its leave, or this node has."""
        with self._guard:
            if peer in self._left or self._leaving:
                return
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
