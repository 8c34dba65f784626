"""A listener's configuration (one TOML file, every key checked, an unknown one refused), and the folder of its key."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from sekisho_guarantor.config import read_config
from sekisho_guarantor.errors import CONFIG_INVALID, KEY_EXISTS, GuarantorError
from sekisho_guarantor.listener_errors import KEY_UNREADABLE
from sekisho_wire.durable import replace_file
from sekisho_wire.signing import SealError, decode_public_key

KEY_FILE = "listener.key"
Port = Annotated[int, Meta(ge=0, le=65535)]


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An agent that may ask: a name for people, and its public key in base64url."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    key: str


class ListenerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. `name` is the one in its reports; 0 takes a free port. Anybody may reach the ports."""

    folder: str
    name: Annotated[str, Meta(pattern=r"\A[!-~]{1,255}\Z")]
    agents: Annotated[list[AgentConfig], Meta(min_length=1, max_length=10_000)]
    host: str = "127.0.0.1"
    tcp: Port = 7620
    udp: Port = 7621
    dns: Port = 7653

    def keys(self) -> list[bytes]:
        """The raw keys of the agents; GuarantorError names one that is none, or there twice."""
        found: list[bytes] = []
        for agent in self.agents:
            try:
                key = decode_public_key(agent.key).public_bytes_raw()
            except SealError as error:
                what = f"{agent.name}: {error.detail}"
                raise GuarantorError(CONFIG_INVALID, name="agents", what=what) from error
            if key in found:
                raise GuarantorError(CONFIG_INVALID, name="agents", what=f"{agent.name}: the same key twice")
            found.append(key)
        return found


def load_config(path: Path) -> ListenerConfig:
    """Read a configuration file; GuarantorError names what is wrong with it."""
    config = read_config(path, ListenerConfig)
    config.keys()
    return config


def create_key(folder: Path) -> Ed25519PrivateKey:
    """A new listener's key, kept in its folder; GuarantorError if there is one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / KEY_FILE).exists():
        raise GuarantorError(KEY_EXISTS, folder=str(folder))
    key = Ed25519PrivateKey.generate()
    replace_file(folder / KEY_FILE, key.private_bytes_raw())
    return key


def read_key(folder: Path) -> Ed25519PrivateKey:
    """The listener's key; GuarantorError where there is none, or others may read it."""
    try:
        with (folder / KEY_FILE).open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise GuarantorError(KEY_UNREADABLE, folder=str(folder))
            return Ed25519PrivateKey.from_private_bytes(file.read(64))
    except (OSError, ValueError) as error:
        raise GuarantorError(KEY_UNREADABLE, folder=str(folder)) from error
