"""A custodian beside the example: a real program over a development store, because data of level 1 is encrypted.

It shouts, here as everywhere: its keys lie in a file of this machine and protect nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts.main_job import processes
from scripts.main_job.processes import program
from sekisho_client import sealing, transfer
from sekisho_client.client import Client
from sekisho_client.transfer import Local

if TYPE_CHECKING:
    from scripts.main_job.story import Story

PORT = 7630


class Custodian(NamedTuple):
    """A running custodian's configuration, what it signs with, and where it answers."""

    config: Path
    public_key: str
    address: str

    @property
    def token(self) -> str:
        """Its owner's."""
        return sealing.token(str(self.config.parent / "state" / "owner.token"))

    def ask(self, story: Story, verb: str, key: str) -> str:
        """One verb of its owner; the signed answer."""
        command = [*program("sekisho_guarantor"), "custodian", verb, key, "--config", str(self.config)]
        return processes.run(command, env={}, log=story.log("custodian-owner"))

    def register(self, story: Story, engineer: Client, key: str) -> Mapping[str, Any]:
        """Make a key and tell the control plane who holds it; the registration."""
        self.ask(story, "create", key)
        return engineer.call(
            "data.key.register",
            name=key,
            address=self.address,
            public_key=self.public_key,
            statement=self.ask(story, "show", key),
        )

    @contextmanager
    def sealed(self, folder: Path, key: Mapping[str, Any]) -> Iterator[tuple[Local, Mapping[str, Any]]]:
        """A folder as it is sent, and the fields that name its key."""
        local = transfer.scan(folder, lambda _done, _total: None)
        with sealing.sealed(local, key, sealing.Custodian(self.address, self.token)) as found:
            yield found.local, found.named


def start(
    story: Story,
    engineer: Client,
    store: str = '[store]\nkind = "development"\n',
    *,
    name: str = "custodian",
) -> Custodian:
    """Make a custodian of the engineer's organisation that believes this run's control plane; serve it to the end.

    It demands the run's witness, and that one of the run's agents has asked.
    """
    folder, data = story.folder / name, story.folder / "data"
    folder.mkdir(mode=0o700)
    port = processes.free_port(PORT)
    orders = (data / "orders.pub").read_text(encoding="ascii").strip()
    trust = json.loads((data / "trust.json").read_text(encoding="utf-8")) | {"quorum": 1}
    (folder / "trust.json").write_text(json.dumps(trust), encoding="utf-8")
    lines = [
        f'name = "{name}.example.invalid"',
        f'owner = "{engineer.call("identity.me")["organisation"]}"',
        'country = "JP"',
        f'state = "{folder / "state"}"',
        f'trust = "{folder / "trust.json"}"',
        f'orders = "{orders}"',
        f"agents = [{', '.join(_agents(story))}]",
        f"port = {port}",
        store,
    ]
    config = folder / "custodian.toml"
    config.write_text("\n".join(lines), encoding="utf-8")
    words = [*program("sekisho_guarantor"), "--json", "custodian"]
    log = story.log(name)
    made = processes.run([*words, "init", "--config", str(config)], env={}, log=log)
    process = story.stack.enter_context(
        processes.running([*words, "run", "--config", str(config)], env={}, log=log)
    )
    processes.wait_until_listening(port, process, log)
    if "development" in store:
        story.warn(
            "The custodian beside this run is a stand-in: its keys lie in a file of this machine and\n"
            "protect nothing. An owner holds keys in a device: docs/how-to/hold-your-own-keys.md"
        )
    return Custodian(config, json.loads(made)["key"], f"http://127.0.0.1:{port}")


def _agents(story: Story) -> Iterator[str]:
    """The agents of the run's sites, as a custodian's settings name them."""
    administrator = story.client(story.second_token)
    for site in administrator.pages("sites.site.list"):
        for agent in administrator.pages("identity.agent.list", site=site["id"]):
            yield f'{{id = "{agent["id"]}", key = "{agent["public_key"]}"}}'
