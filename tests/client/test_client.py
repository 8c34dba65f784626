"""The Python client: names, tries that cannot do a thing twice, and answers that are not Sekisho's."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sekisho_client
from sekisho_client.client import Client
from sekisho_client.refusals import ProblemError, Refused
from tests.http.toyserver import Served

PROBLEM = {"type": "x", "title": "x", "status": 503, "code": "busy", "exit": 7, "detail": "Too many."}
Answer = tuple[int, dict[str, str], bytes]


class Script:
    """A server that answers from a list and remembers what it was asked. `None` hangs up without an answer."""

    def __init__(self, answers: list[Answer | None]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server names it
                """Say nothing."""

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                script.asked.append((self.command, self.path, headers, body))
                found = script.answers.pop(0)
                if found is None:
                    self.close_connection = True
                    return
                status, more, payload = found
                self.send_response(status)
                for name, value in {"Content-Length": str(len(payload)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - as http.server names them

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def make(*answers: Answer | None) -> Script:
        made.append(Script(list(answers)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits are noted instead of slept."""
    found: list[float] = []
    monkeypatch.setattr("sekisho_client.client.time.sleep", found.append)
    return found


def ok(value: Any) -> Answer:
    return 200, {}, json.dumps(value).encode()


def no(status: int = 503, **headers: str) -> Answer:
    return status, headers, json.dumps(PROBLEM).encode()


@pytest.mark.usefixtures("toy_catalogue")
class TestAgainstTheServer:
    def test_by_name_and_by_attribute(self, server: Served) -> None:
        with sekisho_client.Client(server.url, "ann-token") as client:
            assert client.call("toy.thing.put", id="p", name="ball")["name"] == "ball"
            assert client.toy.thing.show(id="p") == {"id": "p", "name": "ball", "amount": 0}

    def test_pages(self, server: Served) -> None:
        with Client(server.url, "ann-token") as client:
            for name in ("q1", "q2", "q3"):
                client.toy.thing.put(id=name)
            assert [one["id"] for one in client.pages("toy.thing.list", cursor="q0")] == ["q1", "q2", "q3"]

    @pytest.mark.parametrize("name", ["a/b", "a?b=c", "a#b", "%2e%2e", "日本", "a b", "a%b"])
    def test_ids_of_any_shape_stay_ids(self, server: Served, name: str) -> None:
        with Client(server.url, "ann-token") as client:
            if "/" in name:
                with pytest.raises(ProblemError) as problem:
                    client.toy.thing.put(id=name)
                assert problem.value.code in {"not_found", "input.method"}
            else:
                assert client.toy.thing.put(id=name)["id"] == name

    def test_a_problem_is_an_error_with_its_code(self, server: Served) -> None:
        with Client(server.url, "ann-token", language="ja") as client, pytest.raises(ProblemError) as problem:
            client.toy.thing.show(id="absent")
        assert (problem.value.code, problem.value.exit_status) == ("not_found", 5)
        assert "見つからない" in str(problem.value)

    def test_what_this_side_can_tell(self, server: Served) -> None:
        with Client(server.url, "ann-token") as client:
            wrong: list[tuple[dict[str, str], str]] = [
                ({"colour": "red", "id": "a"}, "input.unknown_field"),
                ({}, "input.missing"),
                ({"id": ".."}, "input.bad_value"),
                ({"id": ""}, "input.bad_value"),
            ]
            for fields, code in wrong:
                with pytest.raises(Refused) as refused:
                    client.call("toy.thing.show", **fields)
                assert refused.value.code == code
            with pytest.raises(Refused) as refused:
                client.toy.thing.shwo()
            assert (refused.value.code, refused.value.hint) == ("input.unknown_command", "toy.thing.show")

    def test_a_download_is_whole_or_not_there(self, server: Served, tmp_path: Path) -> None:
        with Client(server.url, "ann-token") as client:
            assert client.download("toy.file.fetch", tmp_path / "x", name="x") == 6
            assert client.fetch("toy.file.fetch", name="x") == b"\x00bytes"
        with Client(server.url, "wrong") as client, pytest.raises(ProblemError):
            client.download("toy.file.fetch", tmp_path / "y", name="y")
        assert [file.name for file in tmp_path.iterdir() if file.suffix != ".json"] == ["x"]


@pytest.mark.usefixtures("toy_catalogue")
class TestTries:
    def test_a_read_is_tried_again(self, script: Callable[..., Script], naps: list[float]) -> None:
        server = script(no(), None, no(429, **{"Retry-After": "3"}), ok({"items": [], "next": None}))
        with Client(server.url) as client:
            assert client.toy.thing.list()["items"] == []
        assert len(server.asked) == 4
        assert naps == [0.2, 0.4, 3.0]

    def test_a_recorded_command_is_tried_again_under_one_key(
        self, script: Callable[..., Script], naps: list[float]
    ) -> None:
        server = script(None, no(), ok({"id": "a"}))
        with Client(server.url) as client:
            client.toy.thing.put(id="a")
        keys = {headers["idempotency-key"] for _, _, headers, _ in server.asked}
        assert (len(server.asked), len(keys), len(naps)) == (3, 1, 2)

    def test_each_call_has_a_key_of_its_own_unless_one_is_given(self, script: Callable[..., Script]) -> None:
        server = script(ok({}), ok({}), ok({}))
        with Client(server.url) as client:
            client.toy.thing.put(id="a")
            client.toy.thing.put(id="a")
            client.call("toy.thing.put", id="a", idempotency_key="mine")
        keys = [headers["idempotency-key"] for _, _, headers, _ in server.asked]
        assert len(set(keys)) == 3
        assert keys[2] == "mine"

    def test_what_has_no_key_is_asked_once(self, script: Callable[..., Script], naps: list[float]) -> None:
        server = script(no())
        with Client(server.url) as client, pytest.raises(ProblemError):
            client.toy.moment.echo(tags=["a"])
        assert (len(server.asked), naps) == (1, [])
        assert json.loads(server.asked[0][3]) == {"tags": ["a"]}

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
    def test_a_no_is_not_asked_again(
        self, script: Callable[..., Script], naps: list[float], status: int
    ) -> None:
        server = script(no(status))
        with Client(server.url) as client, pytest.raises(ProblemError):
            client.toy.thing.list()
        assert (len(server.asked), naps) == (1, [])

    def test_nobody_waits_for_an_hour(self, script: Callable[..., Script], naps: list[float]) -> None:
        server = script(no(503, **{"Retry-After": "3600"}))
        with Client(server.url) as client, pytest.raises(ProblemError):
            client.toy.thing.list()
        assert naps == []

    def test_in_the_end_it_gives_up(self, script: Callable[..., Script], naps: list[float]) -> None:
        server = script(*[None] * 4)
        with Client(server.url) as client, pytest.raises(Refused) as refused:
            client.toy.thing.list()
        assert (refused.value.code, len(naps)) == ("client.unreachable", 3)

    def test_an_address_where_nobody_is_heard_is_not_asked_again(
        self, naps: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sekisho_client.client.CONNECT_SECONDS", 0.2)
        with contextlib.ExitStack() as crowd, socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
            for _ in range(4):
                # Once nobody takes these, the system drops whoever comes next, as a wall on the way does.
                caller = crowd.enter_context(socket.socket())
                caller.setblocking(False)  # noqa: FBT003 - the socket's own signature
                caller.connect_ex(deaf.getsockname())
            with (
                Client(f"http://127.0.0.1:{deaf.getsockname()[1]}") as client,
                pytest.raises(Refused) as refused,
            ):
                client.toy.thing.list()
        assert (refused.value.code, naps) == ("client.unreachable", [])


@pytest.mark.usefixtures("toy_catalogue")
class TestStrangers:
    def test_a_redirect_is_not_followed(self, script: Callable[..., Script]) -> None:
        other = script()
        server = script((302, {"Location": f"{other.url}/v1/things"}, b""))
        with Client(server.url, "secret-token") as client, pytest.raises(Refused) as refused:
            client.toy.thing.list()
        assert refused.value.code == "client.answer"
        assert other.asked == []

    @pytest.mark.parametrize(
        "answer", [(200, {}, b"<html>"), (502, {}, b"<html>"), (404, {}, b"{}"), (200, {}, b"\xff")]
    )
    def test_an_answer_that_is_not_sekishos(
        self, script: Callable[..., Script], naps: list[float], answer: Answer
    ) -> None:
        server = script(*[answer] * 4)
        with Client(server.url) as client, pytest.raises(Refused) as refused:
            client.toy.thing.list()
        assert refused.value.code == "client.answer"
        assert len(naps) <= 3

    @pytest.mark.parametrize("exit_status", [None, "7", 0, 999, -1])
    def test_a_strange_exit_status_is_our_fault(
        self, script: Callable[..., Script], exit_status: object
    ) -> None:
        server = script((400, {}, json.dumps({"code": "x", "exit": exit_status}).encode()))
        with Client(server.url) as client, pytest.raises(ProblemError) as problem:
            client.toy.thing.list()
        assert problem.value.exit_status == 70

    def test_plain_http_stays_on_this_machine(self) -> None:
        for url in ("http://example.com", "http://10.0.0.1", "http://127.0.0.1.example.com"):
            with pytest.raises(Refused) as refused:
                Client(url, "secret-token")
            assert refused.value.code == "client.address"
            assert "secret" not in str(refused.value)

    def test_the_token_goes_into_one_header(self, script: Callable[..., Script]) -> None:
        server = script(ok({"items": [], "next": None}))
        with Client(server.url, "secret-token", language="ja") as client:
            client.toy.thing.list(limit=5, large=True)
        method, path, headers, body = server.asked[0]
        assert headers["authorization"] == "Bearer secret-token"
        assert headers["accept-language"] == "ja"
        assert "secret" not in path + body.decode()
        assert (method, path) == ("GET", "/v1/things?limit=5&large=true")


def test_the_package_shows_its_client_and_nothing_else() -> None:
    assert sekisho_client.ProblemError is ProblemError
    with pytest.raises(AttributeError):
        _ = sekisho_client.nothing
