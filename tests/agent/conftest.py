"""Fixtures of the agent's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sekisho_agent import listeners
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.local import LocalEngine
from tests.agent import control as fake
from tests.agent import packages, support


@pytest.fixture
def needs_bwrap() -> None:
    support.needs_bubblewrap()


@pytest.fixture
def control() -> Iterator[fake.ControlPlane]:
    with fake.running() as running:
        yield running


@pytest.fixture(params=["root", "plain"])
def agent(
    request: pytest.FixtureRequest,
    control: fake.ControlPlane,
    needs_bwrap: None,
) -> Iterator[support.AgentProcess]:
    """A running agent, once with the rights of these tests and once as a plain user."""
    with support.agent_process(control, plain=request.param == "plain") as process:
        yield process


@pytest.fixture(scope="module")
def local_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    support.needs_bubblewrap()
    with pytest.MonkeyPatch.context() as patch:
        # The tests' own process may only use loopback; test_journey tries the host's address from another process.
        patch.setattr(listeners, "host_address", lambda: None)
        folder = tmp_path_factory.mktemp("engine")
        values = {
            "control_url": "https://control.invalid",
            "state_dir": str(folder),
            "capacity": {"attempts": 4, "cpus": 8, "memory_bytes": 8 << 30},
        }
        engine = LocalEngine(msgspec.convert(values, AgentConfig))
        yield engine
        engine.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[packages.Index]:
    folder = tmp_path / "wheels"
    folder.mkdir()
    running = packages.Index(folder)
    yield running
    running.close()


@pytest.fixture(params=["system", "own"])
def image_engine(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    index: packages.Index,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LocalEngine]:
    """An engine whose images stand on the host's /usr, and one whose images stand on the Python of these tests."""
    packages.needs_builds()
    if request.param == "own":
        monkeypatch.setattr("sekisho_agent.interpreter.SYSTEM_PYTHON", Path("/nonexistent"))
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    running = packages.make_engine(tmp_path / "state", index)
    yield running
    running.close()
