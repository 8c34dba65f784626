"""Configuration of guarantors, first the witness's: one TOML file, every key checked and an unknown one refused."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from sekisho_guarantor.answers import Listening
from sekisho_guarantor.errors import CONFIG_INVALID, CONFIG_UNREADABLE, TLS_REQUIRED, GuarantorError
from sekisho_verify.checkpoint import ED25519, VerifierKey, check_name, parse_key
from sekisho_verify.errors import VerifyError


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One log to witness: its origin line and the verifier keys that may sign for it."""

    origin: str
    keys: Annotated[list[str], Meta(min_length=1, max_length=64)]


class WitnessConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. `name` is the witness's own key name, a URL without scheme; `state` its folder.

    Off loopback a `certificate` and its `key` (PEM files) are needed, or `behind_proxy`, where a proxy ends TLS.
    """

    name: str
    state: str
    logs: Annotated[list[LogConfig], Meta(min_length=1, max_length=1000)]
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 7610
    certificate: str = ""
    key: str = ""
    behind_proxy: bool = False
    log_form: Literal["json", "text"] = "json"

    @property
    def folder(self) -> Path:
        """Key and state."""
        return Path(self.state)

    def known_logs(self) -> dict[str, tuple[VerifierKey, ...]]:
        """The keys of each log by its origin; GuarantorError names what is wrong with one."""
        known: dict[str, tuple[VerifierKey, ...]] = {}
        for log in self.logs:
            if log.origin in known:
                raise GuarantorError(CONFIG_INVALID, name="logs", what=f"{log.origin!r} twice")
            try:
                check_name(log.origin)
                keys = tuple(map(parse_key, log.keys))
            except VerifyError as error:
                raise GuarantorError(CONFIG_INVALID, name="logs", what=error.detail) from error
            if any(key.kind != ED25519 for key in keys):
                raise GuarantorError(CONFIG_INVALID, name="logs", what="a key that is not a log's")
            known[log.origin] = keys
        return known


ConfigT = TypeVar("ConfigT", bound=msgspec.Struct)


def load_config(path: Path) -> WitnessConfig:
    """Read and check a witness's configuration; GuarantorError says what is wrong with it."""
    config = read_config(path, WitnessConfig)
    _check_name(config.name)
    check_listening(config, behind_proxy=config.behind_proxy)
    config.known_logs()
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says; GuarantorError names a file that cannot be read as one."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = error.strerror or "unreadable"
        raise GuarantorError(CONFIG_UNREADABLE, file=str(path), what=what) from error
    except ValueError as error:
        raise GuarantorError(CONFIG_UNREADABLE, file=str(path), what=str(error)) from error


def read_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """The settings in a TOML file; GuarantorError names an unknown, missing or wrong one."""
    value = read_toml(path)
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        raise GuarantorError(CONFIG_INVALID, name=place.rstrip("`") or path.name, what=message) from error


def check_listening(config: Listening, *, behind_proxy: bool) -> None:
    """Off loopback only with TLS, its own or a proxy's; GuarantorError otherwise."""
    if bool(config.certificate) != bool(config.key):
        raise GuarantorError(CONFIG_INVALID, name="certificate", what="needs its key, and the key it")
    if not (config.certificate or behind_proxy or is_loopback(config.host)):
        raise GuarantorError(TLS_REQUIRED, host=config.host)


def _check_name(name: str) -> None:
    try:
        check_name(name)
    except VerifyError as error:
        raise GuarantorError(CONFIG_INVALID, name="name", what=error.detail) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
