"""Evidence in the console: a bundle that others can verify, a verdict with an address, records, the ledger."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sekisho.console import Limits, verdicts
from sekisho.kernel.command import Command
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Actor
from sekisho.ledger import BundleFile, ReadBundle
from sekisho_verify import Exit, parse_trust, verify_bundle
from sekisho_verify.sentences import FAILURES, PARTS, SENTENCES
from sekisho_verify.text import render
from sekisho_wire import problems
from sekisho_wire.problems import Language
from tests.console.looking import text_of
from tests.console.world import Visitor, World, served

VERDICT = re.compile(r"/jobs/job_[0-9a-z]{26}/evidence/rec_[0-9a-z]{26}")


def _verdict(visitor: Visitor, here: World, name: str = "llm-small") -> str:
    answer = visitor.post(f"/jobs/{here.jobs[name]}/verify", page="/jobs")
    assert answer.status_code == 303
    assert VERDICT.fullmatch(answer.headers["location"])
    return answer.headers["location"]


@pytest.mark.parametrize("language", ["en", "ja"])
def test_verify_shows_every_line_of_the_verifier_s_own_verdict(
    here: World, engineer: Visitor, language: str
) -> None:
    address = _verdict(engineer, here)
    page = engineer.get(f"{address}?lang={language}")
    bundle = engineer.get(f"{address}/bundle.zip").content
    trust = parse_trust(here.control.folders.trust.read_bytes())
    verdict = verify_bundle(bundle, trust)
    assert page.status_code == 200
    assert verdict.exit_code is Exit.HOLDS
    shown = text_of(page)
    for row in verdicts.lines(verdict, Language(language)):
        assert row.part in shown
        assert row.text.replace('"', "&#34;").replace("'", "&#39;") in shown
    assert ("Holds", "確認できました")[language == "ja"] in shown
    assert "sekisho-verify" in shown


def test_the_rows_say_what_the_command_line_says(here: World, engineer: Visitor) -> None:
    bundle = engineer.get(_verdict(engineer, here) + "/bundle.zip").content
    trust = parse_trust(here.control.folders.trust.read_bytes())
    flipped = bytearray(bundle)
    flipped[len(flipped) // 2] ^= 1
    for data in (bundle, bytes(flipped)):
        for known in (trust, None):
            verdict = verify_bundle(data, known)
            for language in Language:
                printed = render(verdict, language.value)
                for row in verdicts.lines(verdict, language):
                    assert row.text in printed
                for sentence in verdicts.unproven(verdict, language):
                    assert sentence in printed
                assert verdicts.summary(verdict, language) in printed


def test_every_kind_of_line_can_be_shown() -> None:
    assert PARTS
    assert set(FAILURES) == {code for code in Exit if code not in {Exit.HOLDS, Exit.USAGE, Exit.UNTRUSTED}}
    assert all(len(pair) == 2 for pair in SENTENCES.values())


def test_export_hands_the_bundle_out(here: World, engineer: Visitor, tmp_path: Path) -> None:
    answer = engineer.post(f"/jobs/{here.jobs['llm-small']}/export", page="/jobs")
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("/bundle.zip")
    file = engineer.get(answer.headers["location"])
    assert file.headers["content-type"] == "application/zip"
    name = re.fullmatch(
        r'attachment; filename="(job_[0-9a-z]{26}\.bundle\.zip)"', file.headers["content-disposition"]
    )
    assert name
    (tmp_path / name[1]).write_bytes(file.content)
    trust = parse_trust(here.control.folders.trust.read_bytes())
    assert verify_bundle(file.content, trust).holds


def test_a_job_that_goes_on_has_an_open_verdict(here: World, engineer: Visitor) -> None:
    shown = text_of(engineer.get(_verdict(engineer, here, "llm-running") + "?lang=en"))
    assert "open, later records possible" in shown


def test_the_verdict_is_for_programs_too(here: World, engineer: Visitor) -> None:
    found = engineer.get(f"{_verdict(engineer, here)}.json").json()
    assert found["verdict"]["verdict"] == "holds"
    assert found["covered"] is True


def test_an_export_is_not_for_strangers(here: World, engineer: Visitor, stranger: Visitor) -> None:
    address = _verdict(engineer, here)
    for path in (address, f"{address}.json", f"{address}/bundle.zip"):
        assert stranger.get(path).status_code == 404


class Uncovered:
    """A gate whose log has no checkpoint over any export yet."""

    def __init__(self, here: World) -> None:
        self._here = here

    def perform(self, actor: Actor, command: Command[Any], *, idempotency_key: str = "") -> Any:
        if isinstance(command, ReadBundle):
            raise SekishoError(problems.lookup("ledger.not_covered"), seconds=1)
        return self._here.gate.perform(actor, command, idempotency_key=idempotency_key)


def test_before_the_checkpoint_the_page_says_so(here: World) -> None:
    with served(here.control, gate=Uncovered(here), limits=Limits(cover_seconds=0)) as url:
        visitor = Visitor(url).enter(here.link(here.people.engineer))
        job = here.jobs["llm-small"]
        address = visitor.post(f"/jobs/{job}/export", page="/jobs").headers["location"]
        assert VERDICT.fullmatch(address)
        page = visitor.get(f"{address}?lang=en")
        assert page.status_code == 200
        assert "Not under a checkpoint yet" in text_of(page)
        assert "Look again" in text_of(page)
        assert visitor.get(f"{address}/bundle.zip").status_code == 503


class Forged:
    """A gate that hands out a changed bundle."""

    def __init__(self, here: World) -> None:
        self._here = here

    def perform(self, actor: Actor, command: Command[Any], *, idempotency_key: str = "") -> Any:
        found = self._here.gate.perform(actor, command, idempotency_key=idempotency_key)
        if isinstance(found, BundleFile):
            changed = bytearray(found.content)
            changed[len(changed) // 2] ^= 1
            return BundleFile(found.name, bytes(changed))
        return found


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_changed_bundle_does_not_hold(here: World, language: str) -> None:
    with served(here.control, gate=Forged(here)) as url:
        visitor = Visitor(url).enter(here.link(here.people.engineer))
        shown = text_of(visitor.get(f"{_verdict(visitor, here)}?lang={language}"))
        assert ("Does not hold", "確認できません")[language == "ja"] in shown
        assert ("Fails", "不一致")[language == "ja"] in shown


def test_records_of_a_job_open_from_its_page(here: World, administrator: Visitor) -> None:
    page = administrator.get(f"/jobs/{here.jobs['llm-small']}").text
    records = set(re.findall(r'href="/ledger/(rec_[0-9a-z]{26})"', page))
    assert len(records) >= 5
    for record in records:
        shown = administrator.get(f"/ledger/{record}?lang=en")
        assert shown.status_code == 200
        assert "Under a checkpoint" in shown.text
        assert "Inclusion proof" in shown.text
    found = administrator.get(f"/ledger/{min(records)}.json").json()
    assert msgspec.json.decode(found["body"])["id"] == min(records)


def test_the_ledger_lists_records_for_auditors_only(
    here: World, auditor: Visitor, engineer: Visitor, nobody: Visitor
) -> None:
    pages = [auditor.get("/ledger").text]
    while following := re.search(r'href="(/ledger\?after=\d+)"', pages[-1]):
        pages.append(auditor.get(following[1]).text)
    listed = [
        record
        for page in pages
        for record in re.findall(r'<th scope="row"><a class="digest" href="/ledger/(rec_\w+)', page)
    ]
    assert len(pages) > 1
    assert len(listed) == len(set(listed))
    assert here.detail("llm-small").job.record_id in listed
    assert "compute.job.submit" in "".join(pages)
    refused = text_of(engineer.get("/ledger?lang=en"))
    assert "Lists of records are for auditors." in refused
    assert "compute.job.submit" not in refused
    public = nobody.get("/ledger").text
    assert here.control.settings.ledger.origin in public
    assert "compute.job.submit" not in public


def test_a_record_is_found_by_its_id(here: World, auditor: Visitor) -> None:
    record = here.detail("llm-small").job.record_id
    assert auditor.get(f"/ledger/find?record={record}").headers["location"] == f"/ledger/{record}"
    assert auditor.get("/ledger/find?record=rec_x").status_code == 404


def test_the_charter_shows_every_rule_in_words(auditor: Visitor) -> None:
    from sekisho.charter import default_policies

    ids = re.findall(r'@id\("([^"]+)"\)', default_policies())
    for language in ("en", "ja"):
        page = auditor.get(f"/charter?lang={language}").text
        assert re.findall(r'<tr id="([^"]+)">', page) == ids
        assert ("Nobody wrote", "書かれていません")[language == "ja"] not in page


def test_the_verify_page_names_every_exit_code(nobody: Visitor) -> None:
    page = nobody.get("/verify").text
    for code in Exit:
        assert f'<th scope="row" class="num">{int(code)}</th>' in page
