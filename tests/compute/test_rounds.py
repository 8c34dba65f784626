"""Rounds of placement through the gate: where jobs go, why they wait, and what evidence that leaves."""

from __future__ import annotations

import pytest

from sekisho import identity
from sekisho.compute import (
    CancelJob,
    ExplainJob,
    JobState,
    rounds,
)
from sekisho.kernel.facts import Actor, Ref
from sekisho.sites import DrainSite
from sekisho_verify.canonical import digest
from tests.compute.world import World, job_file

LOCK = "numpy==2.3.4 \\\n    --hash=sha256:" + "0" * 64 + "\n"
SILENCE_MS = 90_000


def test_a_job_goes_where_the_charter_lets_it_though_elsewhere_is_cheaper(world: World) -> None:
    job = world.submitted()
    shown = world.show(job)
    assert (shown.job.site_name, shown.job.state, shown.job.attempts) == ("ishikari", JobState.STAGING, 1)
    found = {choice.name: (choice.country, choice.decision, choice.chosen) for choice in shown.sites}
    assert found == {"ishikari": ("JP", "allow", True), "us-west": ("US", "deny", False)}
    refused = next(choice for choice in shown.sites if choice.name == "us-west")
    assert refused.rules == ["C01-residency"]
    assert "us-west" in refused.why
    assert "us-west" in refused.why_ja
    assert not refused.why_ja.isascii()


def test_without_a_wish_the_cheapest_site_wins(world: World) -> None:
    job = world.submit("name: a\nrun: x\n").id
    world.work()
    assert world.show(job).job.site_name == "us-west"


def test_evidence_of_a_placement_names_every_site_that_was_looked_at(world: World) -> None:
    job = world.submitted()
    submit, place = world.records(stream=job)
    text = job_file()
    assert submit["detail"]["files"] == {"job.yaml": digest(text.encode())}
    assert submit["resource"] == {"type": "Job", "id": job}
    assert submit["detail"]["label"] == {"level": 0, "labels": [], "residency": ["JP"]}
    assert (place["action"], place["actor"], place["decision"]) == ("compute.job.place", "system", "allow")
    sites = {site["name"]: (site["decision"], site["chosen"]) for site in place["detail"]["sites"]}
    assert sites == {"ishikari": ("allow", True), "us-west": ("deny", False)}
    assert place["detail"]["stand_in"] is True
    assert place["detail"]["country"] == {"value": "JP", "grade": "D"}
    assert world.rows("select digest from ledger_files where digest = :digest", digest=digest(text.encode()))
    assert world.check().findings == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("  sites: [us-west]\n", "CharterForbids"),
        ("  sites: [nowhere]\n", "CharterForbids"),
        ("", "NoSuchShape"),
        ("budget: {max_yen: 1}\n", "BudgetOrDeadline"),
        ("deadline: 2020-01-01T00:00:00Z\n", "BudgetOrDeadline"),
    ],
    ids=["other-site", "no-site", "shape", "budget", "deadline"],
)
def test_a_job_that_cannot_be_placed_says_why(world: World, more: str, expected: str) -> None:
    text = job_file(more=more)
    if expected == "NoSuchShape":
        text = text.replace("cpus: 1", "cpus: 64")
    job = world.submit(text).id
    world.work()
    assert world.reason(job) == ("waiting", expected)
    explained = world.perform(world.engineer, ExplainJob(job=job))
    assert (explained.reason, explained.job.id) == (expected, job)
    assert explained.sentence.isascii()
    assert explained.sentence_ja.endswith("。")
    assert {choice.name for choice in explained.sites} == {"ishikari", "us-west"}
    kept = world.records(stream=job, action="compute.round.place")
    assert [record["detail"]["reason"] for record in kept] == [expected]
    world.clock.advance(60_000)
    world.hear()
    assert len(world.records(stream=job, action="compute.round.place")) == 1, "nothing new, no new record"


def test_a_drained_or_silent_site_takes_nothing_new(world: World) -> None:
    keeper = world.account("keeper", world.home.site.operator, "site_operator")
    world.perform(keeper, DrainSite(site="ishikari"))
    job = world.submitted()
    assert world.reason(job) == ("waiting", "SiteUnavailable")
    assert world.perform(world.engineer, CancelJob(job=job)).state is JobState.CANCELLED
    world.clock.advance(SILENCE_MS + 1)
    quiet = world.submit("name: b\nrun: x\n").id
    world.work()
    assert world.reason(quiet) == ("waiting", "SiteUnavailable")


def test_a_waiting_job_is_placed_once_its_site_answers_again(world: World) -> None:
    world.clock.advance(SILENCE_MS + 1)
    job = world.submitted()
    assert world.reason(job) == ("waiting", "SiteUnavailable")
    world.home.poll()
    world.clock.advance(rounds.RETRY_ROUND_MS)
    world.work()
    assert world.reason(job) == ("staging", "")


def test_a_full_site_makes_the_next_job_wait_its_turn(world: World) -> None:
    texts = [job_file(name).replace("cpus: 1", "cpus: 3") for name in ("a", "b", "c")]
    jobs = []
    for text in texts:
        world.clock.advance(1)
        jobs.append(world.submit(text).id)
    world.work()
    assert [world.reason(job)[1] for job in jobs] == ["", "WaitingCapacity", "WaitingCapacity"]
    world.perform(world.engineer, CancelJob(job=jobs[0]))
    world.work()
    assert [world.reason(job)[0] for job in jobs] == ["cancelled", "staging", "waiting"]


def test_jobs_that_nobody_can_place_do_not_hide_those_behind_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "ROUND_MAX", 3)
    for _ in range(7):
        world.clock.advance(1)
        world.submit(job_file(residency="[FR]"))
    world.clock.advance(1)
    last = world.submit().id
    world.work()
    assert world.reason(last) == ("staging", "")


def test_a_submitter_who_is_gone_is_placed_nowhere(world: World) -> None:
    person = world.perform(
        world.administrator,
        identity.CreatePerson(organisation=world.office, display_name="Gone", residence="JP"),
    ).id
    world.perform(world.administrator, identity.GrantRole(account=person, role="engineer"))
    job = world.submit(by=Actor(Ref("User", person))).id
    world.perform(world.administrator, identity.DisablePerson(person=person))
    world.work()
    assert world.reason(job) == ("waiting", "CharterForbids")
