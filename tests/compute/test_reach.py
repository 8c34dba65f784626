"""What a job names has come in for exactly that: a digest that somebody only knows reaches no offer and no mount."""

from __future__ import annotations

import msgspec
import pytest

from sekisho.compute import PlanJob, ReconcileAttempts
from sekisho.data import FetchArtefact
from sekisho.data.tables import put_copy
from sekisho.kernel.facts import SYSTEM
from sekisho.kernel.tx import Tx
from sekisho_wire import messages
from tests.compute.world import FINISHED, Agent, World, code_of, job_file, started
from tests.data.world import TEXT, Folder

OTHER = Folder({"theirs.txt": b"nobody else's\n"})
CHECKPOINT = "checkpoint: {path: /ckpt, every: 5s}\n"
ANYWHERE = "[JP, US]"
SILENT_MS = 120_000


def reading(artefact: str, *, residency: str = "[JP]") -> str:
    """A job file that reads one artefact."""
    return job_file(residency=residency) + f"data: [{{from: {artefact}, mount: /d}}]\n"


def offer_at(world: World, agent: Agent) -> messages.Offer | None:
    """What this site's agent is offered now."""
    world.settle()
    found = [order.body for order in agent.offers()]
    return found[0] if found and isinstance(found[0], messages.Offer) else None


def output(world: World) -> str:
    """The id of the one output here."""
    (row,) = world.rows("select id from data_artefacts where kind = 'output'")
    return str(row["id"])


def test_a_working_folder_whose_bytes_nobody_sent_is_in_no_job(world: World) -> None:
    """The laboratory's dataset lies here and at sites; the office names its digest and sends nothing."""
    theirs = world.dataset("theirs", OTHER, by=world.stranger)
    named = world.add_workdir_of(theirs.object, theirs.size_bytes)
    assert code_of(lambda: world.submit(workdir=named)) == "data.incomplete"
    text = reading(named)
    assert code_of(lambda: world.submit(text)) == "data.incomplete"
    assert code_of(lambda: world.perform(world.engineer, PlanJob(file=text))) == "data.incomplete"
    assert code_of(lambda: world.perform(world.engineer, FetchArtefact(artefact=named))) == "data.not_here"


def test_a_manifest_alone_is_no_working_folder(world: World) -> None:
    world.dataset("theirs", OTHER, by=world.stranger)
    named = world.add_workdir_of(OTHER.object, OTHER.size_bytes)
    world.put([OTHER.manifest], into=named)
    assert code_of(lambda: world.submit(workdir=named)) == "data.incomplete"
    world.put(OTHER.contents, into=named)
    assert world.submit(workdir=named).state.value == "waiting"


def test_bytes_that_came_in_for_something_else_do_not_count(world: World) -> None:
    world.workdir()
    named = world.add_workdir_of(TEXT.object, TEXT.size_bytes)
    assert code_of(lambda: world.submit(workdir=named)) == "data.incomplete"


@pytest.mark.parametrize("sent", [(), (TEXT.manifest,), (*TEXT.contents, TEXT.manifest)])
def test_what_an_attempt_left_behind_is_read_where_it_lies_until_all_of_it_came_in(
    world: World, *, sent: tuple[bytes, ...]
) -> None:
    """An agent may name another tenant's digest, and the job that reads it ask for a site that holds such bytes."""
    world.submit(job_file(residency=ANYWHERE))
    world.settle()
    (order,) = world.abroad.offers()
    left = messages.OutputReport(name="model", object=TEXT.object, size_bytes=TEXT.size_bytes)
    world.abroad.say(order, messages.Accept(), messages.Staged(), started())
    world.put(sent, into=order.attempt)
    world.abroad.say(order, msgspec.structs.replace(FINISHED, outputs=[left]))
    text = reading(output(world), residency=ANYWHERE)
    whole = len(sent) > 1
    wanted = world.submit(text.replace("charter:\n", "charter:\n  sites: [ishikari]\n")).id
    assert (offer_at(world, world.home) is not None) is whole
    choices = {choice.name: choice.rules for choice in world.show(wanted).sites}
    assert ("job:inputs" in choices["ishikari"]) is not whole
    world.submit(text)
    assert offer_at(world, world.abroad) is not None


def test_an_artefact_that_lies_nowhere_is_in_no_job(world: World) -> None:
    """One of before sites were kept beside artefacts: nobody could say who has its bytes."""
    _, order = world.running()
    world.home.say(order, FINISHED)
    world.database.write(_forget_sites)
    assert code_of(lambda: world.submit(reading(output(world)))) == "data.incomplete"


@pytest.mark.parametrize("sent", [True, False])
def test_a_checkpoint_that_an_agent_only_named_is_resumed_at_no_other_site(
    world: World, *, sent: bool
) -> None:
    """Home holds bytes of that digest, for somebody else; the attempt abroad calls its checkpoint so."""
    world.dataset("theirs", TEXT, by=world.stranger, level=0, residency=["any"])
    _, staged = world.running()
    world.home.say(staged, FINISHED)
    world.database.write(lambda tx: _hold(tx, world.home.site.id))
    world.submit(job_file(more=CHECKPOINT, residency=ANYWHERE))
    world.settle()
    (order,) = world.abroad.offers()
    saved = messages.CheckpointSaved(object=TEXT.object, size_bytes=TEXT.size_bytes)
    if sent:
        world.send(into=order.attempt)
    world.abroad.say(order, messages.Accept(), messages.Staged(), started(), saved)
    world.clock.advance(SILENT_MS)
    world.home.poll()
    world.perform(SYSTEM, ReconcileAttempts())
    again = offer_at(world, world.home)
    assert again is not None
    assert (again.resume is not None) is sent


def _forget_sites(tx: Tx) -> None:
    with tx.claimed_by("rec_of_a_test"):
        tx.run("update data_artefacts set site = null, record_id = :record_id")


def _hold(tx: Tx, site: str) -> None:
    """The site was sent such bytes once."""
    with tx.claimed_by("rec_of_a_test"):
        put_copy(tx, TEXT.object, site, 0)
