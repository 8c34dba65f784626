"""Pages without a browser: who sees what, what a refusal looks like, and what is never done."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sekisho.console import Limits
from sekisho.console.door import HEADERS
from sekisho.console.routes import ROWS
from sekisho.identity import GrantAdministrator, ShowPerson
from sekisho.kernel.command import Command
from sekisho.kernel.errors import BusyError, ConflictError, SekishoError, StorageFullError, UnavailableError
from sekisho.kernel.facts import Actor, Ref
from sekisho.kernel.gate import Gate
from sekisho.kernel.proposals import ListProposals
from tests.console.world import HOSTILE, Visitor, World, job_file, served

SIGNED_OUT = ("/signin", "/settings", "/ledger", "/verify")


def addresses(here: World) -> dict[str, str]:
    """Every page that a GET shows, with something on it, by the path of its row."""
    job = here.jobs["llm-small"]
    return {
        "/": "/",
        "/search": "/search?q=nothing-of-that-name",
        "/signin": "/signin",
        "/signin/{code}": "/signin/some-code",
        "/settings": "/settings",
        "/jobs": "/jobs",
        "/jobs/new": "/jobs/new",
        "/jobs/{job}": f"/jobs/{job}",
        "/jobs/{job}/cancel": f"/jobs/{here.jobs['llm-running']}/cancel",
        "/jobs/{job}/attempts/{number}": f"/jobs/{job}/attempts/1",
        "/proposals": "/proposals",
        "/sites": "/sites",
        "/sites/{site}": "/sites/sakura-ishikari",
        "/data": "/data",
        "/data/{dataset}": "/data/manual-pages",
        "/charter": "/charter",
        "/ledger": "/ledger",
        "/verify": "/verify",
    }


ELSEWHERE = {
    "/signin/outside/back": "test_signing_in_elsewhere_is_offered_only_where_it_is_set_up",
    "/jobs/{job}/evidence/{export}": "test_evidence.py",
    "/jobs/{job}/evidence/{export}/bundle.zip": "test_evidence.py",
    "/ledger/find": "test_evidence.py",
    "/ledger/{record}": "test_evidence.py",
}


def text_of(response: httpx2.Response) -> str:
    """A page's words, without its marks."""
    body = re.sub(r"<(script|style)\b.*?</\1>", "", response.text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


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


# --- signing in and out


def test_a_link_is_not_used_up_by_looking_at_it(here: World, nobody: Visitor) -> None:
    link = here.link(here.people.engineer)
    for _ in range(3):
        assert nobody.get(link).status_code == 200
    answer = nobody.post(link, page=link)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/jobs?mine=1"
    spent = Visitor(here.url)
    assert spent.post(link, page=link).status_code == 401


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(here: World, nobody: Visitor) -> None:
    link = here.link(here.people.engineer)
    cookie = nobody.post(link, page=link).headers["set-cookie"]
    assert cookie.startswith("sekisho_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie


def test_off_loopback_cookies_are_secure(here: World) -> None:
    with served(here.control, secure=True) as url:
        response = httpx2.get(f"{url}/signin", trust_env=False)
    assert "Secure" in response.headers["set-cookie"]


def test_a_token_opens_a_session_and_is_never_shown_again(here: World, nobody: Visitor) -> None:
    token = here.house.genesis.administrators[1].token
    answer = nobody.post("/signin", page="/signin", token=f" {token} ", next="/sites")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sites"
    assert token not in answer.text
    assert nobody.get("/jobs").status_code == 200


def test_a_wrong_token_is_refused_and_after_ten_the_source_waits(empty: World) -> None:
    visitor = Visitor(empty.url)
    statuses = []
    for number in range(12):
        answer = visitor.post("/signin", page="/signin", token=f"wrong-{number}")
        statuses.append(answer.status_code)
        assert f"wrong-{number}" not in answer.text
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert "auth.rate_limited" in answer.text


def test_after_signing_in_one_comes_back_to_where_one_was(here: World, nobody: Visitor) -> None:
    refused = nobody.get("/sites/us-west")
    assert refused.status_code == 401
    link = re.search(r'href="(/signin\?next=[^"]+)"', refused.text)
    assert link
    assert link[1] == "/signin?next=/sites/us-west"
    assert 'name="next" value="/sites/us-west"' in nobody.get(link[1]).text


@pytest.mark.parametrize("wish", ["https://example.org/", "//example.org/", "/\\example.org"])
def test_signing_in_sends_nobody_elsewhere(here: World, nobody: Visitor, wish: str) -> None:
    token = here.house.genesis.administrators[1].token
    answer = nobody.post("/signin", page="/signin", token=token, next=wish)
    assert answer.headers["location"] == "/"


def test_signing_out_ends_the_session_on_the_server(here: World) -> None:
    visitor = Visitor(here.url).enter(here.link(here.people.engineer))
    kept = visitor.client.cookies["sekisho_session"]
    assert visitor.post("/signout", page="/jobs").status_code == 303
    assert visitor.get("/jobs").status_code == 401
    visitor.client.cookies.set("sekisho_session", kept)
    assert visitor.get("/jobs").status_code == 401


def test_signing_in_elsewhere_is_offered_only_where_it_is_set_up(here: World, nobody: Visitor) -> None:
    assert nobody.get("/signin/outside/back?code=x&state=y").status_code == 404
    assert nobody.post("/signin/outside").status_code == 404
    provider = FakeProvider(here)
    with served(here.control, outside=provider) as url:
        visitor = Visitor(url)
        assert 'action="/signin/outside"' in visitor.get("/signin").text
        away = visitor.post("/signin/outside")
        assert away.headers["location"] == "https://provider.example/authorize"
        back = visitor.get("/signin/outside/back?code=good&state=s")
        assert back.status_code == 303
        assert provider.seen == [visitor_cookie(away)]
        assert visitor.get("/jobs").status_code == 200


def visitor_cookie(response: httpx2.Response) -> str:
    """The visit that the browser keeps while it is at the provider."""
    found = re.search(r"sekisho_outside=([^;]+);", response.headers["set-cookie"])
    assert found
    return found[1]


class FakeProvider:
    """Stands for identity's sign-in through a provider, which has tests against a real one."""

    def __init__(self, here: World) -> None:
        self._here = here
        self.seen: list[str] = []

    def begin(self, visit: str) -> str:
        assert visit
        return "https://provider.example/authorize"

    def finish(self, visit: str, answer: Any) -> Any:
        self.seen.append(visit)
        assert answer["code"] == "good"
        token = self._here.house.genesis.administrators[1].token
        return self._here.control.sign_in.open_with_token(token, "127.0.0.1")


# --- language and theme


def test_language_and_theme_are_kept(here: World, engineer: Visitor) -> None:
    answer = engineer.post("/settings", page="/jobs", language="ja", theme="dark", back="/sites")
    assert answer.headers["location"] == "/sites"
    page = engineer.get("/jobs").text
    assert '<html lang="ja" data-theme="dark">' in page
    again = Visitor(here.url)
    again.client.cookies.set("sekisho_session", engineer.client.cookies["sekisho_session"])
    assert '<html lang="ja" data-theme="dark">' in again.get("/jobs").text
    assert '<html lang="en"' in again.get("/jobs?lang=en").text
    engineer.post("/settings", page="/jobs", language="en", theme="auto", back="/")
    assert '<html lang="en">' in again.get("/jobs").text


def test_language_follows_the_browser_until_somebody_chooses(here: World, nobody: Visitor) -> None:
    assert '<html lang="ja"' in nobody.get("/verify", **{"Accept-Language": "ja-JP,ja;q=0.9,en;q=0.5"}).text
    nobody.post("/settings", language="en", back="/verify")
    assert '<html lang="en"' in nobody.get("/verify", **{"Accept-Language": "ja"}).text


# --- forms


POSTS = [row.path for row in ROWS if row.method == "POST"]


@pytest.mark.parametrize("path", POSTS)
def test_a_form_without_its_token_does_nothing(here: World, engineer: Visitor, path: str) -> None:
    address = (
        path.replace("{job}", here.jobs["llm-running"])
        .replace("{code}", "code")
        .replace("{proposal}", "prop_x")
    )
    before = here.detail("llm-running")
    wrong: tuple[dict[str, str], ...] = ({}, {"csrf": ""}, {"csrf": "x" * 43})
    for fields in wrong:
        answer = engineer.client.post(address, data={"file": job_file("forged"), "do": "submit", **fields})
        assert answer.status_code == 403
        assert "auth.csrf" in answer.text
    assert here.detail("llm-running") == before
    assert engineer.get("/jobs").status_code == 200


@pytest.mark.parametrize("path", POSTS)
def test_a_form_started_by_another_site_does_nothing(here: World, engineer: Visitor, path: str) -> None:
    address = (
        path.replace("{job}", here.jobs["llm-running"])
        .replace("{code}", "code")
        .replace("{proposal}", "prop_x")
    )
    token = engineer.token("/jobs")
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert engineer.client.post(address, data={"csrf": token}, headers=headers).status_code == 403


def test_another_person_s_token_fits_no_form_of_mine(engineer: Visitor, stranger: Visitor) -> None:
    token = stranger.token("/jobs")
    assert engineer.client.post("/settings", data={"csrf": token, "language": "ja"}).status_code == 403


def test_submitting_twice_makes_one_job(here: World, engineer: Visitor) -> None:
    page = engineer.get("/jobs/new").text
    once = re.search(r'name="once" value="([^"]+)"', page)
    assert once
    fields = {"file": job_file("pressed-twice", residency="[FR]"), "do": "submit", "once": once[1]}
    first, second = (engineer.post("/jobs/new", page="/jobs/new", **fields) for _ in range(2))
    assert first.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    cancel = f"{first.headers['location']}/cancel"
    assert engineer.post(cancel, page=cancel).status_code == 303


def test_a_mistake_in_a_job_file_is_shown_at_its_place_and_nothing_is_lost(engineer: Visitor) -> None:
    text = "name: typed\nrun: x\nresurces:\n  cpus: 1\n# <b>日本語</b>\n"
    answer = engineer.post("/jobs/new?lang=en", page="/jobs/new", file=text, do="submit", workdir="art_x")
    assert answer.status_code == 422
    shown = text_of(answer)
    assert 'Line 3, column 1: unknown field "resurces". Did you mean "resources"?' in shown.replace(
        "&#34;", '"'
    )
    assert "compute.file.unknown_field" in shown
    assert "# &lt;b&gt;日本語&lt;/b&gt;" in answer.text
    assert 'value="art_x"' in answer.text
    assert re.search(r'<span class="wrong">3  resurces:</span>\s*   \^', answer.text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("\tname: tab\n", "compute.file.malformed"),
        ("", "compute.file.malformed"),
        ("name: x\nrun: y\nresources: {image: nothing}\n", "compute.image.unknown"),
        ("x" * 262_145, "input.invalid"),
    ],
)
def test_a_bad_job_file_gets_its_own_code(engineer: Visitor, text: str, code: str) -> None:
    answer = engineer.post("/jobs/new", page="/jobs/new", file=text, do="submit")
    assert answer.status_code == 422
    assert code in answer.text


def test_a_plan_shows_every_site_and_submits_nothing(here: World, engineer: Visitor) -> None:
    answer = engineer.post("/jobs/new?lang=en", page="/jobs/new", file=job_file("planned"), do="plan")
    shown = text_of(answer)
    assert answer.status_code == 200
    assert "It would run at sakura-ishikari, now." in shown
    assert "C01-residency" in shown
    assert "planned" not in text_of(engineer.get("/jobs"))


def test_cancelling_asks_first_and_acts_on_a_form_only(here: World, engineer: Visitor) -> None:
    here.submit("to-cancel", job_file("to-cancel", residency="[FR]"))
    address = f"/jobs/{here.jobs['to-cancel']}/cancel"
    assert engineer.get(address).status_code == 200
    assert here.detail("to-cancel").job.state.value == "waiting"
    assert engineer.post(address, page=address).headers["location"] == f"/jobs/{here.jobs['to-cancel']}"
    assert here.detail("to-cancel").job.state.value == "cancelled"
    assert engineer.post(address, page=address).status_code == 409
    assert "already ended" in text_of(engineer.get(f"{address}?lang=en"))


# --- who sees what


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


# --- refusals


def _error_page(answer: httpx2.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    shown = text_of(answer)
    assert code in shown
    request = answer.headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-z]{26}", request)
    assert request in shown
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]


def test_not_found_is_a_page(engineer: Visitor) -> None:
    for address in (
        "/nothing",
        "/jobs/job_nothing",
        "/jobs/job_nothing/attempts/x",
        "/sites/%00",
        "/ledger/rec_x",
    ):
        _error_page(engineer.get(address), 404, "not_found")


def test_a_wrong_method_is_a_page(engineer: Visitor) -> None:
    _error_page(engineer.client.put("/jobs"), 405, "console.method")
    _error_page(engineer.get("/signout"), 405, "console.method")


def test_what_is_too_long_is_refused_before_it_is_read(engineer: Visitor) -> None:
    _error_page(engineer.client.post("/jobs/new", content=b"a=" + b"x" * (1 << 20)), 413, "input.too_large")
    _error_page(engineer.client.post("/settings", content=b"x" * 20_000), 413, "input.too_large")


def test_a_form_that_is_none_is_refused(engineer: Visitor) -> None:
    headers = {"Content-Type": "application/json"}
    answer = engineer.client.post("/settings", content=b"{}", headers=headers)
    _error_page(answer, 400, "console.form_unreadable")


class Broken:
    """A gate that fails on one command, as told."""

    def __init__(self, gate: Gate, name: str, error: Exception) -> None:
        self._gate, self._name, self._error = gate, name, error

    def perform(self, actor: Actor, command: Command[Any], *, idempotency_key: str = "") -> Any:
        if type(command).__name__ == self._name:
            raise self._error
        return self._gate.perform(actor, command, idempotency_key=idempotency_key)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConflictError(what="the job"), (409, "conflict")),
        (BusyError(seconds=2), (503, "busy")),
        (UnavailableError(part="database", seconds=5), (503, "unavailable")),
        (StorageFullError(), (507, "storage.full")),
        (SekishoError(), (500, "internal")),
        (ZeroDivisionError("secret-in-a-message"), (500, "internal")),
    ],
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_trouble_is_a_page_with_its_code(
    here: World, error: Exception, expected: tuple[int, str], language: str
) -> None:
    status, code = expected
    with served(here.control, gate=Broken(here.gate, "ListJobs", error)) as url:
        visitor = Visitor(url).enter(here.link(here.people.engineer))
        answer = visitor.get(f"/jobs?lang={language}")
        _error_page(answer, status, code)
        assert "secret-in-a-message" not in answer.text
        assert ("retry-after" in answer.headers) == (status in {503, 507})
        twin = visitor.get("/jobs.json")
        assert twin.status_code == status
        assert twin.headers["content-type"] == "application/problem+json"
        assert twin.json()["code"] == code


def test_a_part_that_fails_does_not_take_the_page_with_it(here: World) -> None:
    broken = Broken(here.gate, "ListArtefacts", UnavailableError(part="store", seconds=5))
    with served(here.control, gate=broken) as url:
        visitor = Visitor(url).enter(here.link(here.people.engineer))
        answer = visitor.get(f"/jobs/{here.jobs['llm-small']}?lang=en")
        assert answer.status_code == 200
        shown = text_of(answer)
        assert "This part could not be shown." in shown
        assert "unavailable" in shown
        assert "Why here, and why not there" in shown


def test_error_pages_are_drawn_when_nothing_answers(here: World) -> None:
    class Gone:
        def perform(self, *_: Any, **__: Any) -> Any:
            raise UnavailableError(part="database", seconds=5)

    class GoneSignIn:
        def session(self, _secret: str) -> Any:
            raise UnavailableError(part="database", seconds=5)

    with served(here.control, gate=Gone(), sign_in=GoneSignIn()) as url:
        visitor = Visitor(url)
        visitor.client.cookies.set("sekisho_session", "x" * 43)
        _error_page(visitor.get("/jobs"), 503, "unavailable")
        _error_page(visitor.get("/nothing"), 404, "not_found")


def test_more_than_can_wait_is_refused_at_once(here: World) -> None:
    held, go = threading.Event(), threading.Event()

    class Slow:
        def perform(self, actor: Actor, command: Command[Any], *, idempotency_key: str = "") -> Any:
            if type(command).__name__ == "ShowTrust":
                held.set()
                go.wait(20)
            return here.gate.perform(actor, command, idempotency_key=idempotency_key)

    with served(here.control, gate=Slow(), limits=Limits(threads=1, waiting=0)) as url:
        first = threading.Thread(
            target=httpx2.get, args=(f"{url}/verify",), kwargs={"trust_env": False, "timeout": 30}
        )
        first.start()
        try:
            assert held.wait(20)
            _error_page(httpx2.get(f"{url}/verify", trust_env=False), 503, "busy")
        finally:
            go.set()
            first.join()


def test_a_pinned_file_may_be_kept_for_ever_and_nothing_else(here: World, nobody: Visitor) -> None:
    page = nobody.get("/verify").text
    for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
        answer = nobody.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert nobody.get(address.partition("?")[0]).headers["cache-control"] == "no-cache"
    assert nobody.get("/static/..%2Frender.py").status_code == 404
    assert nobody.get("/static/nothing.css").status_code == 404


# --- nothing there yet


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
