"""Jobs, secrets and images through the gate, under the charter that ships, with real sites and data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from sekisho.compute import (
    AddImage,
    CancelJob,
    ExplainJob,
    JobState,
    ListJobs,
    PlaceRound,
    PlanJob,
    ReadLog,
    SetSecret,
    ShowJob,
    SubmitJob,
)
from sekisho.kernel.errors import DeniedError, NotFoundError, SekishoError
from sekisho.kernel.facts import SYSTEM, Actor
from sekisho.kernel.ids import new_id
from sekisho.kernel.tx import Tx
from sekisho_wire import messages
from sekisho_wire.keying import WantKey
from sekisho_wire.messages import Accept, Staged
from tests.compute.world import FAILED, FINISHED, World, code_of, job_file, started
from tests.data.world import TEXT, Folder, digest_of
from tests.support.toy import START_MS

LOCK = "numpy==2.3.4 \\\n    --hash=sha256:" + "0" * 64 + "\n"
SILENCE_MS = 90_000


def stored(world: World, level: int) -> None:
    """Lift every dataset to a level that nothing legal gives it here, past the gate."""

    def work(tx: Tx) -> None:
        with tx.claimed_by(new_id("rec", START_MS)):
            tx.run("update data_datasets set level = :level, record_id = :record_id", level=level)

    world.database.write(work)


def test_a_plan_says_what_submitting_would_and_changes_nothing(world: World) -> None:
    world.dataset("corpus", labels=["personal"])
    text = job_file(more="data: [{from: corpus, mount: /data}]\n")
    plan = world.perform(world.engineer, PlanJob(file=text))
    assert (plan.name, plan.level, plan.labels, plan.residency) == ("a", 1, ["personal"], ["JP"])
    job = world.submit(text).id
    world.work()
    assert plan.sites == world.show(job).sites
    assert len(world.perform(world.engineer, ListJobs()).items) == 1
    with pytest.raises(NotFoundError):
        world.perform(world.stranger, PlanJob(file=text))


def test_labels_are_joined_over_everything_a_job_reads(world: World) -> None:
    world.dataset("low", Folder({"l": b"l"}), level=0, labels=["a"], residency=["any"])
    world.dataset("high", Folder({"h": b"h"}), level=1, labels=["b"], residency=["JP", "US"])
    workdir = world.workdir(labels=["c"])
    data = "data: [{from: low, mount: /l}, {from: high, mount: /h}]\n"
    job = world.submit(job_file(more=data, residency="[JP, DE]"), workdir=workdir)
    assert (job.level, job.labels, job.residency) == (1, ["a", "b", "c"], ["JP"])
    world.settle()
    (order,) = world.home.offers()
    assert isinstance(order.body, messages.Offer)
    assert order.body.workdir is not None
    assert (order.body.workdir.object, order.body.level) == (TEXT.object, 1)


@pytest.mark.parametrize(
    ("wish", "residency", "placed"),
    [("[JP]", ["JP"], "ishikari"), ("[JP, US]", ["JP"], "ishikari"), ("[US]", [], ""), ("[DE]", [], "")],
)
def test_a_job_narrows_a_residency_and_never_widens_it(
    world: World, wish: str, residency: list[str], placed: str
) -> None:
    world.dataset("corpus", residency=["JP"])
    job = world.submit(job_file(more="data: [{from: corpus, mount: /d}]\n", residency=wish))
    assert job.residency == residency
    world.work()
    assert world.show(job.id).job.site_name == placed


def test_a_domestic_operator_can_be_asked_for(world: World) -> None:
    operator = world.organisation("Foreign in Japan", "US", foreign_pct=100)
    world.site("cheap", operator, yen_per_hour=0)
    job = world.submitted("  operator: domestic\n")
    choices = {choice.name: choice for choice in world.show(job).sites}
    assert choices["cheap"].rules == ["job:operator"]
    assert world.show(job).job.site_name == "ishikari"


NAMED: list[tuple[str, str]] = [
    ("resources: {image: none}\n", "compute.image.unknown"),
    ("secrets: [none]\n", "compute.secret.unknown"),
    ("charter: {level: 2}\ndata: [{to: model, mount: /out}]\n", "compute.key_needed"),
    ("charter: {level: 2}\ncheckpoint: {}\n", "compute.key_needed"),
    ("data: [{from: none, mount: /d}]\n", "not_found"),
    ("data: [{from: art_00000000000000000000000000, mount: /d}]\n", "not_found"),
    ("data: [{from: late, mount: /d}]\n", "data.not_ready"),
    ("data: [{from: theirs, mount: /d}]\n", "not_found"),
    ("residencyy: [JP]\n", "compute.file.unknown_field"),
]


@pytest.mark.parametrize(
    ("more", "code"), NAMED, ids=[more.split(":")[0] + str(n) for n, (more, _) in enumerate(NAMED)]
)
def test_a_job_that_names_what_is_not_there_is_refused(world: World, more: str, code: str) -> None:
    world.add("late", Folder({"x": b"x"}))
    world.dataset("theirs", by=world.stranger)
    text = f"name: a\nrun: x\n{more}"
    assert code_of(lambda: world.submit(text)) == code
    assert code_of(lambda: world.perform(world.engineer, PlanJob(file=text))) == code
    assert world.perform(world.engineer, ListJobs()).items == []


def test_data_of_another_organisation_does_not_exist_for_a_job(world: World) -> None:
    theirs = world.dataset("theirs", by=world.stranger).id
    late = world.add("late", by=world.stranger).id
    workdir = world.workdir(by=world.stranger)
    for source in (theirs, late, workdir):
        text = job_file(more=f"data: [{{from: {source}, mount: /d}}]\n")
        assert code_of(lambda text=text: world.submit(text)) == "not_found"
    assert code_of(lambda: world.submit(workdir=workdir)) == "not_found"
    assert world.perform(world.engineer, ListJobs()).items == []


def test_a_dataset_is_no_working_folder(world: World) -> None:
    _, order = world.running()
    world.home.say(order, FINISHED)
    output = world.rows("select id from data_artefacts")[0]["id"]
    assert code_of(lambda: world.submit(workdir=output)) == "not_found"
    assert code_of(lambda: world.submit(workdir="art_none")) == "not_found"


def test_an_output_can_be_the_next_jobs_input_with_its_label(world: World) -> None:
    world.dataset("corpus", labels=["personal"])
    _, order = world.running(job_file(more="data: [{from: corpus, mount: /d}, {to: model, mount: /o}]\n"))
    sealed = msgspec.structs.replace(FINISHED.outputs[0], envelope=digest_of(b"its header"))
    world.home.say(order, WantKey(recipient="A" * 43, make=1))
    world.home.say(order, msgspec.structs.replace(FINISHED, outputs=[sealed]))
    output = world.rows("select id from data_artefacts")[0]["id"]
    job = world.submit(f"name: b\nrun: x\ndata: [{{from: {output}, mount: /m}}]\n")
    assert (job.level, job.labels, job.residency) == (1, ["personal"], ["JP"])


def test_specially_designated_secrets_are_never_taken_in(world: World) -> None:
    world.dataset("corpus")
    stored(world, 5)
    assert (
        code_of(lambda: world.submit(job_file(more="data: [{from: corpus, mount: /d}]\n")))
        == "compute.level_refused"
    )
    assert world.perform(world.engineer, ListJobs()).items == []


@pytest.mark.parametrize("level", [2, 3, 4])
def test_what_no_site_is_proven_for_waits(world: World, level: int) -> None:
    world.dataset("corpus")
    stored(world, level)
    job = world.submitted("data: [{from: corpus, mount: /d}]\n")
    assert world.reason(job) == ("waiting", "CharterForbids")
    assert world.home.poll() == []
    home = next(choice for choice in world.show(job).sites if choice.name == "ishikari")
    assert "C02-location-proof" in home.rules


def test_reading_a_job_of_level_two_leaves_a_record_with_the_reader(world: World) -> None:
    world.dataset("corpus")
    stored(world, 2)
    job = world.submitted("data: [{from: corpus, mount: /d}]\n")
    before = len(world.records(stream=job))
    world.perform(world.engineer, ShowJob(job=job))
    assert [record["action"] for record in world.records(stream=world.engineer.ref.id)] == [
        "compute.job.show"
    ]
    assert len(world.records(stream=job)) == before


def test_another_organisation_sees_nothing_of_a_job(world: World) -> None:
    job, order = world.running()
    world.home.log(order, 0, b"line\n")
    for command in (
        ShowJob(job=job),
        ExplainJob(job=job),
        ReadLog(job=job),
        ShowJob(job="a"),
        CancelJob(job=job),
    ):
        with pytest.raises(NotFoundError):
            world.perform(world.stranger, command)
    assert world.perform(world.stranger, ListJobs()).items == []
    assert world.show(job).job.state is JobState.RUNNING


def test_a_name_finds_the_newest_job_of_ones_own(world: World) -> None:
    world.submit()
    world.clock.advance(1)
    newest = world.submit().id
    world.clock.advance(1)
    world.submit(by=world.stranger)
    assert world.show("a").job.id == newest


def test_without_a_role_nothing_is_submitted(world: World) -> None:
    caller = world.account("caller", world.office, "caller")
    with pytest.raises(DeniedError):
        world.submit(by=caller)
    assert world.rows("select id from compute_jobs") == []
    assert world.perform(caller, ListJobs()).items == []


def listed(world: World, actor: Actor, limit: int = 50, **fields: Any) -> list[str]:
    """Every job that an actor is listed, page by page."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = world.perform(actor, ListJobs(cursor=cursor, limit=limit, **fields))
        assert len(page.items) <= limit
        found += [job.id for job in page.items]
        cursor = page.next
    return found


def test_lists_run_newest_first_over_exactly_ones_own_rows(world: World) -> None:
    colleague = world.account("colleague", world.office, "engineer")
    actors = [world.engineer, world.stranger, colleague]
    made: list[tuple[str, Actor]] = []
    for number in range(9):
        world.clock.advance(1)
        actor = actors[number % 3]
        made.append((world.submit(by=actor).id, actor))
    office = [job for job, actor in reversed(made) if actor is not world.stranger]
    mine = [job for job, actor in reversed(made) if actor is world.engineer]
    for limit in (1, 2, 4, 50):
        assert listed(world, world.engineer, limit) == office
        assert listed(world, world.engineer, limit, mine=True) == mine
        assert set(listed(world, world.stranger, limit)) == {job for job, _ in made} - set(office)
    world.perform(world.engineer, CancelJob(job=mine[0]))
    assert listed(world, colleague, state=JobState.CANCELLED) == [mine[0]]
    assert listed(world, colleague, state=JobState.CANCELLED, mine=True) == []


def cancelled(world: World, job: str) -> JobState:
    return world.perform(world.engineer, CancelJob(job=job)).state


def test_a_job_is_cancelled_in_every_state_that_is_no_end(world: World) -> None:
    waiting = world.submitted("  sites: [nowhere]\n")
    assert cancelled(world, waiting) is JobState.CANCELLED
    offered = world.submitted()
    assert cancelled(world, offered) is JobState.CANCELLED
    assert [attempt.state.value for attempt in world.show(offered).attempts] == ["cancelled"]
    steps = [Accept(), Staged(), started()]
    for length, state in enumerate((JobState.STAGING, JobState.STARTING, JobState.RUNNING), 1):
        job, order = world.offered()
        world.home.say(order, *steps[:length])
        assert cancelled(world, job) is state
        assert world.show(job).job.cancelling
        world.home.say(order, messages.Ended(reason="job.cancelled"))
        assert world.show(job).job.state is JobState.CANCELLED
    world.settle()
    closed = [record["resource"]["type"] for record in world.records(action="ledger.stream.close")]
    assert closed.count("Job") == 5
    assert world.check().findings == []


@pytest.mark.parametrize("ending", [FINISHED, FAILED, messages.Ended(reason="job.cancelled")])
def test_what_has_ended_cannot_be_cancelled(world: World, ending: messages.Ended) -> None:
    job, order = world.running()
    world.home.say(order, ending)
    before = world.show(job)
    assert code_of(lambda: cancelled(world, job)) == "compute.job.ended"
    assert world.show(job) == before


def test_every_round_looks_at_each_job_once(world: World) -> None:
    job = world.submitted()
    assert world.perform(SYSTEM, PlaceRound()) == 0
    assert world.show(job).job.attempts == 1
    with pytest.raises(NotFoundError):
        world.perform(world.administrator, PlaceRound())


def test_a_log_of_a_job_that_never_ran_is_empty(world: World) -> None:
    job = world.submitted("  sites: [nowhere]\n")
    text = world.perform(world.engineer, ReadLog(job=job, offset=5))
    assert (text.text, text.next, text.ended) == ("", 5, False)
    cancelled(world, job)
    assert world.perform(world.engineer, ReadLog(job=job)).ended


def test_a_list_with_a_sensitive_row_leaves_a_record_as_the_row_alone_would(world: World) -> None:
    plain = world.submitted()
    reader = world.engineer.ref.id
    world.perform(world.engineer, ListJobs())
    assert world.records(stream=reader, action="compute.job.list") == []
    with_level = world.submitted()

    def lift(tx: Tx) -> None:
        with tx.claimed_by(new_id("rec", START_MS)):
            tx.run("update compute_jobs set level = 2, record_id = :record_id where id = :id", id=with_level)

    world.database.write(lift)
    assert len(world.perform(world.engineer, ListJobs()).items) == 2
    (record,) = world.records(stream=reader, action="compute.job.list")
    assert (record["outcome"], record["detail"]) == ("done", {"level": 2})
    world.perform(world.engineer, ListJobs(state=JobState.CANCELLED))
    world.perform(world.stranger, ListJobs())
    assert len(world.records(action="compute.job.list")) == 1, "nothing of that level was shown"
    assert world.records(stream=plain, action="compute.job.list") == []


def test_logs_above_level_one_stay_at_the_site(world: World) -> None:
    world.dataset("corpus")
    job, order = world.running(job_file(more="data: [{from: corpus, mount: /d}]\n"))

    def lift(tx: Tx) -> None:
        with tx.claimed_by(new_id("rec", START_MS)):
            tx.run("update compute_jobs set level = 2, record_id = :record_id where id = :id", id=job)

    world.database.write(lift)
    assert code_of(lambda: world.home.log(order, 0, b"secret")) == "compute.log.stays"
    assert (
        code_of(lambda: world.home.say(order, messages.WantTicket("put", TEXT.object, 1))) == "attempt.fenced"
    )
    assert world.perform(world.engineer, ReadLog(job=job)).text == ""


BAD_COMMANDS: list[tuple[Any, dict[str, Any]]] = [
    (SubmitJob, {"file": "x" * 262_145}),
    (SubmitJob, {"file": "name: a", "team": "x"}),
    (SubmitJob, {"file": "name: a", "workdir": "x" * 65}),
    (ListJobs, {"state": "done"}),
    (ListJobs, {"limit": 0}),
    (ListJobs, {"limit": 201}),
    (ListJobs, {"cursor": "x" * 65}),
    (ReadLog, {"job": "a", "offset": -1}),
    (ReadLog, {"job": "a", "attempt": -1}),
    (SetSecret, {"name": "../a", "value": "x"}),
    (SetSecret, {"name": "a\n", "value": "x"}),
    (SetSecret, {"name": "a", "value": "x" * 65_537}),
    (AddImage, {"name": "A", "lock": LOCK}),
    (AddImage, {"name": "a", "lock": "x" * 1_000_001}),
]


@pytest.mark.parametrize(("command", "fields"), BAD_COMMANDS, ids=[str(n) for n in range(len(BAD_COMMANDS))])
def test_a_command_of_the_wrong_shape_is_none(command: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, command)


@pytest.mark.parametrize(
    "text", ["", "name: a\n\trun: x\n", "name: a\nrun: x\nenvs: {A: 0x" + "f" * 9999 + "}\n"]
)
def test_a_bad_file_changes_nothing(world: World, text: str) -> None:
    def submit() -> object:
        return world.perform(world.engineer, SubmitJob(file=text))

    assert code_of(submit).startswith("compute.file.")
    assert world.rows("select id from compute_jobs") == []
    assert world.work() == 0


def test_a_repeated_request_submits_once(world: World) -> None:
    command = SubmitJob(file=job_file())

    def submit() -> str:
        return world.perform(world.engineer, command, idempotency_key="k1").id

    assert submit() == submit()
    assert len(listed(world, world.engineer)) == 1


def unknown(call: Callable[[], Any]) -> bool:
    """Whether a call ends in `not_found`."""
    try:
        call()
    except SekishoError as error:
        return error.code == "not_found"
    return False


def test_a_job_that_is_not_there_is_not_found(world: World) -> None:
    for command in (ShowJob, ExplainJob, CancelJob, ReadLog):
        for job in ("none", "job_" + "0" * 26, "", "' or 1=1 --"):
            assert unknown(lambda command=command, job=job: world.perform(world.engineer, command(job=job)))
