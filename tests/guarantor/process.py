"""Witnesses as processes of their own, for journeys and for what only a real kill shows."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sekisho_guarantor.config import load_config
from sekisho_guarantor.state import WitnessState, read_key
from sekisho_guarantor.witness import witness_key


class Running(NamedTuple):
    """One witness: where it answers, its verifier key, its process."""

    url: str
    vkey: str
    process: subprocess.Popen[bytes]


def config_text(
    state: Path, logs: Mapping[str, list[str]], *, name: str = "w.example/1", port: int = 0
) -> str:
    """A configuration file's text."""
    lines = [f'name = "{name}"', f'state = "{state}"', f"port = {port}"]
    for origin, keys in logs.items():
        lines += ["[[logs]]", f'origin = "{origin}"', f"keys = {keys}"]
    return "\n".join(lines) + "\n"


def prepared(folder: Path, logs: Mapping[str, list[str]], *, name: str = "w.example/1", port: int = 0) -> str:
    """Write the configuration and make the state once; answers the verifier key."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "witness.toml"
    file.write_text(config_text(folder / "state", logs, name=name, port=port), encoding="utf-8")
    config = load_config(file)
    if not config.folder.exists():
        WitnessState.create(config.folder)
    return witness_key(name, read_key(config.folder)).vkey


@contextmanager
def running(
    folder: Path, logs: Mapping[str, list[str]], *, name: str = "w.example/1", port: int = 0
) -> Iterator[Running]:
    """A witness process that answers, for the length of the block; its folder stays."""
    vkey = prepared(folder, logs, name=name, port=port)
    command = [sys.executable, "-m", "sekisho_guarantor", "--lang", "en", "witness", "run"]
    log = folder / f"errors-{time.monotonic_ns()}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen([*command, "--config", str(folder / "witness.toml")], stderr=errors)
    try:
        yield Running(_url(process, log), vkey, process)
    finally:
        process.kill()
        process.wait(20)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        found = re.search(r"answers at (\S+)", log.read_text(encoding="utf-8"))
        if found is not None:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(log.read_text(encoding="utf-8"))
