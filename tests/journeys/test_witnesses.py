"""Two other organisations watch the log: their witnesses run as processes of their own, and an auditor wants both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from sekisho.app import Control, initialise, opened
from sekisho.http import serving
from sekisho.kernel import config
from sekisho.ledger import witness_states
from sekisho.server.service import application, started
from sekisho_client.client import Client
from tests.guarantor.process import Running, prepared, running
from tests.journeys.world import NOTHING, ORIGIN, House, Verdict, export, founding, settings_in, until, verify

NAMES = ("w.example/university", "w.example/institute")


class Watched(House):
    """An installation whose log two witnesses watch."""

    folder: Path
    watchers: list[Running]


def _names(folder: Path) -> dict[str, Path]:
    return {name: folder / name.replace("/", "-") for name in NAMES}


@pytest.fixture
def watched(tmp_path: Path, db_url: str) -> Iterator[Watched]:
    """Made as people make it: keys first, exchanged, then both sides' settings; then everything is started."""
    bare = settings_in(tmp_path, db_url)
    genesis = initialise(bare, founding())
    keys = json.loads((tmp_path / "data" / "trust.json").read_text())["keys"]
    with ExitStack() as stack:
        watchers = [
            stack.enter_context(running(folder, {ORIGIN: keys}, name=name))
            for name, folder in _names(tmp_path).items()
        ]
        settings = _with_witnesses(bare, watchers)
        control = stack.enter_context(opened(settings))
        stack.enter_context(started(control))
        listener = stack.enter_context(serving(application(control)))
        house = Watched(control, genesis, listener.url, stack)
        house.folder, house.watchers = tmp_path, watchers
        yield house


def _with_witnesses(settings: config.Settings, watchers: list[Running]) -> config.Settings:
    found = tuple(
        config.Witness(name=name.partition("/")[2], url=one.url, vkey=one.vkey)
        for name, one in zip(NAMES, watchers, strict=True)
    )
    log = msgspec.structs.replace(settings.ledger, witnesses=found, witness_interval_ms=50)
    return msgspec.structs.replace(settings, ledger=log)


def _ended_job(house: House) -> tuple[Client, str]:
    """A job that was cancelled, with its stream closed."""
    ours = house.organisation("Ours")
    house.site("tokyo", ours, "JP")
    client = house.account("one", ours, "engineer")
    job = str(client.call("compute.job.submit", file=NOTHING)["id"])
    until(lambda: bool(client.call("compute.job.explain", job=job)["reason"]), what="the round")
    client.call("compute.job.cancel", job=job)
    until(lambda: house.closed(job), what="the end of the stream")
    return client, job


def _trust(house: Watched, quorum: int) -> Path:
    """What the auditor was handed, with how many witnesses the auditor wants."""
    body = json.loads(house.control.folders.trust.read_text())
    file = house.folder / f"auditor-{quorum}.json"
    file.write_text(json.dumps(body | {"quorum": quorum}))
    return file


def _judge(house: Watched, client: Client, job: str, *, quorum: int) -> Verdict:
    export(client, job, house.folder / "job.zip")
    return verify(house.folder / "job.zip", _trust(house, quorum))


def _cosigned_after(control: Control, size: int) -> bool:
    states = control.database.read(lambda tx: witness_states(tx, control.witnesses))
    return all(state.size >= size for state in states)


def test_a_job_is_proven_under_a_checkpoint_that_both_witnesses_cosigned(watched: Watched) -> None:
    client, job = _ended_job(watched)
    newest = client.call("ledger.checkpoint.show")["size"]
    until(lambda: _cosigned_after(watched.control, newest), what="both cosignatures")

    verdict = _judge(watched, client, job, quorum=2)

    assert verdict.status == 0, verdict.answer
    cosigned = [
        line["fields"]["name"] for line in verdict.answer["lines"] if line["code"] == "witness.cosigned"
    ]
    assert cosigned == list(NAMES)
    assert "unwitnessed" not in verdict.answer["not_proven"]
    assert watched.check().findings == []


def test_anybody_reads_the_cosigned_checkpoint_over_http(watched: Watched) -> None:
    until(lambda: _published(watched).count("\u2014 ") == 3, what="a cosigned checkpoint")
    figures = httpx2.get(f"{watched.url}/metrics", trust_env=False).text
    assert 'sekisho_witness_answers_total{result="cosigned",witness="university"}' in figures


def _published(house: House) -> str:
    return httpx2.get(f"{house.url}/log/checkpoint", trust_env=False).text


def test_with_one_witness_stopped_the_log_goes_on_and_the_quorum_is_missed(watched: Watched) -> None:
    stopped = watched.watchers[1].process
    stopped.terminate()
    stopped.wait(20)
    client, job = _ended_job(watched)
    newest = client.call("ledger.checkpoint.show")["size"]
    until(lambda: _states(watched)["university"].size >= newest, what="the other's cosignature")

    # What closed the job may lie under a later checkpoint than the newest was, and wait for its own cosignature.
    until(lambda: _judge(watched, client, job, quorum=1).status == 0, what="one cosignature")
    refused = _judge(watched, client, job, quorum=2)

    assert refused.status == 20
    reasons = [line["fields"].get("reason") for line in refused.answer["lines"] if line["state"] == "failed"]
    assert reasons == ["demand.quorum"]
    until(lambda: _states(watched)["institute"].finding is not None, what="the finding")
    assert _states(watched)["institute"].finding.code == "ledger.witness_away"

    # It comes back on its old port with its old memory, and the same job is proven to the same auditor.
    port = int(watched.watchers[1].url.rpartition(":")[2])
    name, folder = NAMES[1], _names(watched.folder)[NAMES[1]]
    keys = json.loads(watched.control.folders.trust.read_text())["keys"]
    assert prepared(folder, {ORIGIN: keys}, name=name, port=port) == watched.watchers[1].vkey
    with running(folder, {ORIGIN: keys}, name=name, port=port):
        until(lambda: _states(watched)["institute"].size >= newest, seconds=90, what="its return")
        until(lambda: _judge(watched, client, job, quorum=2).status == 0, what="two cosignatures")


def _states(house: House) -> dict[str, Any]:
    control = house.control
    return {
        state.name: state for state in control.database.read(lambda tx: witness_states(tx, control.witnesses))
    }
