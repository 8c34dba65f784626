"""Precision manufacturing: an array of tries at a control policy, spread over a factory's box and a Slurm site."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.main_job import processes, summary
from scripts.main_job.example import Engine, folder_of
from scripts.main_job.processes import StepFailedError
from scripts.main_job.relay import Relay
from scripts.main_job.story import Found, Story
from sekisho_client import follow
from sekisho_client.client import Client

EDGE_SITE, SLURM_SITE = "edge-hamamatsu", "sakura-ishikari"
AWAY_SECONDS = 20
"""How long the factory's line is cut; its entry in the federation says how long it may be."""
LOCAL = Engine("local", 'engine = "local"\n[capacity]\nattempts = 2\n')
"""Two attempts at a time, as many as the site's entry in the federation has processors for."""


class RobotArm:
    """One submission, many tries; the best of them is collected and drawn."""

    name = "robot-arm"
    variables = frozenset[str]()

    def __init__(self) -> None:
        """Nothing is collected yet, and the factory's line is whole."""
        self._collected = Path()
        self._line: Relay | None = None
        self._cut_at = 0.0
        self._away: list[int] = []

    @property
    def federation(self) -> Path:
        """A factory's own site, a data centre's, and one overseas."""
        return folder_of(self.name) / "federation.yaml"

    @property
    def lock(self) -> Path:
        """The simulator and arrays, nothing that draws."""
        return folder_of(self.name) / "image.txt"

    def engines(self, story: Story) -> Mapping[str, Engine]:
        """The local engine at the edge; a real Slurm behind the data centre's site, where one can be started."""
        try:
            behind = story.start_slurm(SLURM_SITE)
        except StepFailedError as error:
            if os.environ.get("SLURM"):
                raise
            story.warn(
                f"{error}\n{SLURM_SITE} runs the local engine instead: this run says nothing about Slurm."
            )
            behind = LOCAL
        self._line = story.relay_to(EDGE_SITE)
        return {EDGE_SITE: LOCAL, SLURM_SITE: behind}

    def prepare(self, story: Story, engineer: Client) -> None:
        """The simulator makes its own data: nothing has to be there."""
        del story, engineer

    def during(self, story: Story, detail: Mapping[str, Any]) -> None:
        """Cut the factory's line once, while tries run there: they go on, and their results count when it is back."""
        if self._line is None:
            return
        there = [
            member
            for member in detail["members"]
            if member["site_name"] == EDGE_SITE and member["state"] not in follow.ENDED
        ]
        if not self._cut_at and there and all(member["progress"].get("step") for member in there):
            self._line.cut()
            self._cut_at, self._away = time.monotonic(), [member["index"] for member in there]
            tries = ", ".join(f"#{index}" for index in self._away)
            story.done(f"  {EDGE_SITE} is away: its line is cut for {AWAY_SECONDS} s; {tries} go on there")
        elif self._cut_at and time.monotonic() - self._cut_at >= AWAY_SECONDS:
            self._line.mend()
            self._line = None
            story.done(f"  {EDGE_SITE} is back")

    def collect(self, story: Story) -> None:
        """Every try's figures, the best policy, and the picture, by the program that a person would use."""
        self._collected = story.folder / self.name
        command = [sys.executable, str(folder_of(self.name) / "collect.py"), story.found.job]
        command += ["--out", str(self._collected)]
        processes.run(command, env={"SEKISHO_CONFIG": str(story.settings)}, log=story.log("collect"))
        story.done(f"collected and drawn: {summary.here(self._collected)}")

    def afterwards(self, story: Story, administrator: Client, engineer: Client) -> None:
        """Nothing more: places and keys are shown by the main job."""
        del story, administrator, engineer

    def lines(self, found: Found) -> Iterator[tuple[str, str]]:
        """Where the tries ran, and what the best of them can do."""
        collected = json.loads((self._collected / "summary.json").read_text(encoding="utf-8"))
        for site, count in sorted(Counter(job["site_name"] for job in found.ran).items()):
            yield "ran at", f"{site}: {count} of {len(found.ran)} ({found.engines[site]} engine)"
        tries = {detail["job"]["index"]: len(detail["attempts"]) for detail in found.details}
        went_on = ", ".join(f"#{index} in {tries[index]}" for index in self._away)
        if went_on:
            yield (
                "was away",
                f"{EDGE_SITE} for {AWAY_SECONDS} s; attempts of the tries that went on: {went_on}",
            )
        best = next(one for one in collected["tries"] if one["index"] == collected["best"])
        yield "best try", f"index {best['index']}, at {best['site']}"
        yield (
            "  reward",
            f"{best['held_out_reward']:.3f} on held-out reaches, untrained {collected['untrained_reward']:.3f}",
        )
        success = f"{best['held_out_success']:.1%} of them end within {collected['tolerance_mm']:g} mm"
        yield "  success", f"{success}, untrained {collected['untrained_success']:.1%}"
        yield "  policy", summary.here(self._collected / "best" / "policy.json")
        yield "picture", summary.here(self._collected / "curves.svg")
