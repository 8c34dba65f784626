"""Ways in and out, sessions, language and theme."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from tests.console.world import Visitor, World, served


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
    assert nobody.get("/signin/outside").status_code == 404
    provider = FakeProvider(here)
    with served(here.control, outside=provider) as url:
        visitor = Visitor(url)
        assert 'href="/signin/outside"' in visitor.get("/signin").text
        away = visitor.get("/signin/outside")
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
