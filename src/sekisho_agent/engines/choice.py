"""Which engine a configuration names."""

from __future__ import annotations

from sekisho_agent.config import AgentConfig, DokConfig, KubernetesConfig, SlurmConfig
from sekisho_agent.engines.contract import Engine
from sekisho_agent.engines.dok import DokEngine
from sekisho_agent.engines.kubernetes import Kubernetes
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.engines.nothing import NoEngine
from sekisho_agent.engines.slurm import Slurm
from sekisho_agent.engines.wrapped import WrappedEngine
from sekisho_agent.errors import ConfigError


def open_engine(config: AgentConfig) -> Engine:
    """The engine, opened; ConfigError `config.invalid` when its own table is missing or wrong."""
    match config:
        case AgentConfig(engine="local"):
            return LocalEngine(config)
        case AgentConfig(engine="none"):
            return NoEngine()
        case AgentConfig(engine="slurm", slurm=SlurmConfig() as slurm):
            return WrappedEngine(config, Slurm(slurm))
        case AgentConfig(engine="kubernetes", kubernetes=KubernetesConfig() as kubernetes):
            return WrappedEngine(config, Kubernetes(kubernetes, config.total_capacity()))
        case AgentConfig(engine="dok", dok=DokConfig() as dok):
            return DokEngine(config, dok)
        case _:
            raise ConfigError("config.invalid", f"engine {config.engine} needs a table [{config.engine}]")
