"""Which engine a configuration names."""

from __future__ import annotations

from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.contract import Engine
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.engines.slurm import Slurm
from sekisho_agent.engines.wrapped import WrappedEngine
from sekisho_agent.errors import ConfigError


def open_engine(config: AgentConfig) -> Engine:
    """The engine, opened; ConfigError `config.invalid` when its own table is missing."""
    if config.engine == "local":
        return LocalEngine(config)
    if config.slurm is None:
        raise ConfigError("config.invalid", f"engine {config.engine} needs a table [{config.engine}]")
    return WrappedEngine(config, Slurm(config.slurm))
