"""The edge over a real socket: who asks, what is refused, how problems read, what every answer carries."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sekisho.http import Limits
from sekisho.http.errors import RefusedError
from sekisho.kernel.facts import Decision, Request
from sekisho.kernel.tx import Tx
from sekisho_wire.problems import all_problems
from tests.http.toyserver import Served, kernel_database, served
from tests.support.toy import ANN, AllowAll, Memory

JSON = {"Content-Type": "application/json"}


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem object, after checking everything that all of them must have."""
    assert response.headers["content-type"] == "application/problem+json"
    value = response.json()
    defined = all_problems()[code]
    assert (response.status_code, value["status"], value["code"]) == (status, status, code)
    assert (defined.status, int(defined.exit)) == (status, value["exit"])
    assert value["type"] == f"urn:sekisho:problem:{code}"
    assert value["request_id"] == response.headers["x-request-id"]
    assert value["title"]
    assert "{" not in value["detail"]
    return value


def test_a_command_is_asked_and_recorded(server: Served, ann: httpx2.Client) -> None:
    response = ann.put("/v1/things/first", json={"name": "ball", "amount": 3})
    assert (response.status_code, response.json()) == (200, {"id": "first", "name": "ball", "amount": 3})
    assert isinstance(server.world.recorder, Memory)
    assert (server.world.recorder.last.action, server.world.recorder.last.actor) == (
        "toy.thing.put",
        ANN.ref.id,
    )
    assert ann.get("/v1/things/first").json()["name"] == "ball"


def test_a_list_is_a_page(ann: httpx2.Client) -> None:
    for name in ("l1", "l2", "l3"):
        ann.put(f"/v1/things/{name}", json={})
    first = ann.get("/v1/things", params={"cursor": "l0"}).json()
    assert [item["id"] for item in first["items"]] == ["l1", "l2"]
    second = ann.get("/v1/things", params={"cursor": first["next"]}).json()
    assert [item["id"] for item in second["items"]] == ["l3"]
    assert second["next"] is None


def test_a_bare_list_and_a_bare_value_are_objects_too(server: Served, ann: httpx2.Client) -> None:
    assert set(ann.get("/v1/proposals").json()) == {"items", "next"}
    with server.client("") as stranger:
        assert stranger.get("/v1/knock", params={"name": "x"}).json() == {"result": "x"}


def test_moments_are_rfc_3339_outside_and_milliseconds_inside(ann: httpx2.Client) -> None:
    response = ann.post("/v1/moments", json={"expires_at": "2026-11-20T14:03:11.5+09:00"})
    assert response.json()["expires_at"] == "2026-11-20T05:03:11.500Z"
    assert ann.post("/v1/moments", json={"expires_at": None}).json()["expires_at"] is None
    assert ann.post("/v1/moments", json={}).json()["expires_at"] is None
    for bad in (
        "2026-11-20",
        "2026-11-20T05:03:11",
        "soon",
        5,
        True,
        ["x"],
        "9999999-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
    ):
        value = problem(ann.post("/v1/moments", json={"expires_at": bad}), 422, "input.invalid")
        assert value["params"]["field"] == "expires_at"


def test_a_file_is_sent_as_it_is(ann: httpx2.Client) -> None:
    response = ann.get("/v1/files/a%22b.zip")
    assert response.content == b"\x00bytes"
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == 'attachment; filename="a_b.zip"'


def test_two_people(server: Served, ann: httpx2.Client) -> None:
    ann.put("/v1/things/vault", json={})
    proposed = ann.post("/v1/things/vault/seal")
    assert proposed.status_code == 202
    address = f"/v1/proposals/{proposed.json()['proposal']}/approve"
    problem(ann.post(address), 403, "proposal.same_person")
    with server.client("ben-token") as ben:
        assert ben.post(address).json()["id"] == "vault"
        problem(ben.post(address), 404, "not_found")


class TestWhoAsks:
    @pytest.mark.parametrize(
        "header",
        [None, "Bearer wrong", "Bearer", "Basic YTpi", "ann-token", "Bearer ann-token extra", "Bearer a\tb"],
    )
    def test_anybody_else_is_asked_to_sign_in(self, server: Served, header: str | None) -> None:
        with server.client("") as client:
            response = client.get("/v1/things", headers={"Authorization": header} if header else {})
        problem(response, 401, "auth.required")
        assert response.headers["www-authenticate"].startswith("Bearer")

    def test_a_stranger_learns_nothing_about_the_body(self, server: Served) -> None:
        with server.client("") as stranger:
            problem(stranger.put("/v1/things/x", json={"nonsense": 1}), 401, "auth.required")

    def test_a_public_command_is_open_but_a_bad_token_is_not(self, server: Served) -> None:
        with server.client("") as stranger, server.client("wrong") as wrong:
            assert stranger.get("/v1/knock").status_code == 200
            problem(wrong.get("/v1/knock"), 401, "auth.required")

    def test_a_token_in_the_address_is_no_token(self, server: Served) -> None:
        with server.client("") as stranger:
            problem(stranger.get("/v1/things?token=ann-token"), 401, "auth.required")


class TestDenials:
    @pytest.fixture
    def denied(self, server: Served) -> Iterator[AllowAll]:
        decider = server.world.decider
        assert isinstance(decider, AllowAll)
        decider.denied = {(ANN.ref.id, "toy.thing.put"), (ANN.ref.id, "toy.thing.show")}
        yield decider
        decider.denied = set()

    @pytest.mark.usefixtures("denied")
    def test_a_denial_names_rule_and_record(self, server: Served, ann: httpx2.Client) -> None:
        value = problem(ann.put("/v1/things/no", json={}), 403, "charter.denied")
        assert (value["rules"], value["reason"]) == (["toy-deny"], "The toy charter says no.")
        assert value["errors"] == [{"rule": "toy-deny", "sentence": "The toy charter says no."}]
        assert isinstance(server.world.recorder, Memory)
        assert server.world.recorder.drafts[value["record"]].outcome == "denied"

    @pytest.mark.usefixtures("denied")
    def test_in_the_language_of_the_caller(self, ann: httpx2.Client) -> None:
        value = problem(ann.put("/v1/things/no?lang=ja", json={}), 403, "charter.denied")
        assert value["reason"] == "玩具の憲章は不可です。"
        assert value["detail"] == "憲章により許可されません。玩具の憲章は不可です。"

    def test_what_may_not_be_seen_is_not_found(self, denied: AllowAll, ann: httpx2.Client) -> None:
        denied.denied = {(ANN.ref.id, "toy.thing.show")}
        ann.put("/v1/things/hidden", json={})
        hidden = problem(ann.get("/v1/things/hidden"), 404, "not_found")
        absent = problem(ann.get("/v1/things/absent"), 404, "not_found")
        assert set(hidden) == set(absent)


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "status", "code", "field"),
        [
            (b"{", 400, "input.not_json", None),
            (b"", 200, "", None),
            (b"[]", 400, "input.not_object", None),
            (b"null", 400, "input.not_object", None),
            (b"\xff{}", 400, "input.not_utf8", None),
            (b"\xef\xbb\xbf{}", 400, "input.not_json", None),
            (b'{"name":"a","name":"b"}', 400, "input.duplicate_field", "name"),
            (b'{"nmae":"a"}', 422, "input.unknown_field", "nmae"),
            (b'{"id":"other"}', 422, "input.unknown_field", "id"),
            (b'{"name":1}', 422, "input.invalid", "name"),
            (b'{"amount":"1"}', 422, "input.invalid", "amount"),
            (b'{"amount":1.5}', 422, "input.invalid", "amount"),
            (b'{"amount":null}', 422, "input.invalid", "amount"),
            (b'{"amount":NaN}', 400, "input.malformed", None),
            (b'{"amount":-Infinity}', 400, "input.malformed", None),
            (b'{"amount":1e400}', 422, "input.number_range", "amount"),
            (b'{"amount":9007199254740992}', 422, "input.number_range", "amount"),
            (b'{"amount":' + b"9" * 5000 + b"}", 422, "input.number_range", "amount"),
            (b'{"name":"a\\u0000b"}', 422, "input.bad_character", "name"),
            (b'{"name":"\\ud83d"}', 422, "input.bad_character", "name"),
            (b'{"a\\ud83d":1}', 422, "input.unknown_field", None),
            (b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "input.too_deep", None),
            (b'{"name":' + b"[" * 40 + b"]" * 40 + b"}", 400, "input.too_deep", None),
        ],
    )
    def test_is_one_clear_problem(
        self, ann: httpx2.Client, *, body: bytes, status: int, code: str, field: str | None
    ) -> None:
        response = ann.put("/v1/things/bad", content=body, headers=JSON)
        if status == 200:
            assert response.status_code == 200
            return
        value = problem(response, status, code)
        if field is not None:
            assert value["params"]["field"] == field

    def test_the_nearest_name_is_offered_also_inside(self, ann: httpx2.Client) -> None:
        response = ann.post("/v1/moments", json={"inner": {"x": {"colour": "red", "sizs": []}}})
        value = problem(response, 422, "input.unknown_field")
        assert (value["params"], value["hint"]) == (
            {"field": "inner.x.sizs", "suggestion": "sizes"},
            'Did you mean "sizes"?',
        )

    def test_complaints_are_told_in_both_languages(self, ann: httpx2.Client) -> None:
        english = problem(ann.put("/v1/things/x", json={"amount": "1"}), 422, "input.invalid")
        japanese = problem(ann.put("/v1/things/x?lang=ja", json={"amount": "1"}), 422, "input.invalid")
        assert english["detail"] == "amount: int is needed, not str"
        assert japanese["detail"] == "amount：intが必要ですが、strです"
        assert english["params"] == japanese["params"]

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("limit=x", "input.invalid"),
            ("limit=1&limit=2", "input.duplicate_field"),
            ("limt=1", "input.unknown_field"),
            ("limit=99999999999999999999", "input.invalid"),
            ("lang=fr", "input.invalid"),
            ("cursor=%00", "input.bad_character"),
            ("cursor=%ff", "input.not_utf8"),
            ("&".join(f"a{n}=1" for n in range(200)), "input.malformed"),
        ],
    )
    def test_in_the_query(self, ann: httpx2.Client, query: str, code: str) -> None:
        problem(ann.get(f"/v1/things?{query}"), all_problems()[code].status, code)

    def test_in_the_path(self, ann: httpx2.Client) -> None:
        problem(ann.get("/v1/things/a%00b"), 422, "input.bad_character")

    def test_a_query_beside_a_body_and_a_body_beside_a_query(self, ann: httpx2.Client) -> None:
        problem(ann.put("/v1/things/x?name=a", json={}), 422, "input.unknown_field")
        problem(ann.request("DELETE", "/v1/things/x", json={}), 400, "input.no_body")

    @pytest.mark.parametrize(
        "media", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
    )
    def test_another_kind_of_body(self, ann: httpx2.Client, media: str) -> None:
        headers = {"Content-Type": media} if media else {}
        problem(ann.put("/v1/things/x", content=b"{}", headers=headers), 415, "input.media_type")

    @pytest.mark.parametrize(
        "media", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
    )
    def test_usual_spellings_of_the_right_kind(self, ann: httpx2.Client, media: str) -> None:
        assert ann.put("/v1/things/x", content=b"{}", headers={"Content-Type": media}).status_code == 200

    def test_no_such_address_and_no_such_method(self, ann: httpx2.Client) -> None:
        problem(ann.get("/v1/nothing"), 404, "not_found")
        problem(ann.get("/nothing"), 404, "not_found")
        problem(ann.get("/v1/things/"), 404, "not_found")
        response = ann.post("/v1/things/x", json={})
        problem(response, 405, "input.method")
        assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}

    @pytest.mark.parametrize("key", ["", "a b", "a" * 201, "é".encode("latin-1").decode("latin-1")])
    def test_idempotency_keys_of_another_shape(self, ann: httpx2.Client, key: str) -> None:
        headers = {b"Idempotency-Key": key.encode("latin-1")}
        response = ann.put("/v1/things/x", json={}, headers=headers)
        problem(response, 400, "input.idempotency_key")


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(ann: httpx2.Client) -> None:
    large = b'{"name":"' + b"a" * (1 << 20) + b'"}'
    value = problem(ann.put("/v1/things/x", content=large, headers=JSON), 413, "input.too_large")
    assert value["params"] == {"size": len(large), "limit": 1 << 20}

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(large), 1 << 16):
            yield large[start : start + (1 << 16)]

    problem(ann.put("/v1/things/x", content=chunks(), headers=JSON), 413, "input.too_large")


def test_the_same_key_gets_the_same_answer_and_another_request_under_it_none(ann: httpx2.Client) -> None:
    key = {"Idempotency-Key": "key-1"}
    first = ann.put("/v1/things/once", json={"amount": 1}, headers=key)
    ann.put("/v1/things/once", json={"amount": 2})
    assert ann.put("/v1/things/once", json={"amount": 1}, headers=key).json() == first.json()
    assert ann.get("/v1/things/once").json()["amount"] == 2
    problem(ann.put("/v1/things/once", json={"amount": 9}, headers=key), 422, "idempotency.mismatch")


def test_a_mistake_of_ours_says_nothing_but_its_number(
    ann: httpx2.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    response = ann.get("/v1/broken", params={"secret": "hunter2"})
    value = problem(response, 500, "internal")
    assert value["request_id"] in value["detail"]
    assert "hunter2" not in response.text
    assert "ZeroDivision" not in response.text
    logged = capsys.readouterr().out
    assert value["request_id"] in logged
    assert "ZeroDivisionError at _break" in logged
    assert "hunter2" not in logged


def test_a_handler_that_raises_leaves_nothing_behind(ann: httpx2.Client) -> None:
    problem(ann.put("/v1/things/half", json={"fail": True}), 500, "internal")
    problem(ann.get("/v1/things/half"), 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/things", "/nothing", "/healthz", "/openapi.json"])
def test_every_answer_is_wrapped(ann: httpx2.Client, path: str) -> None:
    headers = ann.get(path).headers
    assert headers["x-request-id"].startswith("req_")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


@pytest.mark.parametrize(
    ("header", "query", "language"),
    [
        ("", "", "en"),
        ("ja", "", "ja"),
        ("ja-JP,ja;q=0.9,en;q=0.8", "", "ja"),
        ("fr, en;q=0.5, ja;q=0.9", "", "ja"),
        ("en, ja", "", "en"),
        ("ja;q=0", "", "en"),
        ("ja;q=x", "", "en"),
        ("ja", "?lang=en", "en"),
        ("en", "?lang=ja", "ja"),
        ("ja", "?lang=fr", "ja"),
    ],
)
def test_the_language_of_problems(ann: httpx2.Client, header: str, query: str, language: str) -> None:
    response = ann.get(f"/v1/nothing{query}", headers={"Accept-Language": header})
    assert response.headers["content-language"] == language
    assert ("見つからない" in response.json()["detail"]) == (language == "ja")


def test_health_and_readiness(server: Served, ann: httpx2.Client) -> None:
    assert ann.get("/healthz").json()["status"] == "ok"
    assert ann.get("/readyz").json() == {"ready": True, "checks": {"database": True, "charter": True}}
    server.ready["charter"] = False
    try:
        response = ann.get("/readyz")
        assert (response.status_code, response.json()["ready"]) == (503, False)
        assert ann.get("/healthz").status_code == 200
    finally:
        server.ready["charter"] = True


def test_figures_are_for_this_machine_and_hold_no_ids(ann: httpx2.Client) -> None:
    ann.get("/v1/things/some-private-id")
    text = ann.get("/metrics").text
    assert 'sekisho_http_answers_total{method="GET",route="/v1/things/{id}"' in text
    assert "sekisho_http_problems_total{code=" in text
    assert "some-private-id" not in text
    for header in ("X-Forwarded-For", "Forwarded"):
        problem(ann.get("/metrics", headers={header: "127.0.0.1"}), 404, "not_found")


def test_log_lines_hold_neither_query_nor_token_nor_unknown_address(
    server: Served, ann: httpx2.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    ann.get("/v1/things?cursor=private-cursor")
    ann.get("/private-address")
    with server.client("") as stranger:
        stranger.get("/v1/things", headers={"Authorization": "Bearer private-token"})
    logged = capsys.readouterr().out
    assert "/v1/things" in logged
    assert ANN.ref.id in logged
    assert "private" not in logged


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Served]:
    """A server with one thread, nobody waiting, and little patience."""
    limits = Limits(threads=1, waiting=0, body_seconds=1, body_bytes=100)
    with kernel_database(tmp_path) as database, served(database, limits=limits) as found:
        yield found


def test_a_body_that_does_not_come_is_given_up(small: Served) -> None:
    with socket.create_connection(("127.0.0.1", small.listener.port), timeout=10) as connection:
        head = (
            "PUT /v1/things/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n"
        )
        connection.sendall(f"{head}Authorization: Bearer ann-token\r\n\r\n{{".encode())
        answer = b""
        while b"input.timeout" not in answer:
            received = connection.recv(65536)
            assert received, answer
            answer += received
    assert answer.startswith(b"HTTP/1.1 408")


def test_beyond_what_may_wait_the_answer_is_busy_at_once(small: Served) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(AllowAll):
        # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
        def decide(self, tx: Tx, request: Request) -> Decision:
            inside.set()
            assert go_on.wait(20)
            return super().decide(tx, request)

    small.world.gate._decider = Slow()
    with small.client() as first, small.client() as second:
        thread = threading.Thread(target=first.get, args=("/v1/things",))
        thread.start()
        assert inside.wait(20)
        try:
            response = second.get("/v1/things")
            problem(response, 503, "busy")
            assert int(response.headers["retry-after"]) > 0
            assert second.get("/healthz").status_code == 200
        finally:
            go_on.set()
            thread.join(20)


def test_a_refusal_keeps_its_english_in_params() -> None:
    refused = RefusedError(all_problems()["input.not_object"])
    assert (refused.params, refused.code) == ({}, "input.not_object")
    assert json.dumps(refused.params) == "{}"
