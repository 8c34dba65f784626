"""A site on the stand-in for DOK: settings, an engine that is ready, and patience that suits a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from sekisho_agent.config import AgentConfig
from sekisho_agent.engines import choice, dok_project, rest
from sekisho_agent.engines.dok import DokEngine
from tests.agent.support import needs_bubblewrap, until
from tests.support import dok

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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less patience than in life."""
    monkeypatch.setattr(rest, "TIMEOUT", httpx2.Timeout(0.3))
    monkeypatch.setattr(dok_project, "PAUSE_SECONDS_MAX", 0.2)
    monkeypatch.setattr(dok_project, "DOUBT_SECONDS", 1.0)


@pytest.fixture
def one(service: dok.Service, tmp_path: Path, quick: None) -> Iterator[DokEngine]:
    opened = open_engine(table(service, tmp_path), tmp_path)
    yield opened
    service.fault = ""
    opened.close()
