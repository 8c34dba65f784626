"""Two processes add up their arrays over the overlay between two walls, with the libraries that training uses.

Both run through the local engine as a job of two nodes. PyTorch speaks Gloo by itself; JAX finds the other process
through its coordinator and then speaks Gloo as well. Nothing in either program knows of walls.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from sekisho_agent import clock, listeners
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import Image
from sekisho_agent.engines.local import LocalEngine
from tests.agent.engine_suite import make_task, wait_end
from tests.agent.support import needs_bubblewrap
from tests.examples import image
from tests.support import components

pytestmark = [pytest.mark.slow, pytest.mark.wall]
SECONDS_MAX = 90
SIZE = 1_000_000

TORCH = f"""
import os
import torch
import torch.distributed as group

group.init_process_group("gloo")
rank, size = group.get_rank(), group.get_world_size()
mine = torch.arange({SIZE}, dtype=torch.float64) * (rank + 1)
group.all_reduce(mine)
expected = torch.arange({SIZE}, dtype=torch.float64) * 3
print(rank, size, group.get_backend(), bool(torch.equal(mine, expected)), flush=True)
group.destroy_process_group()
"""

JAX = f"""
import os
import jax
import numpy

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_cpu_collectives_implementation", "gloo")
place = os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"]
jax.distributed.initialize(place, int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"]))
from jax.experimental import multihost_utils

mine = numpy.arange({SIZE}, dtype=numpy.float32) % 1024 * (jax.process_index() + 1)
total = multihost_utils.process_allgather(mine).sum(axis=0)
same = bool((total == numpy.arange({SIZE}, dtype=numpy.float32) % 1024 * 3).all())
print(jax.process_index(), jax.process_count(), "gloo", same, flush=True)
"""


class Program(NamedTuple):
    """What runs, and in which environment."""

    environment: str
    code: str


@pytest.fixture(
    params=[Program("torch-cpu", TORCH), Program(image.JOB, JAX)], ids=lambda program: program.environment
)
def program(request: pytest.FixtureRequest) -> Program:
    found: Program = request.param
    if found.environment == image.JOB:
        image.interpreter()
    elif not (image.folder(found.environment) / "whole").exists():
        # Not of the public index, so CI=true cannot ask for it: the other library's test runs there.
        pytest.skip("NOT TESTED, no PyTorch here: UV_FIND_LINKS=... python -m tests.examples.image torch-cpu")
    return found


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    needs_bubblewrap()
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    values = {
        "control_url": "https://control.invalid",
        "state_dir": str(tmp_path / "state"),
        "capacity": {"attempts": 2, "cpus": 8, "memory_bytes": 16 << 30},
    }
    (tmp_path / "state").mkdir()
    opened = LocalEngine(msgspec.convert(values, AgentConfig))
    yield opened
    opened.close()


def test_two_processes_add_up_what_they_have(program: Program, engine: LocalEngine, tmp_path: Path) -> None:
    capabilities = engine.capabilities()
    if capabilities.nodes < 2:
        components.missing("an overlay between walls", capabilities.limits["nodes"])
    task = make_task(
        tmp_path,
        "",
        argv=("/image/bin/python", "-c", program.code),
        nodes=2,
        image=Image(name=program.environment, digest="", folder=image.folder(program.environment)),
        env={"PATH": "/image/bin:/usr/bin:/bin", "HOME": "/home", "OMP_NUM_THREADS": "1"},
        limits={"memory_bytes": 4 << 30, "processes": 256, "wall_s": SECONDS_MAX, "tmp_bytes": 256 << 20},
        lease_deadline=clock.monotonic() + SECONDS_MAX,
    )
    engine.submit(task)
    engine.observe(task.attempt, known="starting", timeout_seconds=SECONDS_MAX)
    engine.observe(task.attempt, known="running", timeout_seconds=SECONDS_MAX)
    end = wait_end(engine, task).end
    said = engine.logs(task.attempt, 0, 1 << 20).decode()
    assert end is not None
    assert (end.reason, end.exit_status) == ("finished", 0), said
    assert "0 2 gloo True" in said.splitlines()
    assert "[1] 1 2 gloo True" in said.splitlines()
