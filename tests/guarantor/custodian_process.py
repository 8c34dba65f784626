"""Custodians as processes of their own, for journeys and for what only a real kill shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sekisho_guarantor.__main__ import main
from sekisho_guarantor.custodian_command import KEY_FILE
from sekisho_guarantor.state import read_key
from sekisho_verify.canonical import to_base64url
from tests.wire.custody_world import CONTROL, NAME, OWNER, Asker

DEVELOPMENT = '[store]\nkind = "development"\n'


class Running(NamedTuple):
    """One custodian: where it answers, 32 raw bytes of its key, its configuration and process."""

    url: str
    key: bytes
    config: Path
    process: subprocess.Popen[bytes]


def write_config(
    folder: Path,
    trust: bytes,
    *,
    store: str = DEVELOPMENT,
    orders: str = "",
    name: str = NAME,
    owner: str = OWNER,
    more: str = "",
) -> Path:
    """A configuration file with the trust file beside it; `orders` is the control plane's key."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trust.json").write_bytes(trust)
    lines = [
        f'name = "{name}"',
        f'owner = "{owner}"',
        'country = "JP"',
        f'state = "{folder}/state"',
        f'trust = "{folder}/trust.json"',
        f'orders = "{orders or to_base64url(CONTROL.key.public)}"',
        "port = 0" if "port" not in more else "",
        more,
        store,
    ]
    file = folder / "custodian.toml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@contextmanager
def running(config: Path, *, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The custodian of a configuration, made if it is new; killed at the end without a chance to tidy up."""
    state = config.parent / "state"
    if not (state / KEY_FILE).exists():
        assert main(["custodian", "init", "--config", str(config)]) == 0
    log = config.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "sekisho_guarantor", "custodian", "run", "--config", str(config)],
            stderr=file,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    try:
        public = read_key(state, KEY_FILE).public_key().public_bytes_raw()
        yield Running(_url(process, log), public, config, process)
    finally:
        process.kill()
        process.wait(20)


def manage(config: Path, *words: str) -> int:
    """One verb of the owner, as typed."""
    return main(["custodian", *words, "--config", str(config)])


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


def trust_of(asker: Asker) -> bytes:
    """The trust file of an asker's log."""
    return asker.log.trust(quorum=asker.quorum)
