"""The steps that every example goes through, each with one line when it is done."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts.main_job import federation, processes, witness
from scripts.main_job.example import Engine, Example, folder_of
from scripts.main_job.processes import StepFailedError, program
from scripts.main_job.relay import Relay
from scripts.main_job.verify import Proof, flipped, verify_offline
from sekisho_client import follow
from sekisho_client import settings as client_settings
from sekisho_client.client import Client
from sekisho_client.verbs import evidence_export
from sekisho_client.verbs import run as run_verb
from tests.support import slurm

PORT = 7600
SITES_SECONDS = 60
PROGRESS_SECONDS = 10


class Found:
    """What was found out, filled step by step. `details` are those of the jobs that ran: the job, or its members."""

    def __init__(self) -> None:
        self.job = ""
        self.details: list[dict[str, Any]] = []
        self.log = ""
        self.visitor = ""
        self.engines: Mapping[str, str] = {}
        self.settings = Path()
        self.trust = Path()
        self.proofs: list[Proof] = []
        self.flipped_status = -1
        self.places: list[tuple[str, str]] = []

    @property
    def ran(self) -> list[dict[str, Any]]:
        """The jobs that ran, as they ended."""
        return [detail["job"] for detail in self.details]


class Story:
    """One run: its folder, its clock, what was found out. Every step prints one line when it is done."""

    def __init__(self, example: Example, folder: Path, stack: contextlib.ExitStack) -> None:
        self.example = example
        self.folder = folder
        self.stack = stack
        self.begun = time.monotonic()
        self.url = ""
        self.second_token = ""
        self.ways: dict[str, str] = {}
        self.found = Found()

    def done(self, text: str) -> None:
        """One line: seconds since the start, and what is done."""
        sys.stdout.write(f"{time.monotonic() - self.begun:6.1f} s  {text}\n")
        sys.stdout.flush()

    def warn(self, text: str) -> None:
        """Something that this run does not show, where nobody overlooks it."""
        lines = "".join(f"!!        {line}\n" for line in text.splitlines())
        sys.stdout.write(f"{'!' * 72}\n{lines}{'!' * 72}\n")
        sys.stdout.flush()

    @property
    def settings(self) -> Path:
        """The command line's settings of the example's engineer, for trying things out afterwards."""
        return self.folder / "client.json"

    @property
    def control_settings(self) -> Path:
        """The control plane's settings."""
        return self.folder / "sekisho.toml"

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.folder / f"{name}.log"

    def start_control_plane(self) -> Client:
        """Make an installation, serve it, and answer a client in its first administrator's name."""
        port = processes.free_port(PORT)
        self.url = f"http://127.0.0.1:{port}"
        env = {"SEKISHO_SERVER_PORT": str(port), "SEKISHOD_CONFIG": str(self.control_settings)}
        self.control_settings.write_text(
            f'data = "{self.folder / "data"}"\n[ledger]\norigin = "example.invalid/sekisho"\n',
            encoding="utf-8",
        )
        begun = processes.run(
            [
                *program("sekisho.server"),
                "--json",
                "init",
                "--organisation",
                "Example programme office",
                "--admin",
                "First administrator",
                "--admin",
                "Second administrator",
            ],
            env=env,
            log=self.log("init"),
        )
        self.done("installation made: keys, genesis record, trust file")
        witness.start(self)
        server = self.stack.enter_context(
            processes.running([*program("sekisho.server"), "serve"], env=env, log=self.log("server"))
        )
        processes.wait_until_listening(port, server, self.log("server"))
        self.done(f"control plane at {self.url}")
        first, second = (each["token"] for each in json.loads(begun)["administrators"])
        self.second_token = second
        return self.client(first)

    def client(self, token: str) -> Client:
        """A client that is closed with the run."""
        return self.stack.enter_context(Client(self.url, token))

    def open_sites(self, administrator: Client) -> Client:
        """Register the federation, start an agent per site, wait until each was heard; answers the engineer."""
        engines = self.example.engines(self)
        registered = federation.register(administrator, self.example.federation, engines)
        folder = self.folder / "agents"
        for config, code in federation.agent_folders(
            administrator,
            registered.sites,
            folder,
            ways=dict.fromkeys(registered.sites, self.url) | self.ways,
            engines=engines,
        ):
            agent, log = program("sekisho_agent"), self.log(f"agent-{config.parent.name}")
            processes.run(
                [*agent, "register", "--config", str(config), "--name", config.parent.name, "--code", "-"],
                env={},
                log=log,
                stdin=code + "\n",
            )
            self.stack.enter_context(
                processes.running([*agent, "run", "--config", str(config)], env={}, log=log)
            )
        deadline = time.monotonic() + SITES_SECONDS
        while not all(
            site["heard_at"] for site in administrator.pages("sites.site.list") if not site["control"]
        ):
            if time.monotonic() > deadline:
                raise StepFailedError("not every site's agent was heard")
            time.sleep(0.2)
        self.done(
            f"{len(registered.sites)} sites serve: {', '.join(registered.sites)} (stand-ins on this machine)"
        )
        self.found.visitor, self.found.settings = registered.visitor, self.settings
        self.found.engines = registered.engines
        client_settings.write(self.settings, {"url": self.url, "token": registered.tokens["engineer"]})
        return self.client(registered.tokens["engineer"])

    def start_slurm(self, site: str) -> Engine:
        """A Slurm for one site, ended with the run; StepFailedError where none can be started."""
        name = site.rpartition("-")[2]
        try:
            cluster = self.stack.enter_context(slurm.running(name)).clusters[name]
        except (slurm.SlurmUnavailableError, AssertionError, OSError) as error:
            raise StepFailedError(f"no Slurm can be started here: {error}") from error
        self.done(f"Slurm of {len(cluster.nodes)} nodes behind {site}: {cluster.version()}")
        return Engine(
            "slurm",
            f'engine = "slurm"\n[capacity]\nattempts = 4\n[slurm]\nurl = "{cluster.url}"\nuser = "root"\n'
            f'token_file = "{cluster.token_file}"\naccount = "tenant"\npartition = "batch"\n',
        )

    def relay_to(self, site: str) -> Relay:
        """A line for one site's agent that can be cut; to be asked for before the sites open."""
        relay = self.stack.enter_context(Relay(urlsplit(self.url).port or PORT).running())
        self.ways[site] = relay.url
        return relay

    def submit(self, engineer: Client) -> None:
        """Name the environment, send the working folder, submit the job."""
        example = self.example
        engineer.call("compute.image.add", name=example.name, lock=example.lock.read_text(encoding="utf-8"))
        file = folder_of(example.name) / "job.yaml"
        text = file.read_text(encoding="utf-8")
        workdir = run_verb.send_workdir(engineer, file, text)
        job = engineer.call("compute.job.submit", file=text, workdir=workdir)
        self.done(f"job {job['id']} submitted, level {job['level']} (joined over its inputs)")
        self.found.job = str(job["id"])

    def watch(self, engineer: Client) -> None:
        """Follow to the end, with progress every few seconds; StepFailedError unless it succeeded."""
        shown = 0.0
        step: follow.Step | None = None
        members = Members()
        for step in follow.steps(engineer, self.found.job):
            for event in step.events:
                self.done("  " + follow.describe_event(event, "en")[1])
            for line in members.changed(step.detail["members"]):
                self.done("  " + line)
            self.example.during(self, step.detail)
            line = follow.describe_progress(step.job["progress"], "en")
            if line and not step.ended and time.monotonic() - shown > PROGRESS_SECONDS:
                self.done("  " + line)
                shown = time.monotonic()
        if step is None or step.job["state"] != "succeeded":
            raise StepFailedError(self._why_not(engineer, step))
        ran = [member["id"] for member in step.detail["members"]] or [self.found.job]
        self.found.details = [engineer.call("compute.job.show", job=job) for job in ran]
        if ran == [self.found.job]:
            self.found.log = "".join(follow.log_pieces(engineer, self.found.job, follow=False))

    @staticmethod
    def _why_not(engineer: Client, step: follow.Step | None) -> str:
        """The reason, and the end of the log of the job or of the first member that failed."""
        if step is None:
            return "the job was never seen"
        failed = [member for member in step.detail["members"] if member["state"] == "failed"]
        job = failed[0] if failed else step.job
        pieces = list(follow.log_pieces(engineer, job["id"], follow=False))
        return f"the job did not succeed: {job['reason']}\n{''.join(pieces)[-2000:]}"

    def prove(self, engineer: Client) -> None:
        """Export each job's bundle and verify it without a network; a flipped bit must be refused."""
        jobs = list(dict.fromkeys([self.found.job, *(job["id"] for job in self.found.ran)]))
        trust = self.found.trust = self.folder / "data" / "trust.json"
        for job in jobs:
            bundle = self.folder / f"{job}.bundle.zip"
            size_bytes = evidence_export.export(engineer, job, bundle)
            if len(jobs) == 1:
                self.done(f"bundle exported: {size_bytes:,} bytes")
            self.found.proofs.append(Proof(job, bundle, verify_offline(bundle, trust)))
        how = self.found.proofs[0].verdict.cut_by or "network NOT cut: no namespaces here"
        count = f"{len(jobs)} bundles exported and " if len(jobs) > 1 else ""
        self.done(f"{count}verified offline ({how})")
        self.found.flipped_status = verify_offline(
            flipped(self.found.proofs[0].bundle, self.folder), trust
        ).status


class Members:
    """The members of an array as they were last seen; says what changed since."""

    def __init__(self) -> None:
        self._seen: dict[int, str] = {}

    def changed(self, members: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """One line for each member that was placed, or ended, since the last look."""
        for member in members:
            index, state = member["index"], member["state"]
            before = self._seen.get(index, "waiting")
            self._seen[index] = state
            if before == "waiting" != state:
                yield f"Placed      #{index} at {member['site_name']}"
            if before != state and state in follow.ENDED:
                yield f"{state.capitalize():<10}  #{index} at {member['site_name']}"


def quiet(_done: int, _total: int) -> None:
    """No progress line: the step's own line follows."""
