"""What one example brings to the story that all of them share; each is a small file beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from scripts.main_job.story import Found, Story
    from sekisho_client.client import Client

ROOT = Path(__file__).resolve().parents[2]


class Engine(NamedTuple):
    """What runs behind a site: the engine's name as it is registered, and the part of the agent's file that says so."""

    name: str
    settings: str


class Example(Protocol):
    """One example: its files, what it needs before the job, and what it makes of the results."""

    @property
    def name(self) -> str:
        """The folder below `examples/`, and the image's name."""
        ...

    @property
    def variables(self) -> frozenset[str]:
        """Which of the variables of `make run` mean something to it, beyond ONCE and SLURM."""
        ...

    @property
    def federation(self) -> Path:
        """The file that lists its sites."""
        ...

    @property
    def lock(self) -> Path:
        """The lock of its environment."""
        ...

    def engines(self, story: Story) -> Mapping[str, Engine]:
        """What runs behind its sites, where that is not the local engine as it comes. Starts what it names."""
        ...

    def prepare(self, story: Story, engineer: Client) -> None:
        """Whatever has to be there before the job is submitted."""
        ...

    def during(self, story: Story, detail: Mapping[str, Any]) -> None:
        """Called at each look at the running job, with what was seen of it."""
        ...

    def collect(self, story: Story) -> None:
        """Read back what the job made; `story.found` holds the job by then."""
        ...

    def afterwards(self, story: Story, administrator: Client, engineer: Client) -> None:
        """What it shows once the job's evidence is checked; more about keys and places goes here."""
        ...

    def lines(self, found: Found) -> Iterator[tuple[str, str]]:
        """The part of the summary between the sites and the proof."""
        ...


def folder_of(name: str) -> Path:
    """Where an example's files are."""
    return ROOT / "examples" / name
