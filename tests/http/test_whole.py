"""Every real operation, asked in many ways against a whole installation: no input makes the server fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

from sekisho.http.routes import ROUTES
from sekisho_client import cli
from sekisho_client.commands import catalogue
from tests.journeys.world import NOTHING, House, house
from tests.support import custody, databases
from tests.support.custodians import custodian_of

load_all_checks()
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def whole(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An installation with an organisation, a site and a job in it."""
    folder = tmp_path_factory.mktemp("whole")
    with house(folder, databases.sqlite_copy(sqlite_template, folder)) as opened:
        organisation = opened.organisation("Laboratory")
        opened.site("tokyo", organisation, "JP")
        overseas = opened.organisation("Overseas", "US", foreign_pct=100)
        opened.site("far-west", overseas, "US")
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_no_input_makes_the_server_fail(whole: House, mode: schemathesis.GenerationMode) -> None:
    api = schemathesis.openapi.from_dict(httpx2.get(f"{whole.url}/openapi.json", trust_env=False).json())
    api.config.update(base_url=whole.url)
    token = whole.genesis.administrators[0].token
    operations = [found.ok() for found in api.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == len(ROUTES)
    for operation in operations:

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:
            assert mode is schemathesis.GenerationMode.NEGATIVE
    assert whole.check().findings == []


def test_a_stranger_gets_into_nothing_that_is_not_public(whole: House) -> None:
    public = {"ledger.checkpoint.show", "ledger.trust.show", "ledger.tree.root"}
    with httpx2.Client(base_url=whole.url, trust_env=False) as stranger:
        for route in ROUTES:
            path = route.path
            for name in route.placeholders:
                path = path.replace("{" + name + "}", "1")
            answer = stranger.request(route.method, path)
            if route.spec.name in public:
                assert answer.status_code == 200, route.path
            else:
                assert (answer.status_code, answer.json()["code"]) == (401, "auth.required"), route.path


@pytest.fixture
def administrator(
    whole: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The real command line in the first administrator's name, signed in by `login`."""
    for name in ("SEKISHO_URL", "SEKISHO_TOKEN", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEKISHO_LANG", "en")
    monkeypatch.setenv("SEKISHO_CONFIG", str(tmp_path / "config.json"))
    catalogue.cache_clear()

    def ran(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(words)
        captured = capsys.readouterr()
        out = "".join(
            line for line in captured.out.splitlines(keepends=True) if "request_id=req_" not in line
        )
        return status, out, captured.err

    token = tmp_path / "token"
    token.write_text(whole.genesis.administrators[0].token)
    assert ran("login", "--url", whole.url, "--token-file", str(token))[0] == 0
    return ran


def test_every_list_of_the_command_line_is_answered(
    administrator: Callable[..., tuple[int, str, str]],
) -> None:
    for noun in catalogue().nouns:
        listing = catalogue().by_words.get((noun, "list"))
        if listing is None or any(field.required for field in listing.fields):
            continue
        status, out, err = administrator(noun)
        if noun == "record":
            assert (status, "[not_found]" in err) == (5, True), "evidence is for auditors"
            continue
        assert (status, err) == (0, ""), noun
        assert len(out.splitlines()[0].split("\t")) == len(listing.columns or ("name", "value", "source")), (
            noun
        )


def test_status_names_the_account(administrator: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = administrator("status")
    assert status == 0
    assert "Signed in as First" in out


def test_why_says_what_the_charter_said_of_every_site(
    whole: House, administrator: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    organisation = whole.organisation("University")
    token = whole.token("engineer", organisation, "engineer")
    monkeypatch.setenv("SEKISHO_TOKEN", token)
    job = whole.client(token).call("compute.job.submit", file=NOTHING + "charter: {residency: [JP]}\n")["id"]
    status, out, err = administrator("why", job)
    assert (status, err) == (0, "")
    heading, *rows = [line.split("\t") for line in out.splitlines()[1:]]
    assert heading == ["name", "country", "decision", "rules", "why"]
    found = {row[0]: row for row in rows}
    assert found["tokyo"][2] == "allow"
    assert found["far-west"][2] == "deny"
    assert "C01" in found["far-west"][3]
    assert "JP only" in found["far-west"][4]
    assert "所在地条件はJPのみです" in administrator("why", job, "--lang", "ja")[1]


def test_open_prints_an_address_that_works_once(
    whole: House, administrator: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, _ = administrator("open")
    assert status == 0
    address = out.strip()
    assert address.startswith(f"{whole.url}/signin/")
    with httpx2.Client(trust_env=False) as browser:
        assert browser.get(address).status_code == 200


def test_a_job_from_the_command_line(
    whole: House,
    administrator: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No agent serves the site here, so the job waits: planned, submitted, not awaited, cancelled."""
    organisation = whole.organisation("Institute")
    monkeypatch.setenv("SEKISHO_TOKEN", whole.token("researcher", organisation, "engineer"))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    words = ("data", "add", "corpus", str(tmp_path / "texts"), "--level", "1", "--residency", "JP", "--json")
    status, _, complaint = administrator(*words)
    assert (status, "data.key_needed" in complaint) == (2, True)
    for changes, where, code, word in (
        ({"owner": whole.genesis.organisation}, "https://keys.example.invalid", "data.key_owner", "組織"),
        ({"owner": organisation}, "https://169.254.169.254", "data.key_address", "拠点"),
        (
            {"owner": organisation, "key": "other"},
            "https://keys.example.invalid",
            "data.key_evidence",
            "証拠",
        ),
    ):
        (tmp_path / "said").write_text(custody.facts(**changes))
        key = ("--address", where, "--public-key", custody.PUBLIC, "--statement", str(tmp_path / "said"))
        for language, found in (("en", False), ("ja", True)):
            status, _, complaint = administrator("key", "register", "hospital", *key, "--lang", language)
            assert (status != 0, code in complaint, word in complaint) == (True, True, found), complaint
    with custodian_of(whole, tmp_path / "custodian", organisation) as custodian:
        facts = tmp_path / "facts"
        facts.write_bytes(custodian.facts)
        key = ("--address", custodian.url, "--public-key", custodian.public_key, "--statement", str(facts))
        status, out, complaint = administrator("key", "register", "hospital", *key, "--json")
        assert status == 0, complaint
        assert json.loads(out)["stand_in"] is True
        sealed = (*words, "--key", "hospital", "--token-file", str(custodian.token_file))
        status, _, complaint = administrator(*sealed)
        assert (status, "key.unpinned" in complaint) == (2, True), "no token goes where only the server says"
        assert administrator("config", "set", "custodian", custodian.url)[0] == 0
        status, _, complaint = administrator(*sealed)
        assert status == 0, complaint
        assert "hospital" in complaint
    shown = json.loads(administrator("data", "show", "corpus", "--json")[1])
    assert (shown["state"], shown["key"], shown["files"]) == ("ready", json.loads(out)["id"], 1)
    file = tmp_path / "job.yaml"
    file.write_text(NOTHING)
    assert "tokyo" in administrator("plan", str(file))[1]
    assert administrator("run", str(tmp_path / "jbo.yaml"))[0] == 2
    status, out, _ = administrator("run", str(file), "--detach", "--json")
    job = json.loads(out)["id"]
    assert administrator("run", str(file), "--timeout", "1")[0] == 8
    assert administrator("logs", job)[0] == 0
    assert json.loads(administrator("cancel", job, "--json")[1])["state"] == "cancelled"
    assert administrator("cancel", job)[0] == 6
    target = tmp_path / "job.bundle.zip"
    assert administrator("evidence", "export", job, "--to", str(target))[0] == 0
    assert target.read_bytes().startswith(b"PK")
