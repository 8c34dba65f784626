"""The door: a job that does nothing is submitted, decided, recorded, exported, and verified by somebody else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from sekisho_client.client import Client
from sekisho_client.refusals import ProblemError
from sekisho_verify import parse_trust, verify_bundle
from tests.journeys.world import NOTHING, House, export, house, until, verify

AT_HOME = NOTHING + "charter: {residency: [JP]}\n"


class Tenants(NamedTuple):
    """Two laboratories that share an installation, and their organisations' ids."""

    ours: Client
    theirs: Client
    our_id: str
    their_id: str


@pytest.fixture
def served(tmp_path: Path, db_url: str) -> Iterator[House]:
    with house(tmp_path, db_url) as opened:
        yield opened


@pytest.fixture
def tenants(served: House) -> Tenants:
    ours, theirs = served.organisation("Ours"), served.organisation("Theirs")
    overseas = served.organisation("Overseas", "US", foreign_pct=100)
    served.site("tokyo", ours, "JP")
    served.site("far-west", overseas, "US")
    return Tenants(
        served.account("one", ours, "engineer"), served.account("two", theirs, "engineer"), ours, theirs
    )


def _submit(client: Client, file: str = AT_HOME) -> str:
    """Submit, and wait until a placement round has judged it."""
    job = str(client.call("compute.job.submit", file=file)["id"])
    until(lambda: bool(client.call("compute.job.explain", job=job)["reason"]), what="the round")
    return job


def _end(house: House, client: Client, job: str) -> None:
    """Cancel, and wait until the stream is closed."""
    assert client.call("compute.job.cancel", job=job)["state"] == "cancelled"
    until(lambda: house.closed(job), what="the end of the stream")


def test_a_job_that_does_nothing_is_proven_to_somebody_else(
    served: House, tenants: Tenants, tmp_path: Path
) -> None:
    # The auditor got the trust file before any job existed, by another way than the bundle.
    trust = Path(shutil.copy(served.control.folders.trust, tmp_path / "handed-over.json"))
    job = _submit(tenants.ours)
    sites = {site["name"]: site for site in tenants.ours.call("compute.job.explain", job=job)["sites"]}
    assert sites["tokyo"]["decision"] == "allow"
    assert (sites["far-west"]["decision"], sites["far-west"]["rules"]) == ("deny", ["C01-residency"])
    _end(served, tenants.ours, job)
    bundle = tmp_path / "job.zip"
    export(tenants.ours, job, bundle)

    verdict = verify(bundle, trust)

    assert verdict.status == 0, verdict.answer
    told = {line["code"]: line["fields"] for line in verdict.answer["lines"]}
    assert told["completeness.closed"]["count"] == verdict.answer["records"]
    assert told["site.denied"]["name"] == "far-west"
    assert verdict.answer["subject"] == {"type": "Job", "id": job}
    assert served.check().findings == []


def test_before_its_stream_ends_a_bundle_says_that_more_may_come(
    served: House, tenants: Tenants, tmp_path: Path
) -> None:
    job = _submit(tenants.ours)
    export(tenants.ours, job, tmp_path / "open.zip")
    verdict = verify(tmp_path / "open.zip", served.control.folders.trust)
    assert verdict.status == 0
    assert "completeness.open" in {line["code"] for line in verdict.answer["lines"]}


def test_another_organisations_job_looks_as_if_it_did_not_exist(tenants: Tenants) -> None:
    job = _submit(tenants.ours)
    for command in (
        "compute.job.show",
        "compute.job.explain",
        "compute.job.cancel",
        "compute.log.read",
        "ledger.bundle.export",
    ):
        answers: list[ProblemError] = []
        for asked in (job, "job_" + "0" * 26):
            with pytest.raises(ProblemError) as refused:
                tenants.theirs.call(command, job=asked)
            answers.append(refused.value)
        assert [(one.details["status"], one.code) for one in answers] == [(404, "not_found")] * 2, command
        assert tenants.our_id not in str(answers[0].details)


def test_a_list_holds_ones_own_jobs_alone(tenants: Tenants) -> None:
    ours = {_submit(tenants.ours), _submit(tenants.ours)}
    theirs = {_submit(tenants.theirs)}
    assert {job["id"] for job in tenants.ours.pages("compute.job.list")} == ours
    assert {job["id"] for job in tenants.theirs.pages("compute.job.list")} == theirs


def test_a_bundle_never_holds_another_tenants_record(served: House, tenants: Tenants, tmp_path: Path) -> None:
    """Not even of what the other tenant tried: a bundle is stored uncompressed, so every byte of it is searched."""
    job, other = _submit(tenants.ours), _submit(tenants.theirs)
    for command in ("compute.job.cancel", "ledger.bundle.export"):
        with pytest.raises(ProblemError):
            tenants.theirs.call(command, job=job)
    strangers = [tenants.theirs.call("identity.me")["account"], tenants.their_id, other]
    _end(served, tenants.ours, job)
    _end(served, tenants.theirs, other)

    content = export(tenants.ours, job, tmp_path / "ours.zip")

    verdict = verify_bundle(content, parse_trust(served.control.folders.trust.read_bytes()))
    assert verdict.holds
    assert verdict.bundle is not None
    mine = tenants.ours.call("identity.me")["account"]
    assert {record.actor for record in verdict.bundle.records} == {mine, "system"}
    assert [stranger for stranger in strangers if stranger.encode() in content] == []


def test_a_bundle_is_refused_under_another_installations_trust_file(
    served: House, tenants: Tenants, tmp_path: Path
) -> None:
    job = _submit(tenants.ours)
    _end(served, tenants.ours, job)
    export(tenants.ours, job, tmp_path / "job.zip")
    with house(tmp_path / "elsewhere", "", origin=served.control.settings.ledger.origin) as other:
        verdict = verify(tmp_path / "job.zip", other.control.folders.trust)
    assert verdict.status == 12
    strange = msgspec.json.decode(served.control.folders.trust.read_bytes()) | {
        "origin": "example.invalid/not"
    }
    (tmp_path / "strange.json").write_bytes(msgspec.json.encode(strange))
    assert verify(tmp_path / "job.zip", tmp_path / "strange.json").status != 0


def test_the_same_request_again_is_one_job(tenants: Tenants) -> None:
    answers = [
        tenants.ours.call("compute.job.submit", idempotency_key="once", file=AT_HOME)["id"] for _ in range(3)
    ]
    assert len(set(answers)) == 1
    assert len(list(tenants.ours.pages("compute.job.list"))) == 1
    with pytest.raises(ProblemError) as refused:
        tenants.ours.call("compute.job.submit", idempotency_key="once", file=AT_HOME + "team: other\n")
    assert refused.value.code == "idempotency.mismatch"


def test_the_published_log_is_the_log(served: House, tenants: Tenants) -> None:
    """What lies in the open folder is what the API signs, and nothing of a record's content is in it."""
    job = _submit(tenants.ours)
    served.check()
    published = served.control.publisher.published()
    newest = tenants.ours.call("ledger.checkpoint.show")
    assert published is not None
    assert published.size <= newest["size"]
    files = [path for path in served.control.folders.published.rglob("*") if path.is_file()]
    assert any("tile" in path.parts for path in files)
    assert [path for path in files if job.encode() in path.read_bytes()] == []
