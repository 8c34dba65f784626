"""Pages without a browser: what they show, and who sees what."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest

from sekisho.console.door import HEADERS
from sekisho.console.routes import ROWS
from sekisho.identity import GrantAdministrator, ShowPerson
from sekisho.kernel.facts import Actor, Ref
from sekisho.kernel.proposals import ListProposals
from tests.console.looking import ELSEWHERE, SIGNED_OUT, addresses, text_of
from tests.console.world import HOSTILE, Visitor, World, job_file


def test_every_page_is_looked_at(here: World) -> None:
    shown = {row.path for row in ROWS if row.method == "GET"}
    assert shown - set(addresses(here)) - set(ELSEWHERE) == set()


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_page_answers_in_both_languages(here: World, administrator: Visitor, language: str) -> None:
    for row, address in addresses(here).items():
        pinned = f"{address}{'&' if '?' in address else '?'}lang={language}"
        response = administrator.get(pinned)
        if row == "/signin":
            assert response.status_code == 303
            continue
        assert response.status_code == 200, address
        assert f'<html lang="{language}"' in response.text
        assert response.text.count("<h1") == 1
        for name, value in HEADERS.items():
            assert response.headers[name] == value
        assert "style=" not in response.text
        assert re.findall(r"<script(?! src=\"/static/)", response.text) == []
        assert re.findall(r"""(?:href|src|action)=["'](?!/|#)""", response.text) == []


def test_a_page_names_its_json_and_its_command(here: World, administrator: Visitor) -> None:
    twins = {row.path for row in ROWS if row.as_json and row.method == "GET"} - set(ELSEWHERE)
    for row in twins:
        page = administrator.get(addresses(here)[row])
        link = re.search(r'<a href="([^"]+\.json[^"]*)">JSON</a>', page.text)
        assert link, row
        answer = administrator.get(link[1])
        assert answer.status_code == 200, row
        assert answer.headers["content-type"] == "application/json"
        assert isinstance(answer.json(), dict)
        if row != "/settings":
            assert "<code>sekisho" in page.text, row


def test_json_is_the_api_s_answer_for_the_same_view(here: World, engineer: Visitor) -> None:
    found = engineer.get(f"/jobs/{here.jobs['llm-small']}.json").json()
    assert found["job"]["state"] == "succeeded"
    assert found["job"]["created_at"].endswith("Z")
    assert {site["name"] for site in found["sites"]} >= {"us-west", "sakura-ishikari"}


def test_a_job_says_where_it_ran_and_where_not(here: World, engineer: Visitor) -> None:
    text = text_of(engineer.get(f"/jobs/{here.jobs['llm-small']}?lang=en"))
    assert "The charter allowed 4 of 5 sites." in text
    assert re.search(r"us-west stand-in on this machine ⊘ Denied", text)
    assert "C01-residency" in text
    assert "What this does not prove" in text
    assert "nothing here says anything about a real place" in text


@pytest.mark.parametrize("language", ["en", "ja"])
def test_an_array_is_one_row_and_shows_its_jobs(here: World, engineer: Visitor, language: str) -> None:
    listed = text_of(engineer.get(f"/jobs?lang={language}"))
    assert "sweep " in listed
    assert "sweep-0" not in listed
    shown = text_of(engineer.get(f"/jobs/{here.jobs['sweep']}?lang={language}"))
    said = {
        "en": ("Jobs of this array: 3", "Waiting 2", "sweep-2 … Waiting"),
        "ja": ("この配列のジョブ：3件", "待機中 2", "sweep-2 … 待機中"),
    }
    for words in said[language]:
        assert words in shown
    member = here.detail("sweep").members[1]
    inside = engineer.get(f"/jobs/{member.id}?lang={language}")
    assert f'href="/jobs/{here.jobs["sweep"]}"' in inside.text


def test_a_stand_in_says_so_wherever_it_appears(here: World, engineer: Visitor) -> None:
    for address in ("/", "/jobs", "/sites", f"/jobs/{here.jobs['llm-small']}", "/sites/us-west"):
        page = engineer.get(f"{address}?lang=en").text
        for name in ("us-west", "sakura-ishikari"):
            for match in re.finditer(rf'<a href="/sites/{name}">{name}</a>', page):
                assert 'class="tag standin"' in page[match.end() : match.end() + 60], (address, name)
    assert "<title>us-west - stand-in on this machine" in engineer.get("/sites/us-west?lang=en").text


def test_a_declared_number_never_stands_without_its_grade(here: World, engineer: Visitor) -> None:
    page = engineer.get("/sites?lang=en").text
    rows = re.findall(r"<tr class=\"standin\">.*?</tr>", page, re.DOTALL)
    assert len(rows) == 5
    for row in rows:
        assert row.count('class="grade D"') == 2


def test_log_lines_are_text(here: World, engineer: Visitor) -> None:
    page = engineer.get(f"/jobs/{here.jobs['llm-small']}").text
    assert HOSTILE not in page
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#34;quoted&#34; &lt;script&gt;" in page


def test_lists_filter_by_address_and_page_by_cursor(here: World, engineer: Visitor) -> None:
    failed = text_of(engineer.get("/jobs?state=failed&lang=en"))
    assert "broken" in failed
    assert "llm-small" not in failed
    assert "No job matches this filter." in text_of(engineer.get("/jobs?state=staging&lang=en"))
    assert "llm-small" in text_of(engineer.get("/jobs?mine=1"))


def test_search_goes_straight_to_what_is_meant(here: World, engineer: Visitor) -> None:
    job = here.jobs["llm-small"]
    for asked, expected in (
        (job, f"/jobs/{job}"),
        ("llm-small", f"/jobs/{job}"),
        ("us-west", f"/sites/{here.sites['us-west'].id}"),
        ("rec_01m7vyqc1gh1wm338p654b3jrd", "/ledger/rec_01m7vyqc1gh1wm338p654b3jrd"),
    ):
        assert engineer.get(f"/search?q={asked}").headers["location"] == expected
    assert engineer.get("/search?q=").status_code == 200


def test_another_organisation_s_things_do_not_exist(here: World, stranger: Visitor) -> None:
    job = here.jobs["llm-small"]
    for address in (
        f"/jobs/{job}",
        f"/jobs/{job}.json",
        f"/jobs/{job}/attempts/1",
        f"/jobs/{job}/cancel",
        f"/jobs/{job}/live",
        "/data/manual-pages",
    ):
        answer = stranger.get(address)
        assert answer.status_code == 404, address
        assert "llm-small" not in answer.text
    assert "llm-small" not in stranger.get("/jobs").text
    assert "llm-small" not in stranger.get("/").text
    for action in ("cancel", "verify", "export"):
        assert stranger.post(f"/jobs/{job}/{action}", page="/jobs").status_code in {403, 404}
    assert here.detail("llm-small").job.state.value == "succeeded"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_denied_submission_is_a_denial_beside_what_was_typed(auditor: Visitor, language: str) -> None:
    path = f"/jobs/new?lang={language}"
    answer = auditor.post(path, page="/jobs/new", file=job_file("not-mine"), do="submit")
    assert answer.status_code == 403
    assert "charter.denied" in answer.text
    assert ("Not allowed", "不許可")[language == "ja"] in answer.text
    assert "name: not-mine" in answer.text
    assert 'href="/charter#P01-engineer"' in answer.text


def test_a_denial_names_rule_sentence_record_and_what_to_do(here: World, auditor: Visitor) -> None:
    answer = auditor.post(f"/jobs/{here.jobs['llm-running']}/cancel", page="/jobs", once="")
    shown = text_of(answer)
    assert answer.status_code == 403
    assert "charter.denied" in shown
    assert "Not allowed" in shown
    assert "Because" in shown
    assert "Instead" in shown
    assert re.search(r'href="/ledger/rec_[0-9a-z]{26}"', answer.text)


def test_menus_follow_roles(here: World, engineer: Visitor, nobody: Visitor) -> None:
    def menu(visitor: Visitor, page: str) -> list[str]:
        nav = re.search(r"<nav.*?</nav>", visitor.get(page).text, re.DOTALL)
        assert nav
        return re.findall(r'href="([^"]+)"', nav[0])

    assert menu(engineer, "/jobs") == ["/", "/jobs", "/sites", "/data", "/charter", "/ledger", "/verify"]
    assert menu(nobody, "/verify") == ["/ledger", "/verify"]


@pytest.mark.parametrize("page", SIGNED_OUT)
def test_some_pages_are_for_everybody(here: World, nobody: Visitor, page: str) -> None:
    assert nobody.get(page).status_code == 200


def test_everything_else_asks_to_sign_in(here: World, nobody: Visitor) -> None:
    for row, address in addresses(here).items():
        if row in SIGNED_OUT or row.startswith("/signin"):
            continue
        answer = nobody.get(address)
        assert answer.status_code == 401, address
        assert "auth.required" in answer.text
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "llm-small" not in answer.text


def test_a_second_person_approves_and_the_first_cannot(empty: World) -> None:
    first, second = (Actor(Ref("User", one.account)) for one in empty.house.genesis.administrators)
    Visitor(empty.url).enter(empty.link(empty.people.engineer))
    wanted = GrantAdministrator(person=empty.people.engineer.ref.id)
    empty.gate.perform(first, wanted)
    proposal = empty.gate.perform(second, ListProposals())[0].id
    for who, refused in ((first, True), (second, False)):
        visitor = Visitor(empty.url).enter(empty.link(who))
        shown = text_of(visitor.get("/proposals?lang=en"))
        assert "identity.administrator.grant" in shown
        assert empty.people.engineer.ref.id in shown
        assert ("Approve and do it" in shown) == (who is second)
        done = visitor.post(f"/proposals/{proposal}/approve", page="/proposals")
        assert (done.status_code >= 400) == refused, text_of(done)
        roles = empty.gate.perform(second, ShowPerson(person=empty.people.engineer.ref.id)).roles
        assert ("administrator" in roles) != refused
    assert empty.gate.perform(second, ListProposals()) == []


def test_what_waits_for_a_second_person_is_on_the_overview(empty: World) -> None:
    first, second = (Actor(Ref("User", one.account)) for one in empty.house.genesis.administrators)
    Visitor(empty.url).enter(empty.link(empty.people.engineer))
    empty.gate.perform(first, GrantAdministrator(person=empty.people.engineer.ref.id))
    visitor = Visitor(empty.url).enter(empty.link(second))
    shown = visitor.get("/?lang=en").text
    assert "identity.administrator.grant waits for a second person." in shown
    assert 'href="/proposals"' in shown


def test_the_language_changes_without_losing_the_filter(engineer: Visitor) -> None:
    page = engineer.get("/jobs?state=failed&mine=1&lang=en").text
    assert 'name="back" value="/jobs?state=failed&amp;mine=1"' in page
    assert 'href="/jobs.json?state=failed&amp;mine=1"' in page


@pytest.mark.parametrize("language", ["en", "ja"])
def test_empty_pages_say_what_to_do(empty: World, language: str) -> None:
    visitor = Visitor(empty.url).enter(empty.link(empty.people.engineer))
    expected = {
        "/jobs": ("No job yet.", "ジョブはまだありません。"),
        "/data": ("No dataset yet.", "データセットはまだありません。"),
        "/": ("Nothing needs you now.", "いま対応が必要なことはありません。"),
    }
    for address, words in expected.items():
        shown = text_of(visitor.get(f"{address}?lang={language}"))
        assert words[language == "ja"] in shown, address
    assert "sekisho run job.yaml" in text_of(visitor.get("/jobs"))


def test_no_secret_is_kept_where_it_could_be_read(here: World, engineer: Visitor, tmp_path: Path) -> None:
    del tmp_path
    secret = engineer.client.cookies["sekisho_session"]
    file = here.control.settings.folder / "sekisho.db"
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        dump = "\n".join(database.iterdump())
    assert secret not in dump
    assert secret not in json.dumps(dict(engineer.get("/jobs").headers))


@pytest.mark.parametrize("language", ["en", "ja"])
def test_what_went_out_of_an_attempt_is_on_its_page(here: World, engineer: Visitor, language: str) -> None:
    page = text_of(engineer.get(f"/jobs/{here.jobs['broken']}/attempts/1?lang={language}"))
    assert "data.example.jp:443" in page
    assert "x.example:443 not_listed 3" in " ".join(page.split())
    unknown = "anybody could have signed it" if language == "en" else "誰の署名であるかは不明です"
    assert ("listener.example/one" in page, unknown in page) == (True, True)
    claims = text_of(engineer.get(f"/jobs/{here.jobs['broken']}?lang={language}"))
    assert ("Destinations reached: 1" if language == "en" else "1件の宛先に接続し") in claims
    assert "listener.example/one" in claims


@pytest.mark.parametrize("language", ["en", "ja"])
def test_how_a_job_failed_is_said_in_words(here: World, engineer: Visitor, language: str) -> None:
    words = ("The program ended with an error.", "プログラムがエラーで終了しました。")[language == "ja"]
    for address in (
        f"/jobs/{here.jobs['broken']}",
        "/jobs?state=failed",
        f"/jobs/{here.jobs['broken']}/attempts/1",
    ):
        joined = f"{address}{'&' if '?' in address else '?'}lang={language}"
        assert words in text_of(engineer.get(joined)), address


def test_a_draft_is_tried_on_what_was_decided(here: World, administrator: Visitor, engineer: Visitor) -> None:
    draft = administrator.get(f"/charter?version={here.draft}&lang=en")
    assert f'href="/charter/{here.draft}/test"' in draft.text
    found = administrator.get(f"/charter/{here.draft}/test.json").json()
    shown = text_of(administrator.get(f"/charter/{here.draft}/test?lang=en&upto={found['upto']}"))
    assert "data.dataset.add" in shown
    assert "C90-nothing-internal" in shown
    assert "denied" in shown
    assert f"of {found['upto']} recorded decisions were asked again" in shown
    for person in (here.people.engineer.ref.id, here.organisation):
        assert person not in json.dumps(found)
    assert engineer.get(f"/charter/{here.draft}/test").status_code == 404
    assert administrator.get(f"/charter/{here.draft}/test?upto=x&after=-1").status_code == 200
