"""What all attempts of one agent share."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sekisho_agent.client import ControlClient
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import Engine
from sekisho_agent.errors import ConfigError
from sekisho_agent.logsender import LogSender
from sekisho_agent.observer import Observer
from sekisho_wire.objects import ObjectError, ObjectsByDigest


class Site(msgspec.Struct, frozen=True):
    """The open parts of a running agent. The loop makes and closes them; attempts only use them."""

    config: AgentConfig
    client: ControlClient
    engine: Engine
    store: ObjectsByDigest
    logs: LogSender
    observer: Observer | None = None

    @property
    def attempts_folder(self) -> Path:
        """Where each attempt has its folder; what lies here at start was left by a process that is gone."""
        return self.config.state_folder / "attempts"


def open_store(config: AgentConfig) -> ObjectsByDigest:
    """The site's own store. Its credentials come from this machine's environment and stay in this process.

    ConfigError `config.store_url` when the URL names no store, or one that cannot be opened.
    """
    try:
        return ObjectsByDigest.open(config.store_location(), config.state_folder / "scratch")
    except ObjectError as error:
        raise ConfigError("config.store_url", error.detail) from error
