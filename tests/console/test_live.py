"""Event streams: what they send, where they go on, when they end, and for whom there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx2
import pytest

from sekisho.console import Limits, jobparts
from tests.console.world import HOSTILE, Visitor, World, served


class Event(NamedTuple):
    """One event as it came."""

    id: str
    kind: str
    data: Any


def events(response: httpx2.Response) -> Iterator[Event]:
    """Events of an open stream; comments and retries are passed over."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Event(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


def _lines(found: list[Event]) -> list[str]:
    return [str(event.data) for event in found if event.kind == "line"]


def _first(visitor: Visitor, path: str, *, until: int, **headers: str) -> list[Event]:
    """Events of a fresh stream, up to the `until`-th line."""
    found: list[Event] = []
    with visitor.client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        for event in events(response):
            found.append(event)
            if len(_lines(found)) >= until and event.kind == "part":
                break
    return found


def test_an_ended_job_s_stream_says_everything_once_and_ends(here: World, engineer: Visitor) -> None:
    with engineer.client.stream("GET", f"/jobs/{here.jobs['llm-small']}/live") as response:
        found = list(events(response))
    assert _lines(found) == ["step 1 loss 7.6", "step 2 loss 3.5 日本語のログ", HOSTILE]
    parts = [event.data["part"] for event in found if event.kind == "part" and isinstance(event.data, dict)]
    assert parts == list(jobparts.PARTS)
    assert found[-1].kind == "end"


def test_a_stream_goes_on_exactly_where_it_stopped(here: World, engineer: Visitor) -> None:
    path = f"/jobs/{here.jobs['llm-small']}/live"
    with engineer.client.stream("GET", path) as response:
        whole = [event for event in events(response) if event.kind == "line"]
    for number, event in enumerate(whole):
        for ask in ({"headers": {"Last-Event-ID": event.id}}, {"params": {"after": event.id}}):
            with engineer.client.stream("GET", path, **ask) as response:  # type: ignore[arg-type] - one or the other
                assert _lines(list(events(response))) == [str(one.data) for one in whole[number + 1 :]]


def test_lines_and_changes_come_as_they_happen(here: World, engineer: Visitor) -> None:
    name = "live-story"
    agent = here.run(name)
    agent.log(here.detail(name), "one\nhalf")
    found: list[Event] = []
    with engineer.client.stream("GET", f"/jobs/{here.jobs[name]}/live") as response:
        for event in events(response):
            found.append(event)
            if event.kind == "part" and event.data["part"] == "proof" and _lines(found) == ["one"]:
                agent.log(here.detail(name), " a line\n<b>two</b>\n")
            if _lines(found) == ["one", "half a line", "<b>two</b>"] and event.kind == "line":
                here.finish(name, agent)
    assert _lines(found) == ["one", "half a line", "<b>two</b>"]
    assert [event.data for event in found if event.kind == "say"] == [f"{name}: Succeeded."]
    states = [e.data["html"] for e in found if e.kind == "part" and e.data["part"] == "state"]
    assert "Running" in states[0]
    assert "Succeeded" in states[-1]
    assert found[-1].kind == "end"


def test_fragments_are_what_the_page_shows(here: World, engineer: Visitor) -> None:
    page = engineer.get(f"/jobs/{here.jobs['llm-small']}").text
    with engineer.client.stream("GET", f"/jobs/{here.jobs['llm-small']}/live") as response:
        for event in events(response):
            if event.kind == "part" and event.data["part"] in {"state", "lead", "outputs", "proof"}:
                assert event.data["html"].strip() in page


def test_a_page_names_its_stream_and_where_its_log_ends(here: World, engineer: Visitor) -> None:
    page = engineer.get(f"/jobs/{here.jobs['llm-running']}").text
    length = len("step 1 loss 7.61\n")
    assert f'data-stream="/jobs/{here.jobs["llm-running"]}/live?after=1-{length}"' in page
    assert "data-stream" not in engineer.get(f"/jobs/{here.jobs['llm-small']}").text


def test_a_stream_is_refused_with_its_reason(here: World, nobody: Visitor, stranger: Visitor) -> None:
    path = f"/jobs/{here.jobs['llm-running']}/live"
    for visitor, status, code in ((nobody, 401, "auth.required"), (stranger, 404, "not_found")):
        answer = visitor.get(path)
        assert answer.status_code == status
        assert answer.json()["code"] == code


def test_more_streams_than_allowed_are_refused_and_the_page_stays(here: World) -> None:
    path = f"/jobs/{here.jobs['llm-running']}/live"
    with served(here.control, limits=Limits(streams=1)) as url:
        visitor = Visitor(url).enter(here.link(here.people.engineer))
        with visitor.client.stream("GET", path) as response:
            stream = events(response)
            next(stream)
            refused = visitor.get(path)
            assert refused.status_code == 503
            assert refused.json()["code"] == "console.streams_full"
            assert visitor.get(path.removesuffix("/live")).status_code == 200


def test_a_stream_ends_with_its_time_and_with_its_server(here: World) -> None:
    path = f"/jobs/{here.jobs['llm-running']}/live"
    for changes in ({"limits": Limits(stream_seconds=0)}, {"stopping": lambda: True}):
        with served(here.control, **changes) as url:
            visitor = Visitor(url).enter(here.link(here.people.engineer))
            with visitor.client.stream("GET", path) as response:
                assert [event.kind for event in events(response)][-1] != "end"


def test_a_session_that_ended_ends_its_stream(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho.console.live.SESSION_MS", 0)
    visitor = Visitor(here.url).enter(here.link(here.people.engineer))
    with visitor.client.stream("GET", f"/jobs/{here.jobs['llm-running']}/live") as response:
        stream = events(response)
        next(stream)
        here.control.sign_in.close(visitor.client.cookies["sekisho_session"])
        assert "end" not in [event.kind for event in stream]
