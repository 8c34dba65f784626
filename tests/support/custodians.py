"""A custodian of its own beside a control plane: the real program, over a development store, with one key."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import httpx2

from sekisho.app import Control
from sekisho.kernel.facts import SYSTEM
from sekisho.ledger import ShowTrust
from sekisho_guarantor.custodian_command import TOKEN_FILE
from sekisho_verify.canonical import to_base64url
from sekisho_wire.custody import FACTS_PATH
from tests.guarantor.custodian_process import manage, running, write_config

KEY = "hospital"


class Keeper(NamedTuple):
    """Where the custodian answers, what its owner has, what it says of its key, sealed."""

    url: str
    public_key: str
    token_file: Path
    config: Path
    facts: bytes
    process: int


class House(Protocol):
    """Whatever has a control plane."""

    @property
    def control(self) -> Control:
        """It."""
        ...


@contextlib.contextmanager
def custodian_of(house: House, folder: Path, owner: str, *, key: str = KEY) -> Iterator[Keeper]:
    """The custodian of an organisation that believes this control plane's log, with one key made."""
    control = house.control
    trust = control.gate.perform(SYSTEM, ShowTrust()).text.encode()
    config = write_config(
        folder, trust, orders=control.seals.public_key, name="custodian.example.invalid", owner=owner
    )
    with running(config) as process:
        assert manage(config, "create", key) == 0
        with httpx2.Client(base_url=process.url, trust_env=False) as client:
            answer = client.post(FACTS_PATH, content=json.dumps({"key": key}).encode())
        assert answer.status_code == 200, answer.text
        token_file = config.parent / "state" / TOKEN_FILE
        yield Keeper(
            process.url, to_base64url(process.key), token_file, config, answer.content, process.process.pid
        )
