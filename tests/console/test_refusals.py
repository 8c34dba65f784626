"""Refusals and failures: each is a page with its code, and takes no more with it than it must."""

from __future__ import annotations

import re
import threading
from typing import Any

import httpx2
import pytest

from sekisho.console import Limits
from sekisho.console.door import HEADERS
from sekisho.kernel.command import Command
from sekisho.kernel.errors import BusyError, ConflictError, SekishoError, StorageFullError, UnavailableError
from sekisho.kernel.facts import Actor
from sekisho.kernel.gate import Gate
from tests.console.looking import text_of
from tests.console.world import Visitor, World, served


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
