"""A real control plane, a real agent and a real Slurm, of which every part falls while jobs run."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent import slurm_site
from tests.agent.support import needs_bubblewrap
from tests.journeys.slurm_story import SLOTS, Story
from tests.journeys.system import Place, Watch, running
from tests.journeys.world import until
from tests.support import components, slurm

pytestmark = [pytest.mark.slurm, pytest.mark.wall, pytest.mark.slow, pytest.mark.timeout(300)]


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
        cluster.run("scancel", "-u", "root", check=False)
        system.close()
        assert '"findings":[]' in system.control.once("--json", "fsck")


def controller_falls(story: Story) -> None:
    """Slurm's controller is killed before it has saved anything: it forgets jobs, and gives their ids out again."""
    hit = story.busy()
    story.cluster.kill("slurmctld")
    new = story.submit(2)
    story.spared(hit)
    story.cluster.start_controller()
    story.started(new)


def nodes_fall(story: Story) -> None:
    """Both node daemons are killed: what runs goes on, what is queued waits."""
    hit = story.busy()
    for node in story.cluster.nodes:
        story.cluster.kill(node)
    new = story.submit(2)
    story.spared(hit)
    for node in story.cluster.nodes:
        story.cluster.start_node(node)
    story.started(new)


def interface_falls(story: Story) -> None:
    """The REST daemon is killed: the agent is blind, jobs end all the same, and one that is cancelled ends as well."""
    hit = story.busy()
    story.cluster.kill("slurmrestd")
    story.cancel(hit[0])
    new = story.submit(2)
    story.spared(hit)
    story.cluster.start_rest()
    story.started(new)


def agent_falls(story: Story) -> None:
    """The agent is killed and back: it takes up what it finds, or its leases are over."""
    story.busy()
    story.system.agent.end(signal.SIGKILL)
    story.system.start_agent()
    story.started(story.submit(1))


def agent_is_cut_off(story: Story) -> None:
    """The agent stands still until its attempts were given up, and goes on: they are placed again, none is doubled."""
    hit = story.busy()
    story.system.agent.send(signal.SIGSTOP)
    until(
        lambda: all(story.attempts(job) > story.before[job] for job in hit),
        seconds=60,
        what="new attempts",
    )
    assert not story.watch.alive, "a payload outlived its attempt"
    story.system.agent.send(signal.SIGCONT)
    story.started(hit, attempts=2)


def control_falls(story: Story) -> None:
    """The control plane is killed and back."""
    story.busy()
    story.system.control.end(signal.SIGKILL)
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


def _fall(
    folder: Path, db_url: str, cluster: slurm.Cluster, faults: Sequence[Callable[[Story], None]]
) -> None:
    with telling(folder, db_url, cluster) as story:
        for fault in faults:
            try:
                fault(story)
            except AssertionError as error:
                error.add_note(f"while {fault.__name__}")
                raise
        story.finish()
        story.check(folder)


@pytest.mark.database("sqlite")
def test_each_part_falls_by_itself(folder: Path, db_url: str, cluster: slurm.Cluster) -> None:
    """On one database: what falls is mostly Slurm's, and the next test kills all of it on both."""
    faults = (controller_falls, nodes_fall, interface_falls, agent_falls, control_falls)
    _fall(folder, db_url, cluster, faults)


def test_the_agent_is_cut_off_and_then_all_falls(folder: Path, db_url: str, cluster: slurm.Cluster) -> None:
    _fall(folder, db_url, cluster, (agent_is_cut_off, all_fall))
