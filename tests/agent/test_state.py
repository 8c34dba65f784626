from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent.errors import StateError
from sekisho_agent.state import IDENTITY_FILE, AgentState, Identity
from sekisho_verify import canonical
from sekisho_wire.signing import encode_public_key
from tests.agent.support import until

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
IDENTITY = Identity(
    agent="agt_" + "0" * 26,
    site="site_0",
    name="tokyo",
    control_key=encode_public_key(KEY.public_key()),
    private_key=canonical.to_base64url(KEY.private_bytes_raw()),
)


def code_of(action: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(StateError) as caught:
        action(*arguments)
    return caught.value.code


def test_an_identity_is_kept_privately_and_once(tmp_path: Path) -> None:
    state = AgentState.open(tmp_path)
    assert code_of(state.identity) == "agent.state.unregistered"
    first = state.registration_key().private_bytes_raw()
    assert state.registration_key().private_bytes_raw() == first
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    state.save_identity(IDENTITY)
    assert not (tmp_path / "registering.key").exists()
    assert state.identity() == IDENTITY
    assert (tmp_path / IDENTITY_FILE).stat().st_mode & 0o777 == 0o600
    assert code_of(state.registration_key) == "agent.state.registered"
    (tmp_path / IDENTITY_FILE).chmod(0o640)
    assert code_of(state.identity) == "agent.state.permissions"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"null", b"\xff", b'{"agent":1}', IDENTITY.private_key.encode()]
)
def test_a_damaged_identity_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    state = AgentState.open(tmp_path)
    (tmp_path / IDENTITY_FILE).write_bytes(content)
    (tmp_path / IDENTITY_FILE).chmod(0o600)
    with pytest.raises(StateError) as caught:
        state.identity()
    assert caught.value.code == "agent.state.damaged"
    assert IDENTITY.private_key not in str(caught.value)


def test_one_process_has_the_folder(tmp_path: Path) -> None:
    first = AgentState.open(tmp_path)
    assert code_of(AgentState.open, tmp_path) == "agent.state.locked"
    first.close()
    AgentState.open(tmp_path).close()


@given(st.lists(st.sampled_from(["main", "lease", "log", "restart"]), max_size=30))
def test_numbers_grow_across_restarts(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    folder = tmp_path_factory.mktemp("state")
    state, last = AgentState.open(folder), dict.fromkeys(("main", "lease", "log"), 0)
    for step in steps:
        if step == "restart":
            state.close()
            state = AgentState.open(folder)
            continue
        number = state.next_seq(step)
        assert number > last[step]
        last[step] = number
    state.close()


def test_an_order_is_taken_once(tmp_path: Path) -> None:
    state = AgentState.open(tmp_path)
    assert [state.take_order(seq) for seq in (3, 3, 2, 4)] == [True, False, False, True]
    state.close()
    again = AgentState.open(tmp_path)
    assert [again.take_order(seq) for seq in (4, 5)] == [False, True]


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"1.5", b"\xff", "１".encode()])
def test_a_damaged_counter_stops_the_agent(tmp_path: Path, content: bytes) -> None:
    AgentState.open(tmp_path).close()
    (tmp_path / "seq.main").write_bytes(content)
    assert code_of(AgentState.open, tmp_path) == "agent.state.damaged"


def _count(folder: Path, used: Path) -> None:
    state = AgentState.open(folder)
    with used.open("a") as file:
        while True:
            file.write(f"{state.next_seq('main')}\n")
            file.flush()


def test_a_kill_at_any_moment_uses_no_number_twice(tmp_path: Path) -> None:
    used = tmp_path / "used"
    used.touch()
    for _ in range(10):
        before = used.stat().st_size
        child = multiprocessing.get_context("fork").Process(target=_count, args=(tmp_path / "state", used))
        child.start()
        until(lambda before=before: used.stat().st_size > before + 20, what="some numbers")
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    numbers = [int(line) for line in used.read_text().splitlines()]
    assert numbers == sorted(set(numbers))
