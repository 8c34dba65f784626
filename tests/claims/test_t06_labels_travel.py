"""T6: whatever work leaves behind is as sensitive as everything that went into it, without anybody typing it.

Real gate, charter and agents' door; the test plays the agents. The expected label comes from an oracle of its own,
which walks back to the datasets instead of joining step by step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho import charter
from sekisho.compute import CancelJob, JobView, ListJobs, SubmitJob
from sekisho.compute.model_rounds import ReconcileAttempts
from sekisho.data import (
    ArtefactView,
    ExportArtefact,
    FetchArtefact,
    FetchRelease,
    ListArtefacts,
    LowerArtefact,
    ShowArtefact,
)
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho.kernel.facts import SYSTEM
from sekisho_wire import messages
from sekisho_wire.keying import WantKey
from sekisho_wire.messages import Envelope
from tests.compute.world import Agent, World, code_of, job_file, started
from tests.data.world import Folder, digest_of

HIGH = ("C02", "C03", "C04", "C07", "C09-egress")
"""Rules that ask for what this machine has not: landmarks, hardware, modules, cleared people."""


def for_high_levels() -> str:
    """The charter that ships, without these rules: what travels is asked here, not whether it may."""
    parts = re.split(r"(?=^@id\()", charter.default_policies(), flags=re.MULTILINE)
    return "".join(part for part in parts if not part.startswith(tuple(f'@id("{rule}' for rule in HIGH)))


def own_envelope(level: int, name: str) -> dict[str, Any]:
    """Of an object of its own: what was encrypted once keeps its level."""
    return {"envelope": digest_of(name.encode())} if level else {}


class Country(World):
    """Two sites in Japan, and a charter under which they run every level."""

    POLICIES = for_high_levels()

    def __init__(self, folder: Path, db_url: str) -> None:
        super().__init__(folder, db_url)
        self.second = Agent(self, self.site("tokyo", self.organisation("Tokyo"), yen_per_hour=30))
        self.numbers = itertools.count()
        self.here = set[str]()
        self.hear_all()

    def hear_all(self) -> None:
        self.second.poll()
        self.hear()

    def source(self, level: int, labels: list[str], residency: list[str]) -> str:
        number = next(self.numbers)
        folder = Folder({"part": str(number).encode()})
        self.here.add(folder.object)
        sealed = own_envelope(level, f"data-{number}")
        self.dataset(f"data-{number}", folder, level=level, labels=labels, residency=residency, **sealed)
        return f"data-{number}"

    def begun(
        self, sources: list[str], *, more: str = "", workdir: str = ""
    ) -> tuple[JobView, list[Envelope]]:
        """A job and the offers that its sites got."""
        mounts = [f"{{from: {source}, mount: /in/{index}}}" for index, source in enumerate(sources)]
        data = ", ".join([*mounts, "{to: model, mount: /out}"])
        number = next(self.numbers)
        text = f"name: job-{number}\nrun: x\nresources: {{cpus: 1, memory: 1}}\ndata: [{data}]\n{more}"
        self.hear_all()
        job = self.perform(self.engineer, SubmitJob(file=text, workdir=workdir))
        self.settle()
        jobs = {job.id, *(one.id for one in self.perform(self.engineer, ListJobs(array=job.id)).items)}
        offers = [offer for agent in self.agents for offer in agent.offers()]
        return job, [one for one in offers if isinstance(one.body, messages.Offer) and one.body.job in jobs]

    @property
    def agents(self) -> tuple[Agent, ...]:
        return self.home, self.second, self.abroad

    def agent_of(self, order: Envelope) -> Agent:
        return next(agent for agent in self.agents if agent.id == order.agent)

    def run(self, order: Envelope, *bodies: messages.Body) -> None:
        """Started, and given a key to seal with where the job has one."""
        agent = self.agent_of(order)
        agent.say(order, messages.Accept(), messages.Staged(), started())
        if sealing(order):
            agent.say(order, WantKey(recipient="A" * 43, make=1))
        agent.say(order, *bodies)

    def end(self, order: Envelope) -> None:
        number = next(self.numbers)
        model = messages.OutputReport(
            name="model", object=self.sent(order, b"m%d" % number), size_bytes=3, envelope=sealing(order)
        )
        log = messages.LogReport(
            bytes=5, dropped=0, digest=digest_of(b"log%d" % number), envelope=sealing(order)
        )
        self.agent_of(order).say(
            order, messages.Ended(reason="finished", exit_status=0, outputs=[model], log=log)
        )
        self.settle()

    def sent(self, order: Envelope, content: bytes) -> str:
        """The digest of a tree, whose bytes are here where the offer asked for them."""
        assert isinstance(order.body, messages.Offer)
        tree = Folder({"part": content})
        if order.body.outputs[0].upload:
            self.send(tree, into=order.attempt)
            self.here.add(tree.object)
        return tree.object

    def lies_apart(self, things: list[str], residency: list[str]) -> bool:
        """Whether some of these stay at sites that made them, and those are several, or outside the residency."""
        rows = self.rows("select id, object, site from data_artefacts where site is not null")
        sites = {row["site"] for row in rows if row["id"] in things and row["object"] not in self.here}
        country = "US" if self.abroad.site.id in sites else "JP"
        return len(sites) > 1 or (bool(sites) and residency != ["any"] and country not in residency)

    def left_by(self, job: str) -> list[ArtefactView]:
        return self.perform(self.engineer, ListArtefacts(job=job, limit=200)).items


def sealing(order: Envelope) -> str:
    """The digest of a header, for what is left behind by a job that has a key; else nothing."""
    assert isinstance(order.body, messages.Offer)
    return digest_of(order.attempt.encode()) if order.body.seal != "none" else ""


def checkpoint(world: Country, order: Envelope, content: bytes) -> messages.CheckpointSaved:
    return messages.CheckpointSaved(world.sent(order, content), 3, sealing(order))


@pytest.fixture
def world(tmp_path: Path, db_url: str) -> Iterator[Country]:
    made = Country(tmp_path, db_url)
    yield made
    made.close()


def seen(thing: ArtefactView | JobView) -> tuple[int, list[str], list[str]]:
    return thing.level, thing.labels, thing.residency


class Oracle:
    """Remembers what each thing was made of; tells its label from the datasets at the bottom, by counting."""

    def __init__(self) -> None:
        self.made_of: dict[str, list[str]] = {}
        self.sources: dict[str, tuple[int, list[str], list[str]]] = {}

    def roots(self, things: list[str]) -> set[str]:
        found: set[str] = set()
        for thing in things:
            found |= {thing} if thing in self.sources else self.roots(self.made_of[thing])
        return found

    def label(self, things: list[str]) -> tuple[int, list[str], list[str]]:
        roots = [self.sources[root] for root in self.roots(things)]
        level = 0
        labels: list[str] = []
        for root_level, root_labels, _ in roots:
            level = max(level, root_level)
            labels += [one for one in root_labels if one not in labels]
        named = [residency for _, _, residency in roots if residency != ["any"]]
        if not named:
            return level, sorted(labels), ["any"]
        every = sorted({country for residency in named for country in residency})
        return level, sorted(labels), [one for one in every if all(one in some for some in named)]


SOURCES = st.tuples(
    st.integers(0, 4),
    st.lists(st.sampled_from(["personal", "special-care", "trade-secret", "text"]), unique=True, max_size=2),
    st.sampled_from([["any"], ["JP"], ["JP", "US"], ["DE", "JP"]]),
)
MODES = st.sampled_from(["plain", "resumed", "array", "workdir", "service"])
STEPS = st.lists(
    st.tuples(MODES, st.lists(st.integers(0, 20), min_size=1, max_size=3)), min_size=2, max_size=5
)


@given(sources=st.lists(SOURCES, min_size=2, max_size=4), steps=STEPS)
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_t06_over_any_graph_of_jobs_every_thing_has_the_join_of_its_sources(
    world: Country, sources: list[tuple[int, list[str], list[str]]], steps: list[tuple[str, list[int]]]
) -> None:
    oracle = Oracle()
    things: list[str] = []
    for level, labels, residency in sources:
        name = world.source(level, labels, residency)
        oracle.sources[name] = (level, sorted(labels), sorted(residency))
        things.append(name)
    for mode, chosen in steps:
        inputs = list(dict.fromkeys(things[index % len(things)] for index in chosen))
        things += grow(world, oracle, mode, inputs)


def grow(world: Country, oracle: Oracle, mode: str, inputs: list[str]) -> list[str]:
    """One more generation; answers the names of what it left."""
    workdir, mounted = "", inputs
    if mode == "workdir":
        level, labels, residency = oracle.label(inputs[:1])
        workdir = world.workdir(
            Folder({"main.py": inputs[0].encode()}),
            level=level,
            labels=labels,
            residency=residency,
            **own_envelope(level, inputs[0]),
        )
        oracle.made_of[workdir] = inputs[:1]
        mounted = inputs[1:]
    more = {
        "resumed": "checkpoint: {path: /ckpt, every: 5s}\n",
        "array": "kind: array\narray: {size: 2}\n",
        "service": "kind: service\nservice: {replicas: 1}\n",
    }.get(mode, "")
    job, offers = world.begun(mounted, more=more, workdir=workdir)
    expected = oracle.label(inputs)
    assert seen(job) == expected
    if world.lies_apart(mounted, expected[2]):
        assert offers == [], "what stays at two sites, or where the rest may not be, meets nowhere"
        world.perform(world.engineer, CancelJob(job=job.id))
        world.settle()
        return []
    made: list[str] = []
    for order in offers:
        if mode == "resumed":
            world.end(resume(world, order, expected))
        else:
            world.run(order)
            world.end(order)
    members = (
        world.perform(world.engineer, ListJobs(array=job.id)).items if mode in {"array", "service"} else [job]
    )
    assert members
    for member in members:
        assert seen(member) == expected
        for left in world.left_by(member.id):
            assert seen(left) == expected
            assert left.owners == [world.office]
            oracle.made_of[left.id] = inputs
            if left.kind != "log":
                made.append(left.id)
    assert made
    if mode == "service":
        world.perform(world.engineer, CancelJob(job=job.id))
        world.settle()
        assert world.show(job.id).job.state.ended
    return made


def resume(world: Country, order: Envelope, expected: tuple[int, list[str], list[str]]) -> Envelope:
    """A checkpoint is saved, the site falls silent, and the attempt goes on elsewhere.

    Where an input stays at that site, so does the job, which goes on there.
    """
    world.run(order, checkpoint(world, order, b"c%d" % next(world.numbers)))
    job = next(
        item["job"] for item in world.rows("select job from compute_attempts where id = :a", a=order.attempt)
    )
    (saved,) = [one for one in world.left_by(job) if one.kind == "checkpoint"]
    assert seen(saved) == expected
    world.clock.advance(120_000)
    other = world.second if world.agent_of(order) is world.home else world.home
    other.poll()
    world.work()
    world.perform(SYSTEM, ReconcileAttempts())
    world.settle()
    assert isinstance(order.body, messages.Offer)
    stays = not {item.object for item in order.body.data} <= world.here
    if stays:
        assert expected[0] > 1
        assert other.offers() == []
        other = world.agent_of(order)
        world.clock.advance(6_000)
        other.poll()
        world.settle()
    (again,) = [one for one in other.offers() if isinstance(one.body, messages.Offer) and one.body.job == job]
    assert isinstance(again.body, messages.Offer)
    assert again.body.level == expected[0]
    reachable = again.body.resume is not None
    assert reachable == (expected[0] < 2 or stays), (
        "from level 2 on, a checkpoint stays at the site that has it"
    )
    world.run(again)
    world.hear_all()
    return again


def test_t06_a_checkpoint_of_level_1_and_3_is_level_3_and_so_is_what_was_tuned_from_it(
    world: Country,
) -> None:
    world.source(1, ["text"], ["JP", "US"])
    world.source(3, ["personal"], ["JP"])
    job, (order,) = world.begun(["data-0", "data-1"], more="checkpoint: {path: /ckpt, every: 5s}\n")
    world.run(order, checkpoint(world, order, b"c"))
    world.end(order)
    left = {one.kind: one for one in world.left_by(job.id)}
    assert set(left) == {"checkpoint", "output", "log"}
    assert {seen(one)[0] for one in left.values()} == {3}
    assert left["log"].object_kind == "tree", "sealed like everything else"
    tuned, (order,) = world.begun([left["checkpoint"].id])
    world.run(order)
    world.end(order)
    assert {seen(one) == (3, ["personal", "text"], ["JP"]) for one in world.left_by(tuned.id)} == {True}
    assert world.check().findings == []


def test_t06_a_join_that_names_no_country_can_be_nowhere(world: Country) -> None:
    world.source(1, [], ["JP"])
    job, offers = world.begun(["data-0"], more="charter: {residency: [US]}\n")
    assert (job.residency, offers) == ([], [])


def test_t06_a_lower_level_changes_what_is_made_from_now_on_and_nothing_before(world: Country) -> None:
    world.source(3, ["personal"], ["JP"])
    job, (order,) = world.begun(["data-0"])
    world.run(order)
    world.end(order)
    (output,) = [one for one in world.left_by(job.id) if one.kind == "output"]
    before, (order,) = world.begun([output.id])
    asks, agrees = (world.releaser(name, world.office) for name in ("asks", "agrees"))
    lower = LowerArtefact(
        artefact=output.id, level=2, approvers=[agrees.ref.id], reason="names were taken out"
    )
    world.approve(agrees, world.asked(asks, lower).proposal)
    world.run(order)
    world.end(order)
    after, (order,) = world.begun([output.id])
    world.run(order)
    world.end(order)
    assert {one.level for one in world.left_by(before.id)} == {3}
    assert {one.level for one in world.left_by(after.id)} == {2}
    assert {tuple(one.labels) for one in world.left_by(after.id)} == {("personal",)}


def test_t06_nothing_of_it_is_anothers_and_nothing_high_is_fetched(world: Country) -> None:
    world.source(2, [], ["JP"])
    job, (order,) = world.begun(["data-0"])
    world.run(order)
    world.end(order)
    for left in world.left_by(job.id):
        assert code_of(lambda left=left: world.perform(world.engineer, FetchArtefact(artefact=left.id))) == (
            "data.export_needed"
        )
        with pytest.raises(NotFoundError):
            world.perform(world.stranger, ShowArtefact(artefact=left.id))
        text = job_file("theirs", f"data: [{{from: {left.id}, mount: /d}}]\n")
        with pytest.raises(NotFoundError):
            world.submit(text, by=world.stranger)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_t06_progress_and_logs_stay_where_the_job_is_from_level_two_on(world: Country, level: int) -> None:
    world.source(level, [], ["JP"])
    job, (order,) = world.begun(["data-0"])
    world.run(order)
    agent = world.agent_of(order)
    for say, stays in (
        (lambda: agent.say(order, messages.Progress({"loss": "secret-0.1"}), lane="log"), level > 1),
        (lambda: agent.log(order, 0, b"secret-line"), level > 0),
    ):
        if not stays:
            say()
        else:
            with pytest.raises(SekishoError) as caught:
                say()
            assert caught.value.code == "compute.log.stays"
    assert bool(world.show(job.id).job.progress) == (level < 2)
    assert ("secret-" in world.everything()) == (level < 2)


def test_t06_a_bundle_holds_nothing_of_another_tenant(world: Country) -> None:
    """Two tenants work at the same sites; neither's stream names the other, its data or its people."""
    world.source(2, ["personal"], ["JP"])
    theirs = Folder({"part": b"theirs"})
    hidden = world.dataset("hidden-name", theirs, by=world.stranger, level=2)
    other = world.submit(
        job_file("hidden-job", "data: [{from: hidden-name, mount: /d}]\n"), by=world.stranger
    )
    job, offers = world.begun(["data-0"])
    (order,) = offers
    world.run(order)
    world.end(order)
    names = {
        hidden.id,
        hidden.object,
        "hidden-name",
        "hidden-job",
        other.id,
        world.laboratory,
        world.stranger.ref.id,
    }
    streams = [job.id, world.office]
    for record in (record for stream in streams for record in world.records(stream=stream)):
        about_them = record["actor"] == world.administrator.ref.id and record["action"].startswith(
            "identity."
        )
        text = msgspec.json.encode(record).decode()
        assert about_them or not [name for name in names if name in text]
    for record in world.records(stream=job.id):
        (facts,) = world.rows("select body from ledger_facts where digest = :d", d=record["facts"])
        assert not [name for name in names if name in bytes(facts["body"]).decode()]


def test_t06_an_approved_export_is_handed_over_by_the_site_that_has_it(world: Country) -> None:
    """The order goes to that site alone, after the checkpoint, and what comes in is what was agreed to."""
    world.source(2, ["personal"], ["JP"])
    job, (order,) = world.begun(["data-0"])
    world.run(order)
    tree = Folder({"weights": b"w" * 10, "deep/er": b"x"})
    model = messages.OutputReport(
        name="model", object=tree.object, size_bytes=tree.size_bytes, envelope=sealing(order)
    )
    site = world.agent_of(order)
    site.say(order, messages.Ended(reason="finished", exit_status=0, outputs=[model]))
    world.settle()
    (artefact,) = world.left_by(job.id)
    asks, own = (world.releaser(name, world.office) for name in ("asks", "own"))
    other = world.releaser("other", world.laboratory)
    command = ExportArtefact(
        artefact=artefact.id,
        destination="JP",
        approvers=[own.ref.id, other.ref.id],
        reason="for the journal",
    )
    proposal = world.asked(asks, command).proposal
    world.approve(own, proposal)
    assert hand_overs(site) == []
    release = world.approve(other, proposal)["id"]
    assert hand_overs(site) == [], "not before its record is under a checkpoint"
    world.settle()
    others = [agent for agent in world.agents if agent is not site]
    assert [hand_overs(agent) for agent in others] == [[], []]
    (wanted,) = hand_overs(site)
    assert (wanted.object, wanted.kind, wanted.size_bytes) == (tree.object, "tree", tree.size_bytes)
    grant = world.control.tickets.open(wanted.ticket)
    assert (grant.want, grant.object, grant.into) == ("put", tree.object, release)
    assert hand_overs(site) == [], "asked once a minute"
    world.clock.advance(60_000)
    assert len(hand_overs(site)) == 1
    world.send(tree, into=release)
    world.clock.advance(60_000)
    assert hand_overs(site) == []
    assert world.perform(asks, FetchRelease(release=release)).object == tree.object


def hand_overs(agent: Agent) -> list[messages.ObjectRef]:
    return [one.body.wanted for one in agent.poll() if isinstance(one.body, messages.HandOver)]
