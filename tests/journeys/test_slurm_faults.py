"""A real control plane, a real agent and a real Slurm, of which every part falls while jobs run."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent import slurm_site
from tests.agent.support import needs_bubblewrap
from tests.journeys.slurm_story import SLOTS, Story
from tests.journeys.system import LEASE_SECONDS, Place, Watch, running
from tests.support import components, slurm

pytestmark = [pytest.mark.slurm, pytest.mark.wall, pytest.mark.slow, pytest.mark.timeout(300)]

AWAY_SECONDS = 1.5


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Cluster]:
    """A cluster of this module's own: its daemons are killed."""
    needs_bubblewrap()
    try:
        slurm.find()
    except slurm.SlurmUnavailableError as error:
        components.missing("a real Slurm", str(error))
    with slurm.running("sendai") as started:
        yield started.clusters["sendai"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because sockets of the wall need short paths."""
    with tempfile.TemporaryDirectory(prefix="sks-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def telling(folder: Path, db_url: str, cluster: slurm.Cluster) -> Iterator[Story]:
    """A whole system over the cluster; afterwards its ledger is looked through."""
    place = Place(slots=SLOTS, slurm=slurm_site.settings(cluster)["slurm"])
    with running(folder, db_url, place) as system, Watch() as watch:
        story = Story(system, cluster, watch)
        try:
            yield story
        except AssertionError as error:
            for said in (story.told(), cluster.run("squeue", "-a"), cluster.said()):
                error.add_note(said)
            raise
        system.close()
        assert '"findings":[]' in system.control.once("--json", "fsck")


def controller_falls(story: Story) -> None:
    """Slurm's controller is killed; jobs end, and are submitted, while it is away."""
    story.busy()
    story.cluster.kill("slurmctld")
    new = story.submit(2)
    time.sleep(AWAY_SECONDS)
    story.cluster.start_controller()
    story.started(new)


def nodes_fall(story: Story) -> None:
    """Both node daemons are killed: what runs goes on, what is queued waits."""
    story.busy()
    for node in story.cluster.nodes:
        story.cluster.kill(node)
    new = story.submit(2)
    time.sleep(AWAY_SECONDS)
    for node in story.cluster.nodes:
        story.cluster.start_node(node)
    story.started(new)


def interface_falls(story: Story) -> None:
    """The REST daemon is killed: the agent is blind, jobs end all the same."""
    running_now = story.busy()
    story.cluster.kill("slurmrestd")
    story.cancel(running_now[0])
    new = story.submit(2)
    time.sleep(AWAY_SECONDS)
    story.cluster.start_rest()
    story.started(new)


def agent_falls(story: Story) -> None:
    """The agent is killed, and back before the leases are over, if the machine lets it."""
    story.busy()
    story.system.agent.end(signal.SIGKILL)
    story.system.start_agent()
    story.started(story.submit(1))


def agent_is_cut_off(story: Story) -> None:
    """The agent stands still for longer than its attempts are waited for: they are placed again, and must not double."""
    hit = story.busy()
    story.system.agent.signal(signal.SIGSTOP)
    time.sleep(LEASE_SECONDS * 2.5)
    story.system.agent.signal(signal.SIGCONT)
    assert hit
    story.started(story.submit(1))


def control_falls(story: Story) -> None:
    """The control plane is killed and back."""
    story.busy()
    story.system.control.end(signal.SIGKILL)
    time.sleep(AWAY_SECONDS / 3)
    story.system.start_control()
    story.started(story.submit(1))


def all_fall(story: Story) -> None:
    """A power cut of everything but the nodes."""
    story.busy()
    story.system.agent.end(signal.SIGKILL)
    story.cluster.kill("slurmctld")
    story.cluster.kill("slurmrestd")
    story.system.control.end(signal.SIGKILL)
    story.system.start_control()
    story.system.start_agent()
    story.cluster.start_controller()
    story.cluster.start_rest()
    story.started(story.submit(1))


FAULTS: list[Callable[[Story], None]] = [
    controller_falls,
    nodes_fall,
    interface_falls,
    agent_falls,
    agent_is_cut_off,
    control_falls,
    all_fall,
]


@pytest.mark.parametrize("fault", FAULTS)
def test_one(fault: Callable[[Story], None], folder: Path, db_url: str, cluster: slurm.Cluster) -> None:
    with telling(folder, db_url, cluster) as story:
        b = time.monotonic()
        fault(story)
        c = time.monotonic()
        story.finish()
        d = time.monotonic()
        story.check(folder)
        print(fault.__name__, c - b, d - c, time.monotonic() - d, len(story.wanted))
