"""The site's responder, datagram by datagram: whom it answers, with how much, and what it remembers."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent.config import LocationConfig, LocationLandmark
from sekisho_agent.errors import ConfigError
from sekisho_agent.location import LocationService, landmark_names
from sekisho_verify import canonical
from sekisho_verify import location_packets as packets
from sekisho_verify.checkpoint import verify_signature
from sekisho_verify.errors import SignatureError
from sekisho_wire.answering import HELLOS_AT_ONCE, Responder
from sekisho_wire.signing import encode_public_key
from tests.agent import support
from tests.agent.control import ControlPlane

NOW_MS = 1_795_000_000_000
HERE = ("192.0.2.1", 7000)
ELSEWHERE = ("192.0.2.2", 7000)


class Yard:
    """A responder with clocks that stand still, and a landmark that talks to it."""

    def __init__(self) -> None:
        self.now_ms, self.seconds = NOW_MS, 100.0
        self.site = Ed25519PrivateKey.generate()
        self.landmark = Ed25519PrivateKey.generate()
        names = {self.landmark.public_key().public_bytes_raw(): "north"}
        self.responder = Responder(
            self.site, names, now_ms=lambda: self.now_ms, monotonic=lambda: self.seconds
        )
        self.own = X25519PrivateKey.generate()

    def hello(self, *, signer: Ed25519PrivateKey | None = None, time_ms: int = 0, site: bytes = b"") -> bytes:
        hello = packets.Hello(
            self.landmark.public_key().public_bytes_raw(),
            site or self.site.public_key().public_bytes_raw(),
            bytes(32),
            self.own.public_key().public_bytes_raw(),
            time_ms or self.now_ms,
        )
        return packets.make_hello(hello, (signer or self.landmark).sign)

    def open(self) -> Opened:
        hello = self.hello()
        welcome = self.responder.answer(hello, HERE)
        assert welcome is not None
        return Opened(self, hello, welcome)


class Opened:
    """An open session, from the landmark's side."""

    def __init__(self, yard: Yard, hello: bytes, welcome: bytes) -> None:
        self.yard, self.hello, self.welcome = yard, hello, welcome
        self.id = packets.session_id(hello, welcome)
        share = packets.read_welcome(welcome).ephemeral
        self.key = packets.session_key(yard.own, share, hello=hello, welcome=welcome)

    def challenge(self, seq: int, filling: int = 0) -> bytes:
        return packets.make_challenge(self.key, packets.Challenge(self.id, seq, bytes([filling] * 32)))

    def rounds(self, *numbers: int) -> list[packets.Round]:
        found = []
        for seq in numbers:
            mac = packets.answer_mac(self.key, packets.Challenge(self.id, seq, bytes(32)))
            found.append(packets.Round(seq, bytes(32), mac))
        return found

    def close(self, *numbers: int) -> bytes:
        mask = sum(1 << seq for seq in numbers)
        digest = packets.rounds_digest(self.rounds(*numbers))
        return packets.make_close(self.key, packets.Close(self.id, mask, digest))

    def ask(self, packet: bytes) -> bytes | None:
        return self.yard.responder.answer(packet, HERE)


def test_a_whole_session_is_signed_for() -> None:
    yard = Yard()
    opened = yard.open()
    packets.check_signature(opened.welcome, yard.site.public_key().public_bytes_raw())
    assert packets.read_welcome(opened.welcome).hello == sha256(opened.hello).digest()
    for seq in (0, 1, 5):
        reply = opened.ask(opened.challenge(seq))
        assert reply is not None
        assert packets.read_answer(reply).mac == opened.rounds(seq)[0].mac
    closed = opened.ask(opened.close(0, 5))
    assert closed is not None
    found = packets.read_closed(closed)
    said = packets.statement(
        packets.read_hello(opened.hello),
        session=opened.id,
        key=opened.key,
        rounds=opened.rounds(0, 5),
        time_ms=NOW_MS,
    )
    public = yard.site.public_key().public_bytes_raw()
    verify_signature(public, found.signature, said)
    with pytest.raises(SignatureError):
        verify_signature(public, found.signature, said.replace(b'"count":2', b'"count":3'))
    assert opened.ask(opened.close(0, 5)) == closed, "a lost answer can be asked for again"
    assert opened.ask(opened.challenge(6)) is None, "the session is over"


def test_the_close_is_signed_only_for_what_was_answered() -> None:
    opened = Yard().open()
    for seq in (0, 1):
        opened.ask(opened.challenge(seq))
    assert opened.ask(opened.close(0, 2)) is None
    assert opened.ask(opened.close()) is None
    wrong = packets.make_close(opened.key, packets.Close(opened.id, 1, bytes(32)))
    assert opened.ask(wrong) is None
    forged = packets.make_close(bytes(32), packets.Close(opened.id, 1, bytes(32)))
    assert opened.ask(forged) is None
    assert opened.ask(opened.close(0, 1)) is not None


def test_each_round_is_answered_once() -> None:
    opened = Yard().open()
    assert opened.ask(opened.challenge(0)) is not None
    assert opened.ask(opened.challenge(0)) is None
    assert opened.ask(opened.challenge(0, filling=1)) is None
    assert opened.ask(opened.challenge(packets.ROUNDS_MAX)) is None
    assert opened.ask(opened.challenge(packets.ROUNDS_MAX - 1)) is not None


def test_strangers_are_answered_nothing() -> None:
    yard = Yard()
    stranger = Ed25519PrivateKey.generate()
    foreign = packets.Hello(
        stranger.public_key().public_bytes_raw(),
        yard.site.public_key().public_bytes_raw(),
        bytes(32),
        bytes(32),
        NOW_MS,
    )
    assert yard.responder.answer(packets.make_hello(foreign, stranger.sign), HERE) is None
    assert yard.responder.answer(yard.hello(signer=stranger), HERE) is None
    assert yard.responder.answer(yard.hello(site=bytes(32)), HERE) is None
    assert yard.responder.answer(yard.hello(time_ms=NOW_MS - 60_001), HERE) is None
    assert yard.responder.answer(yard.hello(time_ms=NOW_MS + 60_001), HERE) is None
    opened = yard.open()
    forged = packets.make_challenge(bytes(32), packets.Challenge(opened.id, 0, bytes(32)))
    assert opened.ask(forged) is None
    assert opened.ask(opened.challenge(0)) is not None, "the forgery has not used up the round"


def test_a_session_belongs_to_the_address_that_opened_it() -> None:
    yard = Yard()
    opened = yard.open()
    assert yard.responder.answer(opened.challenge(0), ELSEWHERE) is None
    assert yard.responder.answer(opened.hello, ELSEWHERE) is None
    assert yard.responder.answer(opened.close(0), ELSEWHERE) is None


def test_a_hello_that_is_sent_again_opens_nothing_new() -> None:
    yard = Yard()
    opened = yard.open()
    assert yard.responder.answer(opened.hello, HERE) == opened.welcome
    yard.seconds += 10
    yard.now_ms += 10_000
    second = yard.open()
    assert second.id != opened.id
    assert opened.ask(opened.challenge(0)) is None, "one session for each landmark"
    assert yard.responder.answer(opened.hello, HERE) is None, "an old hello, kept by somebody"
    assert second.ask(second.challenge(0)) is not None


def test_sessions_end_and_do_not_follow_each_other_too_fast() -> None:
    yard = Yard()
    opened = yard.open()
    yard.now_ms += 1
    assert yard.responder.answer(yard.hello(), HERE) is None
    yard.seconds += 121
    assert opened.ask(opened.challenge(0)) is None
    assert opened.ask(opened.close(0)) is None


def test_a_flood_of_hellos_costs_no_more_signatures_than_the_bucket_holds() -> None:
    yard = Yard()
    stranger = Ed25519PrivateKey.generate()
    for _ in range(int(HELLOS_AT_ONCE)):
        assert yard.responder.answer(yard.hello(signer=stranger), HERE) is None
    assert yard.responder.answer(yard.hello(), HERE) is None
    yard.seconds += 1
    assert yard.responder.answer(yard.hello(), HERE) is not None


@given(st.binary(max_size=300), st.sampled_from([b"", b"SKL1\x01", b"SKL1\x03", b"SKL1\x05", b"SKL1\x02"]))
def test_any_bytes_are_answered_nothing(data: bytes, head: bytes) -> None:
    assert Yard().responder.answer(head + data, HERE) is None


@given(st.integers(0, 2000))
def test_a_changed_bit_is_answered_nothing_or_no_more_than_was_sent(bit: int) -> None:
    yard = Yard()
    opened = yard.open()
    for packet in (opened.challenge(0), opened.close(0)):
        bad = bytearray(packet)
        bad[bit // 8 % len(bad)] ^= 1 << bit % 8
        assert opened.ask(bytes(bad)) is None


def test_no_answer_is_longer_than_its_question() -> None:
    opened = Yard().open()
    assert len(opened.welcome) <= len(opened.hello)
    for question in (opened.challenge(0), opened.close(0)):
        reply = opened.ask(question)
        assert reply is not None
        assert len(reply) <= len(question)


def test_memory_has_an_end() -> None:
    yard = Yard()
    for _ in range(5):
        opened = yard.open()
        for seq in range(packets.ROUNDS_MAX):
            assert opened.ask(opened.challenge(seq)) is not None
        yard.seconds += 1
        yard.now_ms += 1000
    assert len(yard.responder._sessions) == len(yard.responder._by_landmark) == 1


# --- the socket


def _config(*keys: str, listen: str = "127.0.0.1:0") -> LocationConfig:
    return LocationConfig(listen=listen, landmarks=[LocationLandmark(name="north", key=key) for key in keys])


def _key() -> str:
    return encode_public_key(Ed25519PrivateKey.generate().public_key())


@pytest.fixture
def service() -> Iterator[LocationService]:
    found = LocationService(_config(_key()), Ed25519PrivateKey.generate())
    found.start()
    yield found
    found.stop()


def test_the_service_stays_silent_and_alive(service: LocationService) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(0.2)
        for packet in (b"", b"?", b"SKL1\x01" + bytes(200), bytes(2000)):
            stranger.sendto(packet, service.address[:2])
        with pytest.raises(TimeoutError):
            stranger.recv(100)
    assert service._thread.is_alive()


@pytest.mark.parametrize("listen", ["127.0.0.1", ":5", "127.0.0.1:x", "127.0.0.1:99999", "192.0.2.1:0"])
def test_an_address_that_cannot_be_listened_on_stops_the_agent(listen: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LocationService(_config(_key(), listen=listen), Ed25519PrivateKey.generate())
    assert caught.value.code == "config.location"


def test_keys_are_keys_and_each_is_named_once() -> None:
    key = _key()
    assert list(landmark_names(_config(key)).values()) == ["north"]
    for keys in (("none",), (key, key)):
        with pytest.raises(ConfigError) as caught:
            landmark_names(_config(*keys))
        assert caught.value.code == "config.location"


def test_it_listens_on_ipv6_where_asked() -> None:
    found = LocationService(_config(_key(), listen="[::1]:0"), Ed25519PrivateKey.generate())
    assert found.address[0] == "::1"
    found.stop()


def test_the_agent_answers_where_its_configuration_says(control: ControlPlane, needs_bwrap: None) -> None:
    """`sekisho-agent run` as a process: the landmark that it names has a session signed with the agent's own key."""
    yard = Yard()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.bind(("127.0.0.1", 0))
        port = link.getsockname()[1]
    location = {
        "listen": f"127.0.0.1:{port}",
        "landmarks": [{"name": "north", "key": encode_public_key(yard.landmark.public_key())}],
    }
    with (
        support.agent_process(control, location=location) as agent,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link,
    ):
        identity = json.loads((agent.folder / "state" / "identity.json").read_text())
        key = Ed25519PrivateKey.from_private_bytes(canonical.from_base64url(identity["private_key"]))
        public = key.public_key().public_bytes_raw()
        link.connect(("127.0.0.1", port))
        link.settimeout(0.3)

        def welcomed() -> bool:
            hello = yard.hello(site=public, time_ms=time.time_ns() // 1_000_000)
            try:
                link.send(hello)
                welcome = link.recv(300)
            except OSError:
                return False
            packets.check_signature(welcome, public)
            return packets.read_welcome(welcome).hello == sha256(hello).digest()

        support.until(welcomed, seconds=20, what="a welcome")
        assert agent.stop() == 0
        with contextlib.suppress(OSError):
            link.send(b"?")
        with pytest.raises(OSError, match=r"refused|timed out"):
            link.recv(300)
