"""Jobs on a real Slurm while parts of the system fall: what is submitted, what must come of it, and how that is proven.

Every payload first makes a file in its output, and fails where there is one already: an attempt that ran twice cannot
succeed, and the output that is registered names the attempt that wrote it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from sekisho_client.verbs import evidence_export
from sekisho_verify import canonical, checks
from sekisho_verify.lines import Case
from sekisho_verify.trust import parse_trust
from sekisho_verify.verdict import verify_bundle
from sekisho_wire.trees import MODE_PLAIN, TreeFile, encode_tree
from tests.agent.support import processes_with
from tests.journeys.system import ENDED, System, Watch
from tests.journeys.world import until
from tests.support import slurm

BUSY, SLOTS = 4, 10
"""Jobs that a blow falls on, and how many the site takes: what is submitted afterwards need not wait for those."""
NAP_SECONDS = 3.0
END_SECONDS = 60
FAILING_EVERY = 5
STATUS = 3
ONCE = "set -C; echo $SEKISHO_ATTEMPT > /out/begun || exit 9; "
OUTPUT = "data:\n  - {to: begun, mount: /out}\n"


class Story:
    """The jobs of one system, with the end that each must come to."""

    def __init__(self, system: System, cluster: slurm.Cluster, watch: Watch) -> None:
        self.system = system
        self.cluster = cluster
        self.watch = watch
        self.wanted: dict[str, str] = {}
        self.before: dict[str, int] = {}
        """How many attempts a job had when its payload ran and the blow fell: a node may have refused the first."""

    def submit(self, count: int, *, seconds: float = 0.2) -> list[str]:
        """Jobs that take a while; now and then one that is to fail."""
        return [self._submit(seconds) for _ in range(count)]

    def _submit(self, seconds: float) -> str:
        fails = len(self.wanted) % FAILING_EVERY == FAILING_EVERY - 1
        job = self.system.submit(seconds, first=ONCE, status=STATUS if fails else 0, more=OUTPUT)
        self.wanted[job] = "failed" if fails else "succeeded"
        return job

    def cancel(self, job: str) -> None:
        self.system.ask("compute.job.cancel", job=job)
        self.wanted[job] = "cancelled"

    def busy(self) -> list[str]:
        """New jobs whose payloads all run now."""
        jobs = self.submit(BUSY, seconds=NAP_SECONDS)
        self.started(jobs)
        self.before |= {job: self.attempts(job) for job in jobs}
        return jobs

    def started(self, jobs: list[str], *, attempts: int = 1) -> None:
        """Wait until each of these has had payloads of so many attempts: whatever had fallen is at work again."""

        def had() -> bool:
            self.cluster.resume()
            counts = Counter(job for job, _ in {(seen.job, seen.attempt) for seen in set(self.watch.seen)})
            return all(counts[job] >= attempts for job in jobs)

        until(had, seconds=END_SECONDS, what="payloads of new jobs")

    def spared(self, jobs: list[str]) -> None:
        """Wait for the ends of jobs that a blow must not have cost anything: the attempts it fell on went through."""
        for job in jobs:
            until(lambda: self.system.state(job) in ENDED, seconds=END_SECONDS, what=f"the end of {job}")  # noqa: B023 - called at once
            if self.wanted[job] != "cancelled":
                assert self.attempts(job) == self.before[job]

    def attempts(self, job: str) -> int:
        """How many the control plane knows."""
        return len(self.system.ask("compute.job.show", job=job)["attempts"])

    def told(self) -> str:
        """What the control plane says of every attempt, for whoever looks into a failure."""
        fields = ("id", "number", "state", "reason", "detail")
        lines = [
            f"{job} {wanted} " + ", ".join(str(attempt[field]) for field in fields)
            for job, wanted in self.wanted.items()
            for attempt in self.system.ask("compute.job.show", job=job)["attempts"]
        ]
        return "\n".join(lines)

    def finish(self) -> None:
        """Every job comes to the end it must come to, by itself, and nothing of any goes on running."""
        for job, wanted in self.wanted.items():
            until(lambda: self.system.state(job) in ENDED, seconds=END_SECONDS, what=f"the end of {job}")  # noqa: B023 - called at once
            assert self.system.state(job) == wanted, self.system.ask("compute.job.show", job=job)
        # Not Slurm's list: a controller that was away when a job ended believes for minutes that it runs.
        wrappers = str(self.system.data.parent / "state" / "attempts")
        until(lambda: not processes_with(wrappers), seconds=END_SECONDS, what="the end of every wrapper")

    def check(self, folder: Path) -> None:
        """None lost, none run twice, none counted twice, and the evidence says the same offline."""
        assert self.watch.twice() == []
        assert self.watch.doubled == []
        listed = {job["id"] for job in self.system.client.pages("compute.job.list")}
        assert listed == set(self.wanted)
        known: set[str] = set()
        for job in self.wanted:
            attempts = self.system.ask("compute.job.show", job=job)["attempts"]
            known |= {attempt["id"] for attempt in attempts}
            self._check_attempts(job, attempts)
            self._check_outputs(job, attempts[-1]["id"])
            self._check_evidence(job, attempts, folder)
        assert {payload.attempt for payload in self.watch.seen} <= known

    def _check_attempts(self, job: str, attempts: list[dict[str, Any]]) -> None:
        assert [attempt["number"] for attempt in attempts] == list(range(1, len(attempts) + 1))
        assert {attempt["state"] for attempt in attempts[:-1]} <= {"lost", "failed", "refused"}
        # Not the status: Slurm signals process by process, and a shell whose sleep died first ends as if by itself.
        assert not {"finished", "failed"} & {attempt["reason"] for attempt in attempts[:-1]}
        last = attempts[-1]
        assert last["state"] == self.wanted[job]
        if last["state"] == "failed":
            assert (last["reason"], last["exit_status"]) == ("failed", STATUS)

    def _check_outputs(self, job: str, attempt: str) -> None:
        """One output, once, and written by the attempt that counts."""
        content = f"{attempt}\n".encode()
        file = TreeFile(
            path="begun", size_bytes=len(content), digest=canonical.digest(content), mode=MODE_PLAIN
        )
        found = self.system.ask("data.artefact.list", job=job)["items"]
        outputs = [(item["name"], item["attempt"], item["object"]) for item in found]
        if self.wanted[job] != "cancelled" or outputs:
            assert outputs == [("begun", attempt, canonical.digest(encode_tree([file])))]

    def _check_evidence(self, job: str, attempts: list[dict[str, Any]], folder: Path) -> None:
        """The bundle holds, is closed, and tells of one end of each attempt at most."""
        target = folder / f"{job}.bundle.zip"
        evidence_export.export(self.system.client, job, target)
        trust = parse_trust((self.system.data / "trust.json").read_bytes())
        verdict = verify_bundle(target.read_bytes(), trust)
        assert verdict.holds, verdict.lines
        assert verdict.bundle is not None
        assert checks.is_closed(Case(verdict.bundle, trust))
        ends = Counter(
            str(record.detail["attempt"])
            for record in verdict.bundle.records
            if record.detail.get("event") == "ended"
        )
        assert set(ends) <= {attempt["id"] for attempt in attempts}
        assert set(ends.values()) <= {1}
