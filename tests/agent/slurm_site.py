"""A real Slurm for the agent's tests, started once for all of them: its engine, and an agent that uses it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from sekisho_agent.config import AgentConfig
from tests.support import slurm


def settings(cluster: slurm.Cluster, **changes: Any) -> dict[str, Any]:
    """An agent's settings for a cluster."""
    table = {
        "url": cluster.url,
        "user": "root",
        "token_file": str(cluster.token_file),
        "account": "tenant",
        "partition": "batch",
    }
    return {"engine": "slurm", "slurm": table | changes}


def config(cluster: slurm.Cluster, folder: Path, **changes: Any) -> AgentConfig:
    """The same for an engine without an agent."""
    values = {"control_url": "http://127.0.0.1:1", "state_dir": str(folder), "capacity": {"attempts": 8}}
    return msgspec.convert(values | settings(cluster, **changes), AgentConfig)


def wait_state(cluster: slurm.Cluster, native: str, *states: str) -> str:
    """Wait until Slurm itself says one of these states of a job; which one."""
    deadline = time.monotonic() + slurm.WAIT_SECONDS
    while (state := cluster.state(native)) not in states:
        assert time.monotonic() < deadline, f"job {native} is {state}, not {states}"
        time.sleep(0.1)
    return state
