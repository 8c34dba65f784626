"""Forms: whose they are, what they do, and that nothing typed is lost."""

from __future__ import annotations

import re

import pytest

from sekisho.console.routes import ROWS
from tests.console.looking import text_of
from tests.console.world import Visitor, World, job_file

POSTS = [row.path for row in ROWS if row.method == "POST"]


@pytest.mark.parametrize("path", POSTS)
def test_a_form_without_its_token_does_nothing(here: World, engineer: Visitor, path: str) -> None:
    address = (
        path.replace("{job}", here.jobs["llm-running"])
        .replace("{code}", "code")
        .replace("{proposal}", "prop_x")
        .replace("{key}", here.key)
        .replace("{change}", "stop")
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
        .replace("{key}", here.key)
        .replace("{change}", "stop")
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


def test_the_owner_stops_a_key_and_lets_it_be_released_again(here: World, engineer: Visitor) -> None:
    key = f"/keys/{here.key}"
    assert "is released to a job only while" in text_of(engineer.get(key))
    assert engineer.post(f"{key}/stop", page=f"{key}/stop").headers["location"] == key
    stopped = engineer.get(key)
    assert "is stopped: no job receives it" in text_of(stopped)
    assert f'href="{key}/resume"' in stopped.text
    assert engineer.post(f"{key}/resume", page=f"{key}/resume").headers["location"] == key
    assert engineer.get(f"{key}.json").json()["state"] == "serving"
    assert engineer.get(f"{key}/destroy").status_code == 404


def test_nobody_else_stops_it(here: World, engineer: Visitor, stranger: Visitor) -> None:
    assert stranger.get(f"/keys/{here.key}").status_code == 404
    assert stranger.post(f"/keys/{here.key}/stop", page="/settings").status_code in {403, 404}
    assert engineer.get(f"/keys/{here.key}.json").json()["state"] == "serving"
