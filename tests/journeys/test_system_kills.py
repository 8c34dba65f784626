"""Kill -9 of agent, control plane and payload in turn: no attempt is lost, none is doubled, the evidence holds."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.system import ENDED, System, Watch, running
from tests.journeys.world import until

KILLS, SOAK_KILLS = 20, 200
IN_FLIGHT = 3
END_SECONDS = 240
"""Longest wait for the last job: a piece of background work that died with its server is free after two minutes."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because sockets of the wall need short paths."""
    with tempfile.TemporaryDirectory(prefix="skj-", ignore_cleanup_errors=True) as name:
        yield Path(name)


class Story:
    """Jobs that are always under way, and the blows that fall meanwhile."""

    def __init__(self, system: System, watch: Watch) -> None:
        self.system = system
        self.watch = watch
        self.chance = random.Random(20)
        self.jobs: list[str] = []
        self.hit = {"agent": 0, "control": 0, "payload": 0}

    def keep_busy(self) -> None:
        open_jobs = [job for job in self.jobs[-2 * IN_FLIGHT :] if self.system.state(job) not in ENDED]
        while len(open_jobs) < IN_FLIGHT:
            open_jobs.append(self.system.submit(self.chance.uniform(0.3, 1.5)))
            self.jobs.append(open_jobs[-1])

    def strike(self, number: int) -> None:
        """One kill at a random moment, and the victim's return after a random while."""
        self.keep_busy()
        time.sleep(self.chance.uniform(0, 1.5))
        victim = ("agent", "control", "payload")[number % 3]
        match victim:
            case "agent":
                self.system.agent.end(signal.SIGKILL)
                time.sleep(self.chance.uniform(0, 1.0))
                self.system.start_agent()
            case "control":
                self.system.control.end(signal.SIGKILL)
                time.sleep(self.chance.uniform(0, 1.0))
                self.system.start_control()
            case _:
                until(self._has_payload, seconds=END_SECONDS, what="a payload to kill")
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(self.watch.alive[0].process, signal.SIGKILL)
        self.hit[victim] += 1

    def _has_payload(self) -> bool:
        """Short jobs may all have ended before the blow falls: then there must be new ones."""
        self.keep_busy()
        return bool(self.watch.alive)

    def open_jobs(self) -> list[Any]:
        """What the control plane says of the jobs that have not ended, for whoever looks into a failure."""
        found = [self.system.ask("compute.job.show", job=job) for job in self.jobs[-2 * IN_FLIGHT :]]
        return [detail for detail in found if detail["job"]["state"] not in ENDED]

    def finish(self) -> None:
        """Every job comes to its end by itself."""
        for job in self.jobs:
            until(lambda: self.system.state(job) in ENDED, seconds=END_SECONDS, what=f"the end of {job}")  # noqa: B023 - called at once

    def check(self) -> None:
        """No job was lost, no token ran twice, no job ran in two places, and every row has its evidence."""
        assert self.watch.twice() == []
        assert self.watch.doubled == []
        listed = {job["id"] for job in self.system.client.pages("compute.job.list")}
        assert listed == set(self.jobs)
        ran = {payload.attempt for payload in self.watch.seen}
        known: set[str] = set()
        for job in self.jobs:
            detail = self.system.ask("compute.job.show", job=job)
            attempts = detail["attempts"]
            assert [attempt["number"] for attempt in attempts] == list(range(1, len(attempts) + 1))
            assert len({attempt["token"] for attempt in attempts}) == len(attempts)
            assert {attempt["state"] for attempt in attempts} & {
                "offered",
                "staging",
                "starting",
                "running",
            } == set()
            if detail["job"]["state"] == "succeeded":
                assert attempts[-1]["state"] == "succeeded"
                assert [attempt["state"] for attempt in attempts].count("succeeded") == 1
            known |= {attempt["id"] for attempt in attempts}
        assert ran <= known


def _kill(system: System, kills: int) -> None:
    with Watch() as watch:
        story = Story(system, watch)
        for number in range(kills):
            try:
                story.strike(number)
            except AssertionError as error:
                error.add_note(f"after {number} kills: {story.open_jobs()}")
                raise
        story.finish()
        story.check()
        assert min(story.hit.values()) >= kills // 3
        assert any(system.state(job) == "succeeded" for job in story.jobs)
    system.close()
    assert '"findings":[]' in system.control.once("--json", "fsck")


@pytest.mark.slow
@pytest.mark.wall
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("needs_bwrap")
def test_twenty_kills_of_the_whole_system(folder: Path, db_url: str) -> None:
    with running(folder, db_url) as system:
        _kill(system, KILLS)


@pytest.mark.soak
@pytest.mark.wall
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("needs_bwrap")
def test_two_hundred_kills_of_the_whole_system(folder: Path, db_url: str) -> None:
    with running(folder, db_url) as system:
        _kill(system, SOAK_KILLS)
