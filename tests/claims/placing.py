"""A control plane in process with a site that can be measured, and jobs that need its place to be shown."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sekisho.compute import ExplainJob
from sekisho.kernel.facts import SYSTEM
from sekisho.ledger import ExportBundle, ReadBundle, ShowTrust
from sekisho_guarantor.clock import now_ms
from sekisho_verify import Verdict, parse_trust, verify_bundle
from tests.compute.world import World, job_file
from tests.sites.yard import Yard

LEVEL_2 = job_file("secret", "  level: 2\n")


class Placing:
    """The world of the compute tests, whose home site answers location challenges with its agent's key."""

    def __init__(self, folder: Path, db_url: str) -> None:
        self.world = World(folder, db_url)
        self.yard = Yard(self.world, self.world.home.site, agent="agent-ishikari")
        self.world.hear()

    def close(self) -> None:
        self.world.close()

    def submit(self, text: str = LEVEL_2) -> str:
        """A job that one round has looked at."""
        job = self.world.submit(text).id
        self.round()
        return job

    def to_now(self) -> None:
        """Bring the clock, which stands still, to the machine's, for sessions that are really held."""
        self.world.clock.advance(max(0, now_ms() - self.world.clock.now_ms()))

    def round(self) -> None:
        """One more look at the queue, by agents that live."""
        self.world.clock.advance(6000)
        self.world.hear()
        self.world.settle()

    def state(self, job: str) -> str:
        """The job's state."""
        return self.world.show(job).job.state.value

    def refusal(self, job: str, site: str = "ishikari") -> tuple[list[str], str, str]:
        """Which rules refuse the job at a site now, and why in both languages."""
        found = self.world.perform(self.world.engineer, ExplainJob(job=job))
        choice = next(choice for choice in found.sites if choice.name == site)
        return choice.rules, choice.why, choice.why_ja

    def bundle(self, job: str) -> bytes:
        """The job's evidence as its engineer may take it away."""
        export = self.world.perform(self.world.engineer, ExportBundle(job=job)).record
        self.world.seal_log()
        return self.world.perform(self.world.engineer, ReadBundle(export=export)).content

    def verdict(self, bundle: bytes, **trust: object) -> Verdict:
        """What an auditor's verifier says, with further fields of the trust file."""
        body = msgspec.json.decode(self.world.perform(SYSTEM, ShowTrust()).text) | trust
        return verify_bundle(bundle, parse_trust(msgspec.json.encode(body)))
