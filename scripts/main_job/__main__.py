"""`make run`: the main job on this machine, from an empty folder to a verified bundle and a summary.

ONCE=1 ends after the summary; TEXT=folder takes that text; IMAGE=cuda takes the GPU environment, still on the CPU;
SLURM=1 puts a real Slurm of this machine behind the site that is chosen.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from scripts.main_job import federation, processes, summary
from scripts.main_job.processes import StepFailedError, program
from scripts.main_job.verify import flipped, verify_offline
from sekisho_client import follow, transfer
from sekisho_client import settings as client_settings
from sekisho_client.client import Client
from sekisho_client.refusals import ProblemError, Refused
from sekisho_client.verbs import evidence_export
from sekisho_client.verbs import run as run_verb
from tests.support import slurm

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "japanese-lm"
FEDERATION = ROOT / "examples" / "japan" / "federation.yaml"
PORT = 7600
SITES_SECONDS = 60
SLURM_SITE = "sakura-ishikari"
DATASET, LEVEL, RESIDENCY = "japanese-text", 1, ["JP"]


class Story:
    """One run: its folder, its clock, what was found out. Every step prints one line when it is done."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.begun = time.monotonic()
        self.url = ""
        self.found = summary.Found()

    def done(self, text: str) -> None:
        """One line: seconds since the start, and what is done."""
        sys.stdout.write(f"{time.monotonic() - self.begun:6.1f} s  {text}\n")
        sys.stdout.flush()

    @property
    def settings(self) -> Path:
        """The command line's settings of the example's engineer, for trying things out afterwards."""
        return self.folder / "client.json"

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.folder / f"{name}.log"

    def start_control_plane(self) -> Client:
        """Make an installation, serve it, and answer a client in its first administrator's name."""
        port = processes.free_port(PORT)
        self.url = f"http://127.0.0.1:{port}"
        env = {"SEKISHO_SERVER_PORT": str(port), "SEKISHOD_CONFIG": str(self.folder / "sekisho.toml")}
        (self.folder / "sekisho.toml").write_text(
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
        server = self.stack.enter_context(
            processes.running([*program("sekisho.server"), "serve"], env=env, log=self.log("server"))
        )
        processes.wait_until_listening(port, server, self.log("server"))
        self.done(f"control plane at {self.url}")
        token = json.loads(begun)["administrators"][0]["token"]
        return self.client(token)

    def client(self, token: str) -> Client:
        """A client that is closed with the run."""
        return self.stack.enter_context(Client(self.url, token))

    def open_sites(self, administrator: Client) -> Client:
        """Register the federation, start an agent per site, wait until each was heard; answers the engineer."""
        registered = federation.register(administrator, FEDERATION)
        folder = self.folder / "agents"
        engines = {SLURM_SITE: self._start_slurm()} if os.environ.get("SLURM") else {}
        for config, code in federation.agent_folders(
            administrator, registered.sites, folder, url=self.url, engines=engines
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
        client_settings.write(self.settings, {"url": self.url, "token": registered.tokens["engineer"]})
        return self.client(registered.tokens["engineer"])

    def _start_slurm(self) -> str:
        """A Slurm for one site; the part of its agent's file that says where."""
        try:
            cluster = self.stack.enter_context(slurm.running("ishikari")).clusters["ishikari"]
        except slurm.SlurmUnavailableError as error:
            raise StepFailedError(f"no Slurm can be started here: {error}") from error
        self.done(f"Slurm of {len(cluster.nodes)} nodes behind {SLURM_SITE}: {cluster.version()}")
        return (
            f'engine = "slurm"\n[capacity]\nattempts = 4\n[slurm]\nurl = "{cluster.url}"\nuser = "root"\n'
            f'token_file = "{cluster.token_file}"\naccount = "tenant"\npartition = "batch"\n'
        )

    def add_text(self, engineer: Client) -> None:
        """Fetch or read the text, and add it as a dataset; the upload is judged before a byte is sent."""
        target = self.folder / "text"
        own = os.environ.get("TEXT", "")
        command = [sys.executable, str(EXAMPLE / "corpus.py"), "--out", str(target)]
        processes.run(command + (["--text", own] if own else []), env={}, log=self.log("text"))
        local = transfer.scan(target, _quiet)
        self.done(f"text ready: {local.size_bytes / 1e6:.1f} MB in {len(local.files)} files")
        upload = engineer.call(
            "data.dataset.add",
            name=DATASET,
            object=local.digest,
            size_bytes=local.size_bytes,
            files=len(local.files),
            level=LEVEL,
            residency=RESIDENCY,
        )
        transfer.send(engineer, local, upload["ticket"], _quiet)
        engineer.call("data.dataset.seal", dataset=upload["id"])
        self.done(f"dataset {DATASET}: level {LEVEL}, residency {', '.join(RESIDENCY)}")

    def submit(self, engineer: Client) -> str:
        """Name the environment, send the working folder, submit the job."""
        lock = EXAMPLE / ("image-cuda.txt" if os.environ.get("IMAGE") == "cuda" else "image.txt")
        engineer.call("compute.image.add", name="japanese-lm", lock=lock.read_text(encoding="utf-8"))
        file = EXAMPLE / "job.yaml"
        text = file.read_text(encoding="utf-8")
        workdir = run_verb.send_workdir(engineer, file, text)
        job = engineer.call("compute.job.submit", file=text, workdir=workdir)
        self.done(f"job {job['id']} submitted, level {job['level']} (joined over its inputs)")
        return str(job["id"])

    def watch(self, engineer: Client, job: str) -> None:
        """Follow to the end; progress every few seconds."""
        shown = 0.0
        step: follow.Step | None = None
        for step in follow.steps(engineer, job):
            for event in step.events:
                self.done("  " + follow.describe_event(event, "en")[1])
            line = follow.describe_progress(step.job["progress"], "en")
            if line and not step.ended and time.monotonic() - shown > 10:  # noqa: PLR2004 - seconds between lines
                self.done("  " + line)
                shown = time.monotonic()
        if step is None or step.job["state"] != "succeeded":
            pieces = list(follow.log_pieces(engineer, job, follow=False))
            reason = step.job["reason"] if step else "?"
            raise StepFailedError(f"the job did not succeed: {reason}\n{''.join(pieces)[-2000:]}")
        self.found.detail = dict(step.detail)
        self.found.log = "".join(follow.log_pieces(engineer, job, follow=False))

    def prove(self, engineer: Client, job: str) -> None:
        """Export the bundle and verify it without a network; a flipped bit must be refused."""
        bundle = self.folder / f"{job}.bundle.zip"
        size_bytes = evidence_export.export(engineer, job, bundle)
        self.done(f"bundle exported: {size_bytes:,} bytes")
        trust = self.folder / "data" / "trust.json"
        self.found.bundle, self.found.trust = bundle, trust
        self.found.verdict = verify_offline(bundle, trust)
        self.done(f"verified offline ({self.found.verdict.cut_by or 'network NOT cut: no namespaces here'})")
        self.found.flipped_status = verify_offline(flipped(bundle, self.folder), trust).status


def main() -> int:
    """Tell the story; exit status 0 only when everything in it held."""
    # Ended from outside, we still end what we started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = ROOT / ".run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    with contextlib.ExitStack() as stack:
        story = Story(folder, stack)
        try:
            administrator = story.start_control_plane()
            engineer = story.open_sites(administrator)
            story.add_text(engineer)
            job = story.submit(engineer)
            story.watch(engineer, job)
            story.prove(engineer, job)
        except (StepFailedError, ProblemError, Refused) as error:
            sys.stderr.write(f"\n{error}\nLogs: {folder}\n")
            return 1
        once = bool(os.environ.get("ONCE"))
        good = summary.show(story.found, seconds=time.monotonic() - story.begun, serving=not once)
        if once:
            return 0 if good else 1
        return _keep_serving(story, administrator)


def _keep_serving(story: Story, administrator: Client) -> int:
    """Go on until Ctrl-C, with a one-time link into the console."""
    link: dict[str, Any] = administrator.call("identity.person.invite", person=story.found.visitor)
    job = story.found.detail["job"]["id"]
    sys.stdout.write(
        f"\nConsole: {story.url}/signin/{link['secret']}?next=/jobs/{job}  (one-time link)\nCtrl-C ends.\n"
    )
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    return 0


def _quiet(_done: int, _total: int) -> None:
    """No progress line: the step's own line follows."""


if __name__ == "__main__":
    sys.exit(main())
