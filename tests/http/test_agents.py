"""The agents' door over a real socket: registration, and what it refuses."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho import identity
from sekisho.http import agents, serving
from sekisho.server.service import application
from sekisho_wire import messages
from sekisho_wire.signing import decode_public_key, encode_public_key, open_sealed, seal
from tests.compute.world import World
from tests.support.moulds import Moulds

SEALED = {"content-type": messages.SEALED_MEDIA_TYPE}


@pytest.fixture
def world(tmp_path: Path, moulds: Moulds) -> Iterator[World]:
    with moulds.cast(World, tmp_path) as made:
        yield made


@pytest.fixture
def door(world: World) -> Iterator[httpx2.Client]:
    with serving(application(world.control)) as listener, httpx2.Client(base_url=listener.url) as http:
        yield http


def registration(world: World, *, protocol: int = messages.PROTOCOL_VERSION) -> bytes:
    code = world.control.gate.perform(world.administrator, identity.InviteAgent(site=world.home.site.id)).code
    request = messages.RegisterRequest(
        code=code,
        name="late",
        public_key=encode_public_key(Ed25519PrivateKey.generate().public_key()),
        version="1",
        protocol=protocol,
    )
    return msgspec.json.encode(request)


def test_an_agent_whose_answer_was_lost_asks_again_and_is_the_same_agent(
    world: World, door: httpx2.Client
) -> None:
    body = registration(world)
    answers = [door.post("/agent/v1/register", content=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    key = decode_public_key(world.control.seals.public_key)
    assert open_sealed(key, answers[0].content).body == open_sealed(key, answers[1].content).body


def test_a_code_is_good_for_one_key(world: World, door: httpx2.Client) -> None:
    body = registration(world)
    assert door.post("/agent/v1/register", content=body).status_code == 200
    other = msgspec.json.decode(body, type=messages.RegisterRequest)
    thief = msgspec.structs.replace(
        other, public_key=encode_public_key(Ed25519PrivateKey.generate().public_key())
    )
    refused = door.post("/agent/v1/register", content=msgspec.json.encode(thief))
    assert refused.status_code >= 400
    assert "secret" not in refused.text


def test_an_older_protocol_is_told_what_to_do(world: World, door: httpx2.Client) -> None:
    answer = door.post("/agent/v1/register", content=registration(world, protocol=0))
    assert (answer.status_code, answer.json()["code"]) == (409, "agent.version_unsupported")


@pytest.mark.parametrize("path", ["register", "poll", "message", "log"])
@pytest.mark.parametrize(
    "content",
    [
        b'{"code":"\xff"}',
        b"",
        b"{}",
        b"AAAA\n{}",
        b"\xff" * 64,
        b'{"agent":1}',
        b"x" * (messages.SEALED_BYTES_MAX + 1),
    ],
)
def test_what_no_agent_sealed_is_one_clear_problem(door: httpx2.Client, path: str, content: bytes) -> None:
    answer = door.post(f"/agent/v1/{path}", content=content, headers=SEALED)
    assert 400 <= answer.status_code < 500
    assert answer.json()["code"] in {"agent.seal", "agent.unknown", "input.too_large"}


def test_a_message_sealed_by_a_stranger_is_unknown(world: World, door: httpx2.Client) -> None:
    envelope = messages.Envelope(
        agent=world.home.id,
        lane="main",
        seq=99,
        time="2026-11-20T00:00:00.000Z",
        attempt="",
        token=0,
        body=messages.Ok(),
    )
    sealed = seal(Ed25519PrivateKey.generate(), envelope)
    answer = door.post("/agent/v1/message", content=sealed, headers=SEALED)
    assert (answer.status_code, answer.json()["code"]) == (401, "agent.unknown")


def test_a_disabled_agent_is_unknown_from_then_on(world: World, door: httpx2.Client) -> None:
    world.control.gate.perform(world.administrator, identity.DisableAgent(agent=world.home.id))
    envelope = messages.Envelope(
        agent=world.home.id,
        lane="main",
        seq=99,
        time="2026-11-20T00:00:00.000Z",
        attempt="",
        token=0,
        body=messages.Ok(),
    )
    answer = door.post("/agent/v1/message", content=seal(world.home.key, envelope), headers=SEALED)
    assert (answer.status_code, answer.json()["code"]) == (401, "agent.unknown")


@pytest.mark.parametrize("agent", ["agt_\0", "a\0b", "", "agt_" + "0" * 26, "job_" + "0" * 26])
def test_a_name_that_is_no_agents_is_unknown(door: httpx2.Client, agent: str) -> None:
    envelope = messages.Envelope(
        agent=agent,
        lane="main",
        seq=1,
        time="2026-11-20T00:00:00.000Z",
        attempt="",
        token=0,
        body=messages.Ok(),
    )
    content = seal(Ed25519PrivateKey.generate(), envelope)
    for path in ("poll", "message", "log"):
        answer = door.post(f"/agent/v1/{path}", content=content, headers=SEALED)
        assert (answer.status_code, answer.json()["code"]) == (401, "agent.unknown")


def test_a_silent_socket_takes_no_agents_place(
    world: World, door: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "POLLS_MAX", 1)
    monkeypatch.setattr(agents, "BODY_SECONDS", 1)
    poll = messages.Poll(
        wait_s=0,
        nonce="n" * 16,
        free=messages.Capacity(attempts=1, cpus=1, memory_bytes=1),
        capabilities=messages.Capabilities(engine="local", wall="bubblewrap", limits={}),
    )
    nobody = messages.Envelope(agent="", lane="", seq=0, time="", attempt="", token=0, body=poll)
    head = b"POST /agent/v1/poll HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
    address = (door.base_url.host, door.base_url.port or 80)
    with contextlib.closing(socket.create_connection(address, timeout=20)) as silent:
        silent.sendall(head)
        content = seal(world.home.key, world.home.envelope("poll", nobody, poll, 0))
        assert door.post("/agent/v1/poll", content=content, headers=SEALED).status_code == 200
        assert silent.recv(12) == b"HTTP/1.1 408"


def test_what_agents_were_answered_about_keys_is_among_the_figures(door: httpx2.Client) -> None:
    assert "# TYPE sekisho_key_answers_total counter" in door.get("/metrics").text
