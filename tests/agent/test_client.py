from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sekisho_agent import registration
from sekisho_agent.attempt import ATTEMPT_FILE, ENDED_FILE, Kept
from sekisho_agent.client import ControlClient, check_control_url, post, problem_from
from sekisho_agent.config import load_config
from sekisho_agent.errors import ConfigError, ProblemError, StateError, UnreachableError
from sekisho_agent.loop import AgentLoop
from sekisho_agent.state import AgentState
from sekisho_wire.messages import (
    Accept,
    Body,
    Capabilities,
    Capacity,
    Ended,
    Envelope,
    Lease,
    LogChunk,
    Ok,
    Poll,
    RegistrationCode,
)
from sekisho_wire.signing import encode_public_key
from tests.agent import control as fake
from tests.agent.control import ControlPlane, make_id
from tests.agent.support import make_config, make_offer

POLL = Poll(
    wait_s=1,
    nonce="0" * 32,
    free=Capacity(attempts=1, cpus=1, memory_bytes=1),
    capabilities=Capabilities(engine="local", wall="none", limits={}),
)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[AgentState]:
    opened = AgentState.open(tmp_path / "state")
    yield opened
    opened.close()


@pytest.fixture
def client(control: ControlPlane, state: AgentState) -> Iterator[ControlClient]:
    identity = registration.register(state, control.url, code_text=control.code(), name="tokyo")
    opened = ControlClient(control.url, identity, state)
    yield opened
    opened.close()


@pytest.fixture
def attempt(control: ControlPlane) -> str:
    name = make_id("att")
    control.tokens[name] = 1
    return name


# --- registration


def test_a_code_works_once(control: ControlPlane, tmp_path: Path) -> None:
    code = control.code()
    first = registration.register(AgentState.open(tmp_path / "a"), control.url, code_text=code, name="tokyo")
    assert first.site == fake.SITE
    with pytest.raises(ProblemError) as caught:
        registration.register(AgentState.open(tmp_path / "b"), control.url, code_text=code, name="tokyo")
    assert caught.value.code == "registration.unknown_code"
    assert not (tmp_path / "b" / "identity.json").exists()


def test_an_answer_by_another_control_plane_is_refused(control: ControlPlane, state: AgentState) -> None:
    """Whoever sits between cannot answer for the control plane: its key came with the code."""
    with fake.running() as stranger:
        code = RegistrationCode(
            secret=stranger.code().split(".")[1],
            control_key=encode_public_key(control.key.public_key()),
            site=fake.SITE,
        )
        with pytest.raises(UnreachableError) as caught:
            registration.register(state, stranger.url, code_text=code.text(), name="tokyo")
    assert caught.value.code == "agent.answer.unsealed"
    assert code.secret not in str(caught.value)
    with pytest.raises(StateError):
        state.identity()


def test_an_answer_for_another_site_is_refused(control: ControlPlane, state: AgentState) -> None:
    code = control.code().replace(fake.SITE, "site_other")
    with pytest.raises(UnreachableError) as caught:
        registration.register(state, control.url, code_text=code, name="tokyo")
    assert caught.value.code == "agent.answer.foreign"


@pytest.mark.parametrize("text", ["", "hello", "sekisho-reg1.short.short.site"])
def test_texts_that_are_no_code(control: ControlPlane, state: AgentState, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registration.register(state, control.url, code_text=text, name="tokyo")
    assert caught.value.code == "registration.malformed"


def test_a_registered_agent_does_not_use_up_another_code(
    control: ControlPlane,
    client: ControlClient,
    state: AgentState,
) -> None:
    code = control.code()
    with pytest.raises(StateError) as caught:
        registration.register(state, control.url, code_text=code, name="again")
    assert caught.value.code == "agent.state.registered"
    assert code.split(".")[1] not in control._used


def test_a_lost_answer_to_a_registration_can_be_asked_for_again(
    control: ControlPlane, state: AgentState
) -> None:
    code = control.code()
    control.faults.lose_answer["/agent/v1/register"] = 1
    with pytest.raises(UnreachableError):
        registration.register(state, control.url, code_text=code, name="tokyo")
    identity = registration.register(state, control.url, code_text=code, name="tokyo")
    assert list(control._agents) == [identity.agent]


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://control.example", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost", True),
        ("http://control.example", False),
        ("http://127.0.0.1.example", False),
        ("ftp://127.0.0.1", False),
        ("", False),
    ],
)
def test_plain_http_only_to_this_machine(url: str, fine: bool) -> None:
    if fine:
        assert check_control_url(url + "/") == url
        return
    with pytest.raises(ConfigError):
        check_control_url(url)


# --- messages


def test_a_message_is_repeated_byte_for_byte(
    control: ControlPlane, client: ControlClient, attempt: str
) -> None:
    path = "/agent/v1/message"
    control.faults.lose_answer[path] = 2
    control.faults.fail[path] = 1
    assert client.send(Accept(), attempt, 1) == Ok()
    assert control.kinds(attempt) == ["Accept"]
    assert control.replayed == 0


def test_a_refusal_carries_its_code(control: ControlPlane, client: ControlClient, attempt: str) -> None:
    with pytest.raises(ProblemError) as caught:
        client.send(Accept(), attempt, 9)
    assert (caught.value.code, caught.value.status) == ("attempt.fenced", 409)


def test_waiting_ends_when_nobody_wants_the_answer(
    control: ControlPlane, client: ControlClient, attempt: str
) -> None:
    control.faults.silent = True
    with pytest.raises(UnreachableError):
        client.send(Accept(), attempt, 1, wanted=lambda: False)
    client.stop()
    with pytest.raises(UnreachableError):
        client.send(Accept(), attempt, 1)


def test_renewals_count_from_when_they_were_sent(
    control: ControlPlane, client: ControlClient, attempt: str
) -> None:
    answer, sent_at = client.renew(attempt, 1)
    _, later = client.renew(attempt, 1)
    assert answer == Lease(lease_s=60)
    assert later > sent_at


def test_lanes_count_by_themselves(control: ControlPlane, client: ControlClient, attempt: str) -> None:
    for _ in range(3):
        client.send(Accept(), attempt, 1)
    client.renew(attempt, 1)
    client.send_log(LogChunk(offset=0, text="eA"), attempt, 1)
    assert [m.seq for m in control.messages if m.lane == "main"] == [1, 2, 3]
    assert [m.seq for m in control.messages if m.lane == "lease"] == [1]
    assert control.log_text(attempt) == b"x"


def test_an_old_message_in_a_strangers_hand_is_worthless(
    control: ControlPlane,
    client: ControlClient,
    attempt: str,
) -> None:
    client.send(Accept(), attempt, 1)
    client.send(Accept(), attempt, 1)
    with pytest.raises(fake.RefusedError):
        control.take(control.sealed[0])
    assert control.replayed == 1
    assert control.take(control.sealed[1]), "the last one again gets the stored answer"


def test_an_order_that_is_not_for_this_agent_does_not_keep_the_others_from_it(
    control: ControlPlane, client: ControlClient, attempt: str
) -> None:
    original = control._agents.copy()
    control._agents = {make_id("agt"): next(iter(original.values()))}
    control.order(attempt, 1, make_offer("true"))
    control._agents = original
    control.order(attempt, 2, make_offer("true"))
    assert [order.token for order in client.poll(POLL)] == [2]


def test_an_answer_to_another_question_is_refused(
    control: ControlPlane,
    client: ControlClient,
    attempt: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = control._answer

    def other_seq(question: Envelope, body: Body) -> bytes:
        return original(msgspec.structs.replace(question, seq=question.seq + 1), body)

    monkeypatch.setattr(control, "_answer", other_seq)
    with pytest.raises(UnreachableError) as caught:
        client.renew(attempt, 1)
    assert caught.value.code == "agent.answer.foreign"


def test_an_answer_by_another_key_is_refused(
    control: ControlPlane, client: ControlClient, attempt: str
) -> None:
    key = control.key
    with fake.running() as stranger:
        control.key = stranger.key
    with pytest.raises(UnreachableError) as caught:
        client.renew(attempt, 1)
    assert caught.value.code == "agent.answer.unsealed"
    control.key = key
    client.renew(attempt, 1)


@pytest.mark.parametrize(
    ("status", "content", "kind", "code"),
    [
        (409, b'{"code":"attempt.fenced"}', ProblemError, "attempt.fenced"),
        (400, b"<html>", ProblemError, "problem.unreadable"),
        (404, b"[]", ProblemError, "problem.unreadable"),
        (503, b'{"code":"busy"}', UnreachableError, "busy"),
        (429, b"", UnreachableError, "problem.unreadable"),
        (500, b"\xff", UnreachableError, "problem.unreadable"),
        (302, b"", ProblemError, "problem.unreadable"),
    ],
)
def test_problems_are_sorted_into_final_and_worth_repeating(
    status: int,
    content: bytes,
    kind: type[Exception],
    code: str,
) -> None:
    found = problem_from(status, content)
    assert type(found) is kind
    assert found.code == code


# --- configuration


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("control_url = ", "config.malformed"),
        ("\x00", "config.malformed"),
        ('control_url = "https://c.example"', "config.invalid"),
        ('control_url = "https://c.example"\nstate_dir = "x"\nsurprise = 1', "config.invalid"),
        ('control_url = "https://c.example"\nstate_dir = "x"\n[capacity]\nattempts = 0', "config.invalid"),
        ('control_url = "https://c.example"\nstate_dir = "x"\n[capacity]\nattempts = "1"', "config.invalid"),
        ('control_url = "https://c.example"\nstate_dir = "x"\nengine = "magic"', "config.invalid"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, code: str) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.code == code
    with pytest.raises(ConfigError):
        load_config(tmp_path / "none.toml")


def test_a_configuration_fills_in_what_it_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'control_url = "https://c.example"\nstate_dir = "{tmp_path}"\n')
    config = load_config(path)
    assert config.store_location() == f"file://{tmp_path}/store"
    total = config.total_capacity()
    assert (total.attempts, total.cpus > 0, total.memory_bytes > 0) == (1, True, True)


# --- answers that drip


class Dripping:
    """Answers one byte after the other, for as long as somebody reads; `whole` is sent at once before."""

    def __init__(self, whole: bytes, drop: bytes) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self._whole, self._drop = whole, drop
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65_536)
                    connection.sendall(self._whole)
                    while not select.select([connection], [], [], 0.02)[0] or connection.recv(65_536):
                        connection.sendall(self._drop)

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.mark.parametrize(
    ("whole", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 2", b"0"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 500 No\r\ncontent-length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["head", "line", "body", "problem", "interim"],
)
def test_an_answer_that_drips_is_given_up(
    control: ControlPlane, state: AgentState, whole: bytes, drop: bytes, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes well within its timeout; the answer never does."""
    monkeypatch.setattr("sekisho_agent.client.ANSWER_SECONDS_MAX", 0.3)
    identity = registration.register(state, control.url, code_text=control.code(), name="tokyo")
    server = Dripping(whole, drop)
    client = ControlClient(server.url, identity, state)
    digest = "sha256:" + "0" * 64
    with pytest.raises(UnreachableError, match="Timeout"):
        b"".join(client.download(digest, "t"))
    with pytest.raises(UnreachableError, match="Timeout"):
        client.upload(digest, "t", content=iter([b"abc"]), size_bytes=3)
    with pytest.raises(UnreachableError, match="Timeout"):
        post(client.transfers, "/x", b"", media_type="text/plain", seconds=0.3)
    client.close()
    server.close()


# --- what an earlier process left behind


def test_a_leftover_that_cannot_be_read_at_once_is_not_let_go_of(
    control: ControlPlane, state: AgentState, tmp_path: Path, attempt: str, *, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that starts on a machine with too many open files tells the end all the same."""
    registration.register(state, control.url, code_text=control.code(), name="tokyo")
    loop = AgentLoop(make_config(control.url, tmp_path / "state", engine="none"), state)
    folder = loop.site.attempts_folder / attempt
    folder.mkdir(parents=True)
    (folder / ATTEMPT_FILE).write_bytes(msgspec.json.encode(Kept(1, make_offer("true"))))
    (folder / ENDED_FILE).write_bytes(msgspec.json.encode(Ended(reason="finished", exit_status=0)))
    read, failures = Path.read_bytes, [errno.EMFILE, errno.EIO]

    def reads_later(path: Path) -> bytes:
        if path.parent == folder and failures:
            raise OSError(failures.pop(), "on a bad day")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", reads_later)
    loop._settle_leftover(folder)
    assert (control.kinds(attempt), folder.exists(), failures) == (["Ended"], False, [])
    folder.mkdir()
    loop._settle_leftover(folder)
    assert (control.kinds(attempt), folder.exists()) == (["Ended"], False), "there is nothing to wait for"
    loop.site.client.close()
