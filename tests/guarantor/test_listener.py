"""A listener: what it is told, what it hears, what it signs, and everything that it refuses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent import canaries
from sekisho_agent.clock import now_ms
from sekisho_agent.config import ListenerConfig as AgentListener
from sekisho_agent.errors import ConfigError
from sekisho_agent.observer import Observer
from sekisho_guarantor import listener as listener_module
from sekisho_guarantor.__main__ import main
from sekisho_guarantor.errors import GuarantorError
from sekisho_guarantor.listener import DONE_MS_MAX, OPEN_MS_MAX, SKEW_MS_MAX, Listener, RefusedError
from sekisho_guarantor.listener_config import AgentConfig, ListenerConfig, create_key, load_config, read_key
from sekisho_guarantor.listener_door import ListenerServer
from sekisho_verify.canonical import from_base64url, to_base64url
from sekisho_verify.errors import VerifyError
from sekisho_verify.observation import PROTOCOLS, WAYS, read_observation
from sekisho_wire.observing import (
    CLOSE,
    FRAME_BYTES_MAX,
    NODES_MAX,
    OPEN,
    PREFIX,
    Asked,
    frame,
    is_opened,
    nonce_digest,
    read_request,
    unframe,
    write_request,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
AGENT = Ed25519PrivateKey.from_private_bytes(bytes([2] * 32))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes([3] * 32))
NAME = "listener.example/one"
ATTEMPT = "att_" + "0" * 26
NONCES = {
    way: {name: f"{number}{place}" * 12 for place, name in enumerate(PROTOCOLS)}
    for number, way in enumerate(WAYS)
}
NOW_MS = 1_800_000_000_000


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


class Clock:
    def __init__(self) -> None:
        self.ms = NOW_MS

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quiet(clock: Clock) -> Listener:
    return Listener(NAME, KEY, [public(AGENT)], clock)


def asked(kind: str = OPEN, key: Ed25519PrivateKey = AGENT, **changes: Any) -> bytes:
    expected = {
        way: {name: nonce_digest(text.encode()) for name, text in by.items()} for way, by in NONCES.items()
    }
    values = Asked(kind, public(key), ATTEMPT, 1, NOW_MS, expected if kind == OPEN else {})
    return write_request(values._replace(**changes), key.sign)


def test_what_arrived_and_what_did_not_is_signed(quiet: Listener, clock: Clock) -> None:
    assert is_opened(quiet.answer(asked()), read_request(asked()), public(KEY))
    assert quiet.hear(NONCES["outside"]["tcp"].encode(), "tcp")
    assert quiet.hear(canaries.dns_query(NONCES["outside"]["dns"].encode()), "dns")
    assert quiet.hear(b"noise " + NONCES["inside"]["udp"].encode(), "tcp"), "by whatever way it came"
    clock.ms += 5000
    report = quiet.answer(asked(CLOSE))
    seen = read_observation(report)
    assert (seen.listener, seen.key, seen.agent) == (NAME, public(KEY), public(AGENT))
    assert (seen.attempt, seen.token, seen.opened_ms, seen.closed_ms) == (ATTEMPT, 1, NOW_MS, NOW_MS + 5000)
    assert (seen.outside, seen.inside) == ({"tcp", "dns"}, {"tcp"})
    assert seen.results == {"tcp": "open", "udp": "unproven", "dns": "closed"}
    assert quiet.answer(asked(CLOSE)) == report, "the same again for who did not get it"


def of_node(way: str, name: str, node: int) -> str:
    return nonce_digest(f"{way}{name}{node}".encode())[:24]


def told(nodes: int) -> dict[str, dict[str, list[str]]]:
    """The digests of a gang's nonces."""
    return {
        way: {
            name: [nonce_digest(of_node(way, name, node).encode()) for node in range(nodes)]
            for name in PROTOCOLS
        }
        for way in WAYS
    }


def test_a_gangs_path_was_alive_where_every_nodes_was_and_open_where_any_was(quiet: Listener) -> None:
    """Silence of a node that never had a path to the listener is no evidence about its wall."""
    largest = asked(expected=told(NODES_MAX))
    assert unframe(frame(largest)) == largest, "it fits"
    quiet.answer(asked(expected=told(2)))
    for way, name, node in (
        *(("outside", name, 0) for name in PROTOCOLS),
        ("outside", "tcp", 1),
        ("inside", "dns", 1),
    ):
        assert quiet.hear(of_node(way, name, node).encode(), name)
    seen = read_observation(quiet.answer(asked(CLOSE)))
    assert (seen.outside, seen.inside) == ({"tcp"}, {"dns"})
    assert seen.results == {"tcp": "closed", "udp": "unproven", "dns": "open"}


def test_what_it_was_not_told_of_is_nobodys(quiet: Listener) -> None:
    nonce = NONCES["inside"]["tcp"].encode()
    assert not quiet.hear(nonce, "tcp")
    quiet.answer(asked())
    assert not quiet.hear(b"f" * 24, "tcp")
    assert not quiet.hear(nonce + b"0", "tcp"), "25 digits are no nonce"
    assert not quiet.hear(b"".join(b"%024d " % number for number in range(100, 120)) + nonce, "tcp"), (
        "only the first few"
    )
    quiet.answer(asked(CLOSE))
    assert not quiet.hear(nonce, "tcp"), "over is over"


def code_of(quiet: Listener, request: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        quiet.answer(request)
    return caught.value.code


def test_every_other_request_is_refused(quiet: Listener, clock: Clock) -> None:
    assert code_of(quiet, asked(key=STRANGER)) == "listener.unknown_agent"
    assert code_of(quiet, asked(time_ms=NOW_MS - SKEW_MS_MAX - 1)) == "listener.stale"
    assert code_of(quiet, asked(time_ms=NOW_MS + SKEW_MS_MAX + 1)) == "listener.stale"
    assert code_of(quiet, asked(CLOSE)) == "listener.unknown_session"
    assert code_of(quiet, b"") == "listener.request"
    quiet.answer(asked())
    assert code_of(quiet, asked()) == "listener.opened_before"
    assert code_of(quiet, asked(attempt="att_" + "1" * 26)) == "listener.opened_before", "the same nonces"
    assert code_of(quiet, asked(CLOSE, token=2)) == "listener.unknown_session"
    quiet.answer(asked(CLOSE))
    assert code_of(quiet, asked()) == "listener.opened_before", "nor once it is over"
    clock.ms += DONE_MS_MAX + 1
    assert code_of(quiet, asked()) == "listener.stale", "and then the request is too old"


def test_sessions_that_nobody_closes_end(quiet: Listener, clock: Clock) -> None:
    quiet.answer(asked())
    clock.ms += OPEN_MS_MAX + 1
    assert code_of(quiet, asked(CLOSE, time_ms=clock.ms)) == "listener.unknown_session"
    assert not quiet.hear(NONCES["inside"]["tcp"].encode(), "tcp")
    quiet.answer(asked(time_ms=clock.ms))


def test_one_agent_cannot_take_all_the_room(quiet: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "OPEN_PER_AGENT_MAX", 1)
    quiet.answer(asked())
    other = {way: {name: nonce_digest(f"{way}{name}".encode()) for name in PROTOCOLS} for way in WAYS}
    assert code_of(quiet, asked(attempt="att_" + "1" * 26, expected=other)) == "listener.full"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "another"},
        {"attempt": ""},
        {"token": -1},
        {"time_ms": 1.5},
        {"agent": b"short"},
        {"expected": {}},
        {"expected": {"outside": {}, "inside": {}}},
        {"expected": dict.fromkeys(WAYS, dict.fromkeys(PROTOCOLS, "0" * 64))},
        {"expected": dict.fromkeys(WAYS, dict.fromkeys(PROTOCOLS, "x"))},
        {"expected": {way: {name: [] for name in PROTOCOLS} for way in WAYS}},
        {"expected": told(2) | {"inside": told(3)["inside"]}},
        {"expected": told(2) | {"inside": {name: each[0] for name, each in told(2)["inside"].items()}}},
        {"expected": told(2) | {"inside": told(2)["outside"]}},
        {"expected": told(129)},
        {"kind": CLOSE, "expected": {"outside": {}}},
    ],
)
def test_a_request_of_another_shape_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises((VerifyError, TypeError)):
        read_request(asked(**changes))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_frame_or_not_yet_one_or_none(content: bytes) -> None:
    try:
        assert unframe(content) is None or content.startswith(PREFIX)
    except VerifyError:
        assert not content.startswith(PREFIX) or content[len(PREFIX) :][:1] not in b"123456789"
    whole = frame(b"x" + content)
    assert unframe(whole) == b"x" + content
    assert all(unframe(whole[:cut]) is None for cut in range(len(whole)))


def test_a_frame_has_a_greatest_length() -> None:
    with pytest.raises(VerifyError):
        unframe(PREFIX + b"%d\n" % (FRAME_BYTES_MAX + 1))


class Yard:
    """A listener on real sockets, and an agent that knows it."""

    def __init__(self, folder: Path) -> None:
        config = ListenerConfig(
            folder=str(folder),
            name=NAME,
            agents=[AgentConfig("site", to_base64url(public(AGENT)))],
            tcp=0,
            udp=0,
            dns=0,
        )
        self.listener = Listener(NAME, KEY, config.keys(), now_ms)
        self.server = ListenerServer(self.listener, config)
        self.server.start()
        tcp, udp, dns = self.server.ports
        self.config = AgentListener("127.0.0.1", to_base64url(public(KEY)), tcp, udp, dns)
        self.observer = Observer(self.config, AGENT)


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    opened = Yard(tmp_path)
    yield opened
    opened.server.close()


def test_canaries_reach_a_real_listener_and_its_report_comes_back(yard: Yard) -> None:
    watch = yard.observer.open(ATTEMPT, 1)
    assert watch is not None
    assert canaries.probe(watch.outside) == dict.fromkeys(canaries.OBSERVED, True)
    seen = read_observation(from_base64url(yard.observer.close(ATTEMPT, 1)))
    assert (seen.outside, seen.inside) == (set(PROTOCOLS), set())
    assert yard.observer.close(ATTEMPT, 1), "an answer that was lost is given again"
    assert yard.observer.close(ATTEMPT, 2) == ""
    assert yard.observer.open(ATTEMPT, 1) is None


def test_each_node_of_a_gang_has_to_be_heard(yard: Yard) -> None:
    watch = yard.observer.open(ATTEMPT, 1, nodes=2)
    assert watch is not None
    first, second = watch.of(0), watch.of(1)
    assert not {one["nonce"] for one in first.outside.values()} & {
        one["nonce"] for one in second.outside.values()
    }
    canaries.probe(first.outside)
    canaries.probe({"listener_udp": second.outside["listener_udp"]})
    canaries.probe({"listener_tcp": second.inside["listener_tcp"]})
    seen = read_observation(from_base64url(yard.observer.close(ATTEMPT, 1)))
    assert seen.results == {"tcp": "open", "udp": "closed", "dns": "unproven"}


def test_a_deliberately_opened_route_is_caught(yard: Yard) -> None:
    watch = yard.observer.open(ATTEMPT, 1)
    assert watch is not None
    canaries.probe(watch.outside)
    canaries.probe({"listener_udp": watch.inside["listener_udp"]})
    seen = read_observation(from_base64url(yard.observer.close(ATTEMPT, 1)))
    assert seen.results == {"tcp": "closed", "udp": "open", "dns": "closed"}


def test_strangers_get_no_answer(yard: Yard) -> None:
    tcp, udp, _ = yard.server.ports
    with socket.create_connection(("127.0.0.1", tcp), 5) as connection:
        connection.sendall(b"a" * 24)
        assert connection.recv(100) == b""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.settimeout(0.2)
        datagram.sendto(b"a" * 24, ("127.0.0.1", udp))
        with pytest.raises(TimeoutError):
            datagram.recv(100)
    for request in (b"sekisho-listener/1 x\n", frame(b"x"), PREFIX[:5]):
        with socket.create_connection(("127.0.0.1", tcp), 5) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) in {b"refused listener.request\n", b""}


def test_an_agent_that_is_answered_by_another_key_believes_nothing(yard: Yard) -> None:
    other = Observer(AgentListener("127.0.0.1", to_base64url(public(STRANGER)), *yard.server.ports), AGENT)
    assert other.open(ATTEMPT, 1) is None
    assert other.close(ATTEMPT, 1) == ""
    stranger = Observer(yard.config, STRANGER)
    assert stranger.open(ATTEMPT, 1) is None
    assert stranger.close(ATTEMPT, 1) == ""


def test_a_listener_that_is_away_stops_nothing(yard: Yard) -> None:
    yard.server.close()
    assert yard.observer.open(ATTEMPT, 1) is None
    assert yard.observer.close(ATTEMPT, 1) == ""
    with pytest.raises(ConfigError):
        Observer(AgentListener("127.0.0.1", "no key"), AGENT)


def configure(folder: Path, **changes: str) -> Path:
    path = folder / "listener.toml"
    values = {"folder": str(folder / "state"), "name": NAME} | changes
    lines = [f'{name} = "{value}"' for name, value in values.items()]
    agent = f'[[agents]]\nname = "site"\nkey = "{to_base64url(public(AGENT))}"\n'
    path.write_text("\n".join([*lines, "tcp = 0", "udp = 0", "dns = 0", agent]))
    return path


def test_the_command_makes_a_key_once_and_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = configure(tmp_path)
    assert main(["--json", "listener", "init", "--config", str(path)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made == {"name": NAME, "key": to_base64url(public(read_key(tmp_path / "state")))}
    assert main(["--lang", "ja", "listener", "init", "--config", str(path)]) == 6
    assert "guarantor.key_exists" in capsys.readouterr().err
    command = [
        sys.executable,
        "-m",
        "sekisho_guarantor",
        "--lang",
        "en",
        "listener",
        "run",
        "--config",
        str(path),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith(f"{NAME} listens on 127.0.0.1: TCP ")
        tcp, udp, dns = (int(word.rstrip(",\n").split(" ")[-1]) for word in line.split(": ", 1)[1].split(","))
        observer = Observer(AgentListener("127.0.0.1", made["key"], tcp, udp, dns), AGENT)
        assert observer.open(ATTEMPT, 1) is not None
        assert observer.close(ATTEMPT, 1)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stderr.close() if process.stderr else None


def test_keys_and_settings_that_do_not_hold(tmp_path: Path) -> None:
    def code(call: Any) -> str:
        with pytest.raises(GuarantorError) as caught:
            call()
        return caught.value.code

    assert code(lambda: load_config(tmp_path / "none.toml")) == "guarantor.config_unreadable"
    (tmp_path / "odd.toml").write_text("= 1")
    assert code(lambda: load_config(tmp_path / "odd.toml")) == "guarantor.config_unreadable"
    assert code(lambda: load_config(configure(tmp_path, more="1"))) == "guarantor.config_invalid"
    path = configure(tmp_path)
    path.write_text(path.read_text() + path.read_text()[path.read_text().index("[[agents]]") :])
    assert code(lambda: load_config(path)) == "guarantor.config_invalid"
    path.write_text(configure(tmp_path).read_text().replace(to_base64url(public(AGENT)), "AA"))
    assert code(lambda: load_config(path)) == "guarantor.config_invalid"
    assert code(lambda: read_key(tmp_path / "state")) == "listener.key_unreadable"
    create_key(tmp_path / "state")
    assert code(lambda: create_key(tmp_path / "state")) == "guarantor.key_exists"
    (tmp_path / "state" / "listener.key").chmod(0o644)
    assert code(lambda: read_key(tmp_path / "state")) == "listener.key_unreadable"


def test_a_port_that_is_taken_is_named(yard: Yard, tmp_path: Path) -> None:
    tcp, _, _ = yard.server.ports
    agents = [AgentConfig("site", to_base64url(public(AGENT)))]
    taken = ListenerConfig(
        folder=str(tmp_path), name=NAME, agents=agents, tcp=0, udp=yard.server.ports[1], dns=0
    )
    with pytest.raises(GuarantorError) as caught:
        ListenerServer(yard.listener, taken)
    assert caught.value.code == "guarantor.address_unusable"
    assert tcp != yard.server.ports[1]
