"""A witness beside the example: a custodian that keeps a key in a device believes no log that nobody else has seen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from scripts.main_job import processes
from scripts.main_job.processes import program

if TYPE_CHECKING:
    from scripts.main_job.story import Story

PORT = 7610
NAME = "witness.example.invalid/sekisho"


def start(story: Story) -> None:
    """Make a witness of this run's log, serve it until the run ends, and name it in the settings and the trust file.

    To be called when the log is made and not served yet. It runs on this machine and is no other organisation's.
    """
    folder, trust_file = story.folder / "witness", story.folder / "data" / "trust.json"
    folder.mkdir(mode=0o700)
    trust = json.loads(trust_file.read_text(encoding="utf-8"))
    port = processes.free_port(PORT)
    config = folder / "witness.toml"
    config.write_text(
        f'name = "{NAME}"\nstate = "{folder / "state"}"\nport = {port}\n'
        f"[[logs]]\norigin = {json.dumps(trust['origin'])}\nkeys = {json.dumps(trust['keys'])}\n",
        encoding="utf-8",
    )
    words, log = [*program("sekisho_guarantor"), "--json", "witness"], story.log("witness")
    vkey = json.loads(processes.run([*words, "init", "--config", str(config)], env={}, log=log))["vkey"]
    process = story.stack.enter_context(
        processes.running([*words, "run", "--config", str(config)], env={}, log=log)
    )
    processes.wait_until_listening(port, process, log)
    trust_file.write_text(json.dumps(trust | {"witnesses": [vkey]}), encoding="utf-8")
    with story.control_settings.open("a", encoding="utf-8") as file:
        file.write(
            f'[[ledger.witnesses]]\nname = "stand-in"\nurl = "http://127.0.0.1:{port}"\nvkey = "{vkey}"\n'
        )
