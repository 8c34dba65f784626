"""The main job: a small Japanese language model; TEXT=folder takes that text, IMAGE=cuda the GPU environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts.main_job import custody, processes
from scripts.main_job.example import Engine, folder_of
from scripts.main_job.places import Places
from scripts.main_job.story import Found, Story, quiet
from sekisho_client import transfer
from sekisho_client.client import Client

DATASET, LEVEL, RESIDENCY, KEY = "japanese-text", 1, ["JP"], "japanese-text"
SLURM_SITE = "sakura-ishikari"


class JapaneseLm:
    """Text that may stay in Japan only, added as a dataset, and one job that reads it."""

    name = "japanese-lm"
    variables = frozenset({"TEXT", "IMAGE"})

    def __init__(self) -> None:
        """Nothing is made before the story begins."""
        self._places: Places | None = None

    @property
    def federation(self) -> Path:
        """Five sites of four operators."""
        return folder_of("japan") / "federation.yaml"

    @property
    def lock(self) -> Path:
        """The environment for processors, or the one for GPUs when asked for."""
        return folder_of(self.name) / ("image-cuda.txt" if os.environ.get("IMAGE") == "cuda" else "image.txt")

    def engines(self, story: Story) -> Mapping[str, Engine]:
        """A real Slurm behind the site that is chosen, when asked for; one site that landmarks can measure."""
        slurm = {SLURM_SITE: story.start_slurm(SLURM_SITE)} if os.environ.get("SLURM") else {}
        self._places = Places(story)
        return {**slurm, **self._places.engine()}

    def prepare(self, story: Story, engineer: Client) -> None:
        """Fetch or read the text, and add it as a dataset; the upload is judged before a byte is sent."""
        target = story.folder / "text"
        own = os.environ.get("TEXT", "")
        command = [sys.executable, str(folder_of(self.name) / "corpus.py"), "--out", str(target)]
        processes.run(command + (["--text", own] if own else []), env={}, log=story.log("text"))
        local = transfer.scan(target, quiet)
        story.done(f"text ready: {local.size_bytes / 1e6:.1f} MB in {len(local.files)} files")
        custodian = custody.start(story, engineer)
        key = custodian.register(story, engineer, KEY)
        with custodian.sealed(target, key) as (stored, named):
            upload = engineer.call(
                "data.dataset.add",
                name=DATASET,
                object=stored.digest,
                size_bytes=stored.size_bytes,
                files=len(stored.files),
                level=LEVEL,
                residency=RESIDENCY,
                **named,
            )
            transfer.send(engineer, stored, upload["ticket"], quiet)
        engineer.call("data.dataset.seal", dataset=upload["id"])
        story.done(
            f"dataset {DATASET}: level {LEVEL}, residency {', '.join(RESIDENCY)}, encrypted under {KEY}"
        )

    def during(self, story: Story, detail: Mapping[str, Any]) -> None:
        """One job at one site: there is nothing to do but to wait."""
        del story, detail

    def collect(self, story: Story) -> None:
        """The model stays where it was registered: nothing is read back."""
        del story

    def afterwards(self, story: Story, administrator: Client, engineer: Client) -> None:
        """A job of level 2: refused, then run once landmarks have shown where a site is."""
        del story
        if self._places is not None:
            self._places.tell(administrator, engineer)

    def lines(self, found: Found) -> Iterator[tuple[str, str]]:
        """The loss, from the last progress line; the log itself stays sealed under the text's key."""
        done = found.ran[0]["progress"]
        if "loss_last" in done:
            yield "loss", f"first {done['loss_first']}, last {done['loss_last']}"
