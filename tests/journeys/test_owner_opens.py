"""From a sealed job to plaintext in its owner's folder: real gate, custodian and command line, sealed by an agent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sekisho.http import serving
from sekisho.identity import CreateServiceToken
from sekisho.server.service import application
from sekisho_agent.folders import Collected
from sekisho_agent.sealed_trees import seal_tree
from sekisho_client import cli, settings
from sekisho_client.client import connect
from sekisho_client.commands import catalogue
from sekisho_wire import messages
from sekisho_wire.packing import SEALED_NAME
from tests.agent.ward import TEXT, Ward, ward_in
from tests.compute.world import started
from tests.examples import programs
from tests.guarantor.custodian_process import manage
from tests.support import databases
from tests.support.custodians import KEY

LOG = b"step 1\nstep 2\n"
TRY = {
    "result.json": b'{"index":0,"held_out_reward":0.5,"held_out_success":0.9,"untrained_reward":0.1,'
    b'"untrained_success":0.0,"tolerance_mm":1.0}',
    "curve.json": b'{"index":0,"points":[{"reaches":64,"reward":0.5}]}',
}
collect = programs.load("collect", programs.ARM)


class Ended(NamedTuple):
    """A job that left a sealed output and a sealed log behind."""

    ward: Ward
    job: str
    artefacts: dict[str, str]
    run: Callable[..., tuple[int, str, str]]


def left_behind(ward: Ward, name: str, files: dict[str, bytes]) -> Collected:
    """As an agent seals it, and sent to the control plane's store."""
    source = ward.folder / f"left-{name}"
    for path, content in files.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    found = seal_tree(
        ward.store, source, ward.folder / "scratch", keys=ward.line.keys(), size_bytes_max=1 << 20
    )
    digests = (found.digest, *(file.digest for file in found.files))
    ward.world.put((b"".join(ward.store.stream(digest)) for digest in digests), into=ward.line.order.attempt)
    return found


@pytest.fixture
def ended(
    tmp_path: Path,
    sqlite_template: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Ended]:
    db_url = databases.sqlite_copy(sqlite_template, tmp_path)
    with ward_in(tmp_path, db_url) as ward, serving(application(ward.world.control)) as listener:
        world, order = ward.world, ward.line.order
        world.home.say(order, messages.Staged(), started())
        output, log = left_behind(ward, "model", TEXT), left_behind(ward, "log", {"log.txt": LOG})
        assert output.envelope != log.envelope
        tried = left_behind(ward, "policy", TRY)
        reports = [
            messages.OutputReport(
                name=name, object=tree.digest, size_bytes=tree.size_bytes, envelope=tree.envelope
            )
            for name, tree in (("model", output), ("policy", tried))
        ]
        said = messages.LogReport(bytes=log.size_bytes, dropped=0, digest=log.digest, envelope=log.envelope)
        world.home.say(order, messages.Ended(reason="finished", exit_status=0, outputs=reports, log=said))
        label = CreateServiceToken(service=world.engineer.ref.id, label="journey")
        for name, value in {
            "SEKISHO_URL": listener.url,
            "SEKISHO_TOKEN": world.perform(world.administrator, label).secret,
            "SEKISHO_LANG": "en",
            "SEKISHO_CONFIG": str(tmp_path / "config.json"),
            "SEKISHO_CUSTODIAN_TOKEN": ward.keeper.token_file.read_text(),
            "SEKISHO_CUSTODIAN_URL": ward.keeper.url,
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        catalogue.cache_clear()

        def run(*words: str) -> tuple[int, str, str]:
            capsys.readouterr()
            status = cli.main(words)
            captured = capsys.readouterr()
            lines = captured.out.splitlines(keepends=True)
            return status, "".join(line for line in lines if "request_id=req_" not in line), captured.err

        items = json.loads(run("artefact", "list", "--json")[1])["items"]
        found = {"output" if item["name"] == "model" else item["name"]: item["id"] for item in items}
        yield Ended(ward, items[0]["job"], found, run)


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_owner_opens_what_a_job_left_and_is_told_where_its_log_lies(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = ("artefact", "fetch", ended.artefacts["output"], "--to", "model-here", "--json")
    monkeypatch.delenv("SEKISHO_CUSTODIAN_URL")
    status, out, err = ended.run(*fetch)
    assert (status, "key.unpinned" in err, ended.ward.keeper.url in err) == (2, True, True), err
    assert ended.run("config", "set", "custodian", ended.ward.keeper.url)[0] == 0
    status, out, err = ended.run(*fetch)
    assert (status, "development" in err) == (0, True), err
    answer = json.loads(out)
    assert answer == {"folder": "model-here", "size_bytes": sum(map(len, TEXT.values())), "key": KEY}
    assert read(Path("model-here")) == TEXT

    command = f"sekisho artefact fetch {ended.artefacts['log']} --to log"
    status, out, err = ended.run("logs", ended.job)
    assert (status, out, err.count("\n"), command in err) == (0, "", 1, True)
    assert "封印" in ended.run("logs", ended.job, "--lang", "ja")[2]
    assert "art_" not in ended.run("logs", ended.job, "--attempt", "7")[2]
    status, _, err = ended.run(*command.split()[1:])
    assert status == 0, err
    assert read(Path("log")) == {"log.txt": LOG}

    records = ended.ward.world.records(action="data.artefact.fetch")
    assert [record["outcome"] for record in records] == ["done"] * 3


def test_what_cannot_be_opened_leaves_nothing_and_says_why(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = ("artefact", "fetch", ended.artefacts["output"], "--to", "here")
    assert ended.run(*fetch, "--sealed")[0] == 0
    assert Path("here", SEALED_NAME).read_bytes().startswith(b"sekienv2")
    assert "input.exists" in ended.run(*fetch)[2]
    Path("here", SEALED_NAME).unlink()
    Path("here").rmdir()
    assert manage(ended.ward.keeper.config, "stop", KEY) == 0
    status, _, err = ended.run(*fetch)
    assert (status, "custody.key_stopped" in err, "[key.custodian]" in err) == (7, True, True)
    monkeypatch.delenv("SEKISHO_CUSTODIAN_TOKEN")
    status, _, err = ended.run(*fetch, "--lang", "ja")
    assert (status, "[key.no_token]" in err, "復号" in err) == (2, True, True)
    assert not [name for name in Path().iterdir() if "here" in name.name]


def test_the_arms_collector_reads_what_is_sealed_under_its_owners_key(
    ended: Ended, capsys: pytest.CaptureFixture[str]
) -> None:
    """One member of an array whose data was of level 1: its figures come out, not the ciphertext."""
    chosen = settings.load(os.environ)
    member = {"id": ended.job, "index": 0, "site_name": "ishikari"}
    with connect(chosen) as client:
        found = collect.fetch_try(client, member, Path("tries") / "0", chosen=chosen)
    assert (found.artefact, found.curve.reward, found.common["tolerance_mm"]) == (
        ended.artefacts["policy"],
        0.5,
        1.0,
    )
    assert read(Path("tries/0")) == TRY
    assert "development" in capsys.readouterr().err, "the custodian is a stand-in"
