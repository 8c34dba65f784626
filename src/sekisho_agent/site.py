"""What all attempts of one agent share."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sekisho_agent.client import ControlClient
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import Engine
from sekisho_agent.logsender import LogSender
from sekisho_agent.store import SiteStore


class Site(msgspec.Struct, frozen=True):
    """The open parts of a running agent. The loop makes and closes them; attempts only use them."""

    config: AgentConfig
    client: ControlClient
    engine: Engine
    store: SiteStore
    logs: LogSender

    @property
    def attempts_folder(self) -> Path:
        """Where each attempt has its folder; what lies here at start was left by a process that is gone."""
        return self.config.state_folder / "attempts"
