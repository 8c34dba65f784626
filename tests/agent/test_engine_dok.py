"""The engine suite on DOK, played by a stand-in that holds the published document and runs the commands.

`SEKISHO_DOK` names the settings of real projects (a JSON file of the agent's `dok` table, with an image for `system`
that has a shell and python3); the suite then runs there too, and costs what its tasks cost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho_agent.config import AgentConfig
from sekisho_agent.engines import choice
from sekisho_agent.engines.dok import DokEngine
from tests.agent.engine_suite import EngineSuite
from tests.agent.support import needs_bubblewrap, until
from tests.support import dok

pytestmark = pytest.mark.wall
REAL = os.environ.get("SEKISHO_DOK", "")
IMAGE = "registry.test/lab/base@sha256:" + "a" * 64


@pytest.fixture
def service() -> Iterator[dok.Service]:
    needs_bubblewrap()
    with dok.running() as started:
        yield started


def table(service: dok.Service, folder: Path, **changes: Any) -> dict[str, Any]:
    projects = []
    for name in service.accounts:
        credential = folder / f"credential-{name}"
        credential.write_text(f"{name}:{dok.SECRET}{name}\n", encoding="ascii")
        projects.append({"name": name, "credential_file": str(credential)})
    return {
        "projects": projects,
        "plan": "h100-80gb",
        "images": {"system": IMAGE},
        "registries": {"registry.test": ""},
        "url": service.url,
        "poll_seconds": 0.05,
    } | changes


def open_engine(settings: dict[str, Any], folder: Path, *, ready: bool = True) -> DokEngine:
    (folder / "state").mkdir(exist_ok=True)
    values = {
        "control_url": "http://127.0.0.1:1",
        "state_dir": str(folder / "state"),
        "engine": "dok",
        "dok": settings,
    }
    opened = choice.open_engine(msgspec.convert(values, AgentConfig))
    assert isinstance(opened, DokEngine)
    if ready:
        until(lambda: opened.capacity().attempts > 0, what="a free project")
    return opened


@pytest.fixture(params=["stand-in", *(["real"] if REAL else [])])
def engine(request: pytest.FixtureRequest, service: dok.Service, tmp_path: Path) -> Iterator[DokEngine]:
    if request.param == "real":
        opened = open_engine(json.loads(Path(REAL).read_text(encoding="utf-8")), tmp_path)
    else:
        opened = open_engine(table(service, tmp_path), tmp_path)
    yield opened
    opened.close()


class TestDokEngine(EngineSuite):
    """Every behaviour that holds without a program of ours around the payload."""
