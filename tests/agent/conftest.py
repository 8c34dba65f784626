"""Fixtures of the agent's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agent import control as fake
from tests.agent import support


@pytest.fixture
def needs_bwrap() -> None:
    support.needs_bubblewrap()


@pytest.fixture
def control() -> Iterator[fake.ControlPlane]:
    with fake.running() as running:
        yield running


@pytest.fixture(params=["root", "plain"])
def agent(
    request: pytest.FixtureRequest, control: fake.ControlPlane, needs_bwrap: None
) -> Iterator[support.AgentProcess]:
    """A running agent, once with the rights of these tests and once as a plain user."""
    with support.agent_process(control, plain=request.param == "plain") as process:
        yield process
