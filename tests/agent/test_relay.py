"""Two relays over loopback, and whoever stands between them or knocks at their doors. Interfaces are socket pairs."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent import links, sealing
from sekisho_agent import relay as relays
from sekisho_agent.errors import EngineError
from sekisho_agent.peers import Node, node_address
from sekisho_agent.relay import Relay
from sekisho_agent.sealing import Greeting, Opener, Sealer, SealError, directions
from tests.agent.support import until

KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def packet(source: int, target: int, content: bytes = b"payload") -> bytes:
    """An IPv4 packet (RFC 791) from one node's address to another's, by rank."""
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0, 64, 17, 0)
    addresses = socket.inet_aton(node_address(source)) + socket.inet_aton(node_address(target))
    return header + addresses + content


class End:
    """A relay with an interface that the test holds the other end of."""

    def __init__(self, rank: int, nodes: int = 2, key: bytes = KEY) -> None:
        self.relay = Relay(Node(rank=rank, nodes=nodes), key, host="127.0.0.1")
        self.inside, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.inside.settimeout(5)
        self.relay.attach(theirs.detach())
        self.lost: list[tuple[str, str]] = []
        self.begun = threading.Event()

    def connect(self, addresses: list[tuple[str, int]]) -> None:
        self.relay.connect(addresses, lambda reason, detail: self.lost.append((reason, detail)))

    def stands(self) -> None:
        self.relay.stands(self.begun.set)

    def close(self) -> None:
        self.relay.close()
        self.inside.close()


@contextmanager
def ends(*ranks: int, nodes: int = 2) -> Iterator[list[End]]:
    with ExitStack() as stack:
        made = [End(rank, nodes) for rank in ranks]
        for end in made:
            stack.callback(end.close)
        yield made


@pytest.fixture
def pair() -> Iterator[tuple[End, End]]:
    """Two relays whose gang has begun."""
    with ends(0, 1) as (low, high):
        addresses = [low.relay.address, high.relay.address]
        for end in (low, high):
            end.connect(addresses)
            end.stands()
        assert low.begun.wait(5)
        assert high.begun.wait(5)
        yield low, high


OPENED: list[socket.socket] = []


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


class Impostor:
    """Speaks the protocol by hand, as node 1 to node 0's door."""

    def __init__(self, door: tuple[str, int], key: bytes = KEY, *, sender: int = 1, nodes: int = 2) -> None:
        self.connection = socket.create_connection(door, 5)
        OPENED.append(self.connection)
        self.connection.settimeout(5)
        ours = Greeting.fresh(sender, 0, nodes)
        self.connection.sendall(ours.encode())
        answer = self.read(sealing.GREETING.size)
        there, back = directions(key, ours, Greeting.decode(answer))
        self.sealer, self.opener = Sealer(there), Opener(back)

    def read(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            chunk = self.connection.recv(size - len(content))
            if not chunk:
                raise ConnectionResetError
            content += chunk
        return content

    def send(self, kind: int, content: bytes = b"") -> bytes:
        frame = bytes(self.sealer.seal(kind, content))
        self.connection.sendall(frame)
        return frame

    def hung_up(self) -> bool:
        """Whether the relay has ended the connection."""
        try:
            while self.connection.recv(65_536):
                pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        return True


@pytest.fixture
def door() -> Iterator[End]:
    """Node 0 of a gang whose node 1 has not come yet."""
    with ends(0) as (low,):
        low.connect([low.relay.address, ("127.0.0.1", 1)])
        low.stands()
        yield low


def test_packets_cross_both_ways_unchanged_and_in_order(pair: tuple[End, End]) -> None:
    low, high = pair
    sizes = [0, 1, 1400, 65_535 - 20, 7]
    for size in sizes:
        low.inside.send(packet(0, 1, os.urandom(1) * size))
        high.inside.send(packet(1, 0, b"x" * size))
    assert [len(high.inside.recv(70_000)) - 20 for _ in sizes] == sizes
    assert [len(low.inside.recv(70_000)) - 20 for _ in sizes] == sizes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("from another address", packet(5, 1)),
        ("from the receiver's address", packet(1, 1)),
        ("to nobody of the gang", packet(0, 9)),
        ("to itself", packet(0, 0)),
        ("not IPv4", b"\x60" + packet(0, 1)[1:]),
        ("longer than it says", packet(0, 1) + b"x"),
        ("shorter than a header", packet(0, 1)[:19]),
    ],
)
def test_what_does_not_belong_does_not_leave(pair: tuple[End, End], name: str, content: bytes) -> None:
    low, high = pair
    low.inside.send(content)
    low.inside.send(packet(0, 1, b"after"))
    assert high.inside.recv(70_000) == packet(0, 1, b"after"), name
    assert low.relay.dropped_count == 1


@pytest.mark.parametrize(
    "content",
    [packet(0, 0), packet(5, 0), packet(1, 1), packet(1, 0)[:-1], packet(1, 0) + b"x", b"", b"E" * 20],
)
def test_a_node_speaks_for_itself_and_to_us_only(door: End, content: bytes) -> None:
    """Whoever holds the key still cannot send under another node's address."""
    other = Impostor(door.relay.address)
    other.send(sealing.HERE)
    other.send(sealing.READY)
    assert door.begun.wait(5)
    other.send(sealing.PACKET, content)
    other.send(sealing.PACKET, packet(1, 0, b"after"))
    assert door.inside.recv(70_000) == packet(1, 0, b"after")
    assert door.relay.dropped_count == 1


def begun(door: End) -> Impostor:
    other = Impostor(door.relay.address)
    other.send(sealing.HERE)
    other.send(sealing.READY)
    assert door.begun.wait(5)
    return other


def test_a_repeated_frame_ends_the_connection_and_the_gang(door: End) -> None:
    other = begun(door)
    frame = other.send(sealing.PACKET, packet(1, 0))
    assert door.inside.recv(70_000) == packet(1, 0)
    other.connection.sendall(frame)
    until(lambda: bool(door.lost), what="the end of the gang")
    assert door.lost[0][0] == "peers.lost"
    assert other.hung_up()
    door.inside.settimeout(0.2)
    with pytest.raises(TimeoutError):
        door.inside.recv(70_000)


def test_frames_in_another_order_end_the_connection(door: End) -> None:
    other = begun(door)
    first = bytes(other.sealer.seal(sealing.PACKET, packet(1, 0, b"1")))
    second = bytes(other.sealer.seal(sealing.PACKET, packet(1, 0, b"2")))
    other.connection.sendall(second + first)
    until(lambda: bool(door.lost), what="the end of the gang")
    assert other.hung_up()


@pytest.mark.parametrize("position", [0, 1, 3, 4, 20, -1])
def test_a_changed_bit_ends_the_connection(door: End, position: int) -> None:
    other = begun(door)
    frame = bytearray(other.sealer.seal(sealing.PACKET, packet(1, 0)))
    frame[position] ^= 1
    other.connection.sendall(frame)
    other.connection.shutdown(socket.SHUT_WR)
    until(lambda: bool(door.lost), what="the end of the gang")
    assert door.lost[0][0] == "peers.lost"
    assert other.hung_up()


def test_a_frame_without_the_key_is_nobodys(door: End) -> None:
    """A stranger is shown the door, and the gang waits on for its node."""
    stranger = Impostor(door.relay.address, OTHER_KEY)
    stranger.send(sealing.HERE)
    assert stranger.hung_up()
    begun(door)
    assert not door.lost


@pytest.mark.parametrize(("sender", "nodes"), [(0, 2), (2, 2), (7, 8), (1, 3)])
def test_a_node_that_the_gang_does_not_have_is_nobody(door: End, sender: int, nodes: int) -> None:
    with pytest.raises(ConnectionResetError):
        Impostor(door.relay.address, sender=sender, nodes=nodes)
    begun(door)


def test_a_second_connection_of_a_node_is_refused_and_harms_nothing(door: End) -> None:
    first = begun(door)
    second = Impostor(door.relay.address)
    second.send(sealing.HERE)
    assert second.hung_up()
    first.send(sealing.PACKET, packet(1, 0))
    assert door.inside.recv(70_000) == packet(1, 0)


def test_the_frames_of_one_connection_mean_nothing_on_another(door: End) -> None:
    first = Impostor(door.relay.address)
    recorded = first.send(sealing.HERE) + first.send(sealing.READY)
    until(door.begun.is_set, what="the gang")
    door.close()
    with ends(0) as (again,):
        again.connect([again.relay.address, ("127.0.0.1", 1)])
        again.stands()
        replayed = Impostor(again.relay.address)
        replayed.connection.sendall(recorded)
        assert replayed.hung_up()
        assert not again.begun.is_set()


def test_our_own_greeting_sent_back_is_refused(door: End) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mirror, ends(1) as (high,):
        high.connect([mirror.getsockname()[:2], high.relay.address])
        connection, _ = mirror.accept()
        greeting = connection.recv(sealing.GREETING.size, socket.MSG_WAITALL)
        connection.sendall(greeting)
        assert connection.recv(1) == b""
        connection.close()


def test_a_connection_that_says_nothing_is_closed_in_time(door: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "GREETING_SECONDS_MAX", 0.2)
    with socket.create_connection(door.relay.address, 5) as silent:
        silent.settimeout(5)
        silent.sendall(b"seki")
        assert silent.recv(1) == b""
    begun(door)


@pytest.mark.parametrize(
    "known", [b"", Greeting.fresh(1, 0, 2).encode() + b"\3\0\0\0"], ids=["greeting", "first frame"]
)
def test_a_stranger_that_dribbles_is_closed_in_time(
    door: End, monkeypatch: pytest.MonkeyPatch, known: bytes
) -> None:
    monkeypatch.setattr(links, "GREETING_SECONDS_MAX", 0.3)
    began = time.monotonic()
    with socket.create_connection(door.relay.address, 5) as stranger, contextlib.suppress(OSError):
        stranger.sendall(known)
        while time.monotonic() - began < 3:
            stranger.send(b"s")
            time.sleep(0.2)
    assert time.monotonic() - began < 2
    begun(door)


def test_a_moment_without_a_free_descriptor_is_survived(door: End, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next connection cannot be taken up; only this relay's, because other threads here need descriptors too."""
    real, refused = socket.socket.accept, list[int]()

    def accept(listening: socket.socket) -> Any:
        if listening.getsockname() == door.relay.address and not refused:
            refused.append(listening.fileno())
            raise OSError(errno.EMFILE, "no descriptor")
        return real(listening)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with socket.create_connection(door.relay.address, 5):
        until(lambda: bool(refused), what="a refusal")
    begun(door)


def test_strangers_do_not_use_up_more_than_their_number(door: End, monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    knocking = [socket.create_connection(door.relay.address, 5) for _ in range(80)]
    time.sleep(0.3)
    assert threading.active_count() - before <= relays.STRANGERS_MAX + 2
    for one in knocking:
        one.close()
    until(lambda: threading.active_count() <= before, what="no thread of a stranger left")
    begun(door)


def test_a_node_that_vanishes_ends_the_gang(door: End) -> None:
    begun(door).connection.close()
    until(lambda: bool(door.lost), what="the end of the gang")
    ((reason, detail),) = door.lost
    assert reason == "peers.lost"
    assert detail.startswith("node 1: ")


def test_a_node_that_takes_its_leave_does_not(door: End) -> None:
    other = begun(door)
    other.send(sealing.LEAVING)
    other.send(sealing.PACKET, packet(1, 0, b"what was still under way"))
    assert door.inside.recv(70_000) == packet(1, 0, b"what was still under way")
    other.connection.close()
    time.sleep(0.2)
    door.inside.send(packet(0, 1))
    until(lambda: door.relay.dropped_count == 1, what="a packet for nobody")
    assert not door.lost


def test_a_node_that_has_ended_carries_until_the_others_have_too(pair: tuple[End, End]) -> None:
    low, high = pair
    low.relay.leave()
    low.inside.send(packet(0, 1, b"late"))
    assert high.inside.recv(70_000) == packet(0, 1, b"late")
    high.inside.send(packet(1, 0, b"answer"))
    assert low.inside.recv(70_000) == packet(1, 0, b"answer")
    assert not low.relay.over(0.1)
    high.relay.leave()
    assert low.relay.over(5)
    assert high.relay.over(5)
    assert not low.lost
    assert not high.lost


def test_a_node_that_has_ended_does_not_stay_for_one_that_vanishes(door: End) -> None:
    other = begun(door)
    door.relay.leave()
    assert not door.relay.over(0.1)
    other.connection.close()
    assert door.relay.over(5)
    assert not door.lost


def test_a_node_that_leaves_before_all_have_begun_is_missed(door: End) -> None:
    other = Impostor(door.relay.address)
    other.send(sealing.HERE)
    other.send(sealing.LEAVING)
    until(lambda: bool(door.lost), what="the end of the gang")
    assert door.lost[0][0] == "peers.missing"
    assert not door.begun.is_set()


def test_a_node_that_never_comes_ends_the_gang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "START_SECONDS_MAX", 0.3)
    with ends(0, 1, nodes=3) as (low, middle):
        addresses = [low.relay.address, middle.relay.address, ("127.0.0.1", 1)]
        for end in (low, middle):
            end.connect(addresses)
            end.stands()
        until(lambda: bool(low.lost and middle.lost), what="the end of the gang")
        assert low.lost == [("peers.missing", "did not come up in 0.3 s: node 2")]
        assert not low.begun.is_set()


def test_nobody_begins_before_the_last_wall_stands() -> None:
    with ends(0, 1, 2, nodes=3) as made:
        addresses = [end.relay.address for end in made]
        for end in made:
            end.connect(addresses)
        made[0].stands()
        made[2].stands()
        assert not made[0].begun.wait(0.3)
        made[1].stands()
        assert all(end.begun.wait(5) for end in made)


def test_many_nodes_reach_each_other() -> None:
    count = 8
    with ends(*range(count), nodes=count) as made:
        addresses = [end.relay.address for end in made]
        for end in made:
            end.connect(addresses)
            end.stands()
        assert all(end.begun.wait(10) for end in made)
        for end in made:
            for peer in range(count):
                if peer != end.relay.node.rank:
                    end.inside.send(packet(end.relay.node.rank, peer))
        for end in made:
            sources = {end.inside.recv(70_000)[12:16] for _ in range(count - 1)}
            others = [rank for rank in range(count) if rank != end.relay.node.rank]
            assert sources == {socket.inet_aton(node_address(rank)) for rank in others}


def test_closing_twice_and_a_late_interface_leave_nothing_open() -> None:
    end = End(0)
    end.connect([end.relay.address, ("127.0.0.1", 1)])
    end.close()
    end.close()
    ours, theirs = socket.socketpair()
    end.relay.attach(theirs.detach())
    assert ours.recv(1) == b""
    ours.close()


@given(st.integers(0, 3), st.binary(max_size=200), st.data())
def test_no_frame_opens_but_the_one_that_was_sealed_and_in_its_turn(
    kind: int, content: bytes, data: st.DataObject
) -> None:
    content = content if kind == sealing.PACKET else b""
    sealer, opener = Sealer(KEY), Opener(KEY)
    frame = bytes(sealer.seal(kind, content))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    changed = bytearray(frame)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        _opened(Opener(KEY), bytes(changed))
    assert _opened(opener, frame) == (kind, content)
    with pytest.raises(SealError):
        _opened(opener, frame)
    later = bytes(Sealer(KEY).seal(kind, content))
    with pytest.raises(SealError):
        _opened(opener, later)


def _opened(opener: Opener, frame: bytes) -> tuple[int, bytes]:
    """As a link takes a frame apart; one that is not as long as it says waits for ever or runs into the next."""
    header, rest = frame[:4], frame[4:]
    if opener.size(header) != len(rest):
        raise SealError("not as long as it says")
    kind, content = opener.open(header, rest)
    return kind, bytes(content)


def test_each_direction_and_each_connection_has_a_key_of_its_own() -> None:
    one, two = Greeting.fresh(1, 0, 2), Greeting.fresh(0, 1, 2)
    keys = {
        *directions(KEY, one, two),
        *directions(KEY, Greeting.fresh(1, 0, 2), two),
        *directions(OTHER_KEY, one, two),
    }
    assert len(keys) == 6
    with pytest.raises(SealError):
        directions(KEY, one, one)
    with pytest.raises(SealError):
        Greeting.decode(bytes(sealing.GREETING.size))


def test_too_few_or_too_many_addresses_are_no_gang() -> None:
    with ends(0, 1) as (low, high):
        for count in (0, 1, 3):
            with pytest.raises(EngineError):
                low.connect([high.relay.address] * count)


def test_a_node_is_found_on_the_way_to_whoever_launched_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "host_address", lambda: None)
    assert relays.own_address("10.1.2.3", "127.0.0.1") == "10.1.2.3"
    assert relays.own_address("", "127.0.0.1") == "127.0.0.1"
    assert relays.own_address("", "") == "127.0.0.1"
    monkeypatch.setattr(relays, "host_address", lambda: "10.9.9.9")
    assert relays.own_address("", "") == "10.9.9.9"
