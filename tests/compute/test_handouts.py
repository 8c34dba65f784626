"""What passes between an attempt and the control plane: outputs, checkpoints, secrets, tickets, logs, words."""

from __future__ import annotations

import msgspec
import pytest

from sekisho.compute import CancelJob, JobState, JobSubjects, OrdersWaiting, ReadLog, SetSecret, orders
from sekisho.data import ListArtefacts
from sekisho.identity import DisableService
from sekisho.kernel.errors import NotFoundError
from sekisho.kernel.facts import Actor, Entity, Ref
from sekisho_verify import canonical
from sekisho_wire import messages
from sekisho_wire.keying import WantKey
from sekisho_wire.messages import Accept, Body, Ok, Progress, Refused, Staged
from sekisho_wire.signing import seal
from tests.compute.world import FINISHED, MODEL, World, code_of, job_file, started
from tests.data.world import TEXT, digest_of


def test_what_work_leaves_behind_inherits_the_joined_label(world: World) -> None:
    world.dataset("corpus", labels=["personal"], residency=["JP", "US"])
    world.dataset("more", labels=["press"], level=0, residency=["any"])
    data = "data:\n  - {from: corpus, mount: /a}\n  - {from: more, mount: /b}\n  - {to: model, mount: /out}\n"
    job, order = world.running(job_file(more=data))
    header = digest_of(b"of an envelope")
    world.home.say(order, WantKey(recipient="A" * 43, make=1))
    world.home.say(order, messages.CheckpointSaved(digest_of(b"ckpt"), 7, header))
    world.clock.advance(1)
    sealed = msgspec.structs.replace(MODEL, envelope=header)
    world.home.say(order, msgspec.structs.replace(FINISHED, outputs=[sealed]))
    output, checkpoint = world.perform(world.engineer, ListArtefacts(job=job)).items
    assert (output.name, output.kind, output.object) == ("model", "output", MODEL.object)
    assert (checkpoint.kind, checkpoint.size_bytes) == ("checkpoint", 7)
    for artefact in (output, checkpoint):
        assert (artefact.level, artefact.labels, artefact.residency) == (1, ["personal", "press"], ["JP"])
        assert (artefact.owner, artefact.owners) == (world.office, [world.office])
        assert (artefact.job, artefact.attempt, artefact.copies) == (job, order.attempt, [world.home.site.id])
    assert world.perform(world.stranger, ListArtefacts(job=job)).items == []


def test_staged_inputs_are_copies_at_the_site(world: World) -> None:
    dataset = world.dataset("corpus")
    _, order = world.offered(job_file(more="data: [{from: corpus, mount: /data}]\n"))
    world.home.say(order, Accept())
    rows = "select site from data_copies where object = :object order by site"
    assert len(world.rows(rows, object=dataset.object)) == 1
    world.home.say(order, Staged(size_bytes=TEXT.size_bytes))
    assert world.home.site.id in [row["site"] for row in world.rows(rows, object=dataset.object)]


def test_the_next_attempt_resumes_from_the_newest_checkpoint(world: World) -> None:
    job, order = world.running(job_file(more="checkpoint: {path: /ckpt, every: 5s}\n"))
    offer = order.body
    assert isinstance(offer, messages.Offer)
    assert offer.checkpoint is not None
    assert (offer.checkpoint.every_s, offer.resume) == (5, None)
    for content in (b"one", b"two"):
        world.clock.advance(1)
        world.home.say(order, messages.CheckpointSaved(digest_of(content), 3))
    world.home.say(order, messages.Ended(reason="agent.restarted"))
    world.settle()
    (again,) = world.home.offers()
    assert isinstance(again.body, messages.Offer)
    assert again.body.resume == messages.ObjectRef(digest_of(b"two"), "tree", 3)
    assert len(world.perform(world.engineer, ListArtefacts(job=job)).items) == 2


SECRET = "correct-horse-battery-staple"


def test_a_secret_is_handed_out_and_nowhere_kept(world: World) -> None:
    world.perform(world.engineer, SetSecret(name="hub-token", value=SECRET))
    job, order = world.running(job_file(more="secrets: [hub-token]\n"))
    sealed = seal(world.home.key, world.home.envelope("main", order, messages.WantSecret("hub-token")))
    for _ in range(2):
        answer = world.home.deliver(sealed).body
        assert isinstance(answer, messages.SecretValue)
        assert canonical.from_base64url(answer.value) == SECRET.encode()
    world.home.say(order, FINISHED)
    world.settle()
    everything = world.everything()
    assert SECRET not in everything
    assert canonical.to_base64url(SECRET.encode()) not in everything
    assert {"attempt": order.attempt, "secret": "hub-token"} in [
        record["detail"] for record in world.records(stream=job)
    ]


def test_only_a_job_that_names_a_secret_gets_it(world: World) -> None:
    for name in ("hub-token", "other"):
        world.perform(world.engineer, SetSecret(name=name, value=SECRET))
    _, order = world.running(job_file(more="secrets: [hub-token]\n"))
    for name in ("other", "none"):
        assert (
            code_of(lambda name=name: world.home.say(order, messages.WantSecret(name)))
            == "compute.secret.unknown"
        )
    world.home.say(order, FINISHED)
    assert code_of(lambda: world.home.say(order, messages.WantSecret("hub-token"))) == "attempt.fenced"


def test_a_ticket_lets_one_object_in(world: World) -> None:
    _, order = world.running()
    answer = world.home.say(order, messages.WantTicket("put", MODEL.object, 12))
    assert isinstance(answer, messages.Ticket)
    grant = world.control.tickets.open(answer.ticket)
    assert (grant.want, grant.object, grant.size_bytes) == ("put", MODEL.object, 12)
    assert (
        code_of(lambda: world.home.say(order, messages.WantTicket("get", MODEL.object, 12)))
        == "attempt.fenced"
    )


def test_an_offers_tickets_open_its_inputs_and_nothing_else(world: World) -> None:
    dataset = world.dataset("corpus")
    _, order = world.offered(job_file(more="data: [{from: corpus, mount: /data}]\n"))
    assert isinstance(order.body, messages.Offer)
    (mount,) = order.body.data
    grant = world.control.tickets.open(mount.ticket)
    assert (grant.want, grant.object, grant.kind) == ("get", dataset.object, "tree")


def test_logs_and_progress_reach_the_reader(world: World) -> None:
    job, order = world.running()
    world.home.log(order, 0, "一行目\n".encode())
    world.home.say(order, Progress(line={"step": 7, "loss": "2.5"}), lane="log")
    assert world.show(job).job.progress == {"step": 7, "loss": "2.5"}
    piece = world.perform(world.engineer, ReadLog(job=job))
    assert (piece.text, piece.ended) == ("一行目\n", False)
    world.home.log(order, piece.next, "二行目\n".encode()[:-2])
    world.home.say(order, FINISHED)
    rest = world.perform(world.engineer, ReadLog(job=job, offset=piece.next))
    assert (rest.text, rest.ended) == ("二行\N{REPLACEMENT CHARACTER}", True)
    world.home.log(order, rest.next - 2, "目\n".encode()[:4])
    late = world.perform(world.engineer, ReadLog(job=job, attempt=1))
    assert late.ended


def test_a_lost_attempts_progress_is_not_taken_for_the_new_ones(world: World) -> None:
    job, order = world.running()
    world.home.say(order, messages.Ended(reason="agent.restarted"))
    world.settle()
    (again,) = world.home.offers()
    world.home.say(again, Accept(), Staged(), started())
    world.home.say(again, Progress(line={"step": 1}), lane="log")
    assert world.home.say(order, Progress(line={"step": 99}), lane="log") == Ok()
    assert world.show(job).job.progress == {"step": 1}
    world.home.log(order, 0, b"old")
    world.home.log(again, 0, b"new")
    assert world.perform(world.engineer, ReadLog(job=job)).text == "new"
    assert world.perform(world.engineer, ReadLog(job=job, attempt=1)).text == "old"


@pytest.mark.parametrize("where", ["refused", "started", "ended"])
def test_an_agents_words_may_hold_anything(world: World, where: str) -> None:
    odd = "a\0b\N{RIGHT-TO-LEFT OVERRIDE}'; drop table x"
    job, order = world.offered()
    if where == "refused":
        world.home.say(order, Refused(odd, odd))
    else:
        report = started(wall=odd, image=odd, limits={"memory": odd}) if where == "started" else started()
        world.home.say(order, Accept(), Staged(), report)
        if where == "ended":
            world.home.say(order, messages.Ended(reason=odd, detail=odd))
    attempt = world.show(job).attempts[0]
    assert odd.replace("\0", "\N{REPLACEMENT CHARACTER}") in {attempt.detail, attempt.reason, attempt.wall}
    world.settle()
    assert world.check().findings == []


@pytest.mark.parametrize("wall", ["", "w" * 256, "a\0b", "none"])
def test_whatever_a_site_says_of_its_wall_is_noted_and_stops_nobody(world: World, wall: str) -> None:
    world.home.poll(wall=wall)
    world.settle()
    row = world.rows("select wall from sites_sites where id = :id", id=world.home.site.id)[0]
    assert row["wall"] == wall.replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert world.rows("select id from kernel_work where last_error is not null") == []


def test_an_agent_that_waits_is_told_when_a_poll_would_give_something(world: World) -> None:
    def waiting() -> tuple[bool, bool]:
        home, abroad = (
            world.perform(Actor(Ref("Agent", agent.id)), OrdersWaiting())
            for agent in (world.home, world.abroad)
        )
        return home, abroad

    assert waiting() == (False, False)
    job = world.submit().id
    world.work()
    assert waiting() == (False, False), "nothing leaves before its record is under a checkpoint"
    world.seal_log()
    assert waiting() == (True, False)
    (order,) = world.home.offers()
    world.home.say(order, Accept())
    assert waiting() == (False, False)
    world.perform(world.engineer, CancelJob(job=job))
    assert waiting() == (True, False)


@pytest.mark.parametrize(
    "body", [Ok(), messages.Lease(lease_s=9), messages.Cancel()], ids=lambda body: type(body).__name__
)
def test_what_only_we_say_is_no_report(world: World, body: Body) -> None:
    job, order = world.running()
    assert code_of(lambda: world.home.say(order, body)) == "attempt.fenced"
    assert world.show(job).job.state is JobState.RUNNING
    assert world.home.say(order, FINISHED) == Ok()


def test_what_no_longer_may_run_gets_neither_offer_nor_secret(world: World) -> None:
    world.perform(world.engineer, SetSecret(name="hub-token", value=SECRET))
    _, order = world.running(job_file(more="secrets: [hub-token]\n"))
    world.submit(job_file("b"))
    world.settle()
    world.perform(world.administrator, DisableService(service=world.engineer.ref.id))
    assert world.home.poll() == []
    assert not world.perform(Actor(Ref("Agent", world.home.id)), OrdersWaiting())
    assert code_of(lambda: world.home.say(order, messages.WantSecret("hub-token"))) == "attempt.fenced"


def test_cancels_go_first_and_an_answer_stays_small(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job, _ = world.running()
    world.submit(job_file("b"))
    world.submit(job_file("c"))
    world.settle()
    world.perform(world.engineer, CancelJob(job=job))
    monkeypatch.setattr(orders, "ORDERS_BYTES_MAX", 1)
    (first,) = world.home.poll()
    (second,) = world.home.poll()
    assert isinstance(first.body, messages.Cancel)
    assert isinstance(second.body, messages.Offer)
    assert second.seq == first.seq + 1, "what was not sent used no number"


def test_a_job_too_long_for_an_order_is_not_taken_in(world: World) -> None:
    envs = ", ".join(f"A{number}: {'x' * 4000}" for number in range(60))
    assert code_of(lambda: world.submit(job_file(more=f"envs: {{{envs}}}\n"))) == "compute.file.invalid"


@pytest.mark.parametrize("text", ["a", "=", "a\0"])
def test_a_piece_of_a_log_that_is_no_base64_is_a_problem(world: World, text: str) -> None:
    _, order = world.running()
    chunk = messages.LogChunk(offset=0, text=text)
    assert code_of(lambda: world.home.say(order, chunk, lane="log")) == "agent.seal"


def test_the_ledger_finds_jobs_and_nothing_else(world: World) -> None:
    """By id, and like every command about a job by its name; that name means nothing in another organisation."""
    job = world.submit()

    def found(kind: str, name: str, org: str = world.office) -> Entity:
        asker = Entity(Ref("User", "usr_a"), {"org": Ref("Org", org)})
        return world.database.read(lambda tx: JobSubjects().subject(tx, kind, name, asker))

    assert found("Job", job.id).attributes["owner"] == Ref("Org", world.office)
    assert found("Job", job.name) == found("Job", job.id)
    for kind, name, org in (
        ("Dataset", job.id, world.office),
        ("Job", "no-such-job", world.office),
        ("Job", "job_" + "0" * 26, world.office),
        ("Job", job.name, "org_" + "0" * 26),
    ):
        with pytest.raises(NotFoundError):
            found(kind, name, org)
