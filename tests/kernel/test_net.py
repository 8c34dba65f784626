"""The door to the network: listed hosts, HTTPS off loopback, bounded answers, no redirects."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel import net
from sekisho.kernel.errors import SekishoError, UnavailableError
from sekisho.kernel.net import Network


class Provider(http.server.BaseHTTPRequestHandler):
    """Answers what the path asks for, and writes down what it was asked."""

    asked: list[tuple[str, str, bytes]]

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append((self.command, self.path, body))
        contents = {
            "/object": b'{"issuer": "x"}',
            "/list": b"[1]",
            "/text": b"hello",
            "/empty": b"",
            "/bytes": b"\xff\xfe",
            "/large": b'{"a": "' + b"x" * net.ANSWER_BYTES_MAX + b'"}',
            "/just": b'{"a": "' + b"x" * (net.ANSWER_BYTES_MAX - 9) + b'"}',
        }
        content = contents.get(self.path, b"{}")
        self.send_response({"/moved": 302, "/wrong": 400}.get(self.path, 200))
        if self.path == "/moved":
            self.send_header("location", "/object")
            content = b"<html>"
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer  # noqa: N815 - the names that http.server looks for

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name for it
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    asked: list[tuple[str, str, bytes]] = []
    handler = type("Handler", (Provider,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(["http://127.0.0.1", "https://login.example.jp/realm", "plain.example.jp"])
    yield made
    made.close()


def test_an_object_by_get_and_by_post(network: Network, provider: tuple[str, list[Any]]) -> None:
    url, asked = provider
    assert network.get_json(url + "/object") == {"issuer": "x"}
    assert network.post_form(url + "/wrong", {"code": "a b&c"}) == {}
    assert asked == [("GET", "/object", b""), ("POST", "/wrong", b"code=a+b%26c")]


@pytest.mark.parametrize("path", ["/list", "/text", "/empty", "/bytes", "/large", "/moved"])
def test_anything_but_an_object_of_bounded_size_is_no_answer(
    network: Network, provider: tuple[str, list[Any]], path: str
) -> None:
    url, asked = provider
    with pytest.raises(UnavailableError) as caught:
        network.get_json(url + path)
    assert caught.value.params["part"] == "127.0.0.1"
    assert [item[1] for item in asked] == [path], "a redirect is not followed"


def test_an_answer_just_within_the_bound_is_taken(network: Network, provider: tuple[str, list[Any]]) -> None:
    assert len(network.get_json(provider[0] + "/just")["a"]) == net.ANSWER_BYTES_MAX - 9


def test_bytes_are_posted_and_any_status_is_an_answer(
    network: Network, provider: tuple[str, list[Any]]
) -> None:
    url, asked = provider
    assert network.post_bytes(url + "/text", b"x\n", seconds=5, bytes_max=5) == (200, b"hello")
    assert network.post_bytes(url + "/wrong", b"", seconds=5, bytes_max=5) == (400, b"{}")
    assert network.post_bytes(url + "/moved", b"", seconds=5, bytes_max=9) == (302, b"<html>")
    assert [item[1] for item in asked] == ["/text", "/wrong", "/moved"]
    with pytest.raises(UnavailableError):
        network.post_bytes(url + "/text", b"", seconds=5, bytes_max=4)


def test_who_dribbles_an_answer_is_left(network: Network) -> None:
    """Each byte is in time, all of them together are not."""

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.1)

        # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name for it
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            network.post_bytes(f"http://127.0.0.1:{server.server_port}/", b"", seconds=0.5, bytes_max=2000)
        assert time.monotonic() < began + 4
        server.shutdown()


def test_a_host_that_does_not_answer_is_unavailable(
    network: Network, provider: tuple[str, list[Any]]
) -> None:
    free = httpx2.URL(provider[0]).port
    closed = 1 if free != 1 else 2
    with pytest.raises(UnavailableError):
        network.get_json(f"http://127.0.0.1:{closed}/")


NOT_LISTED = [
    "https://evil.example/",
    "https://login.example.jp.evil.example/",
    "https://evil.example/?https://login.example.jp",
    "https://login.example.jp@evil.example/",
    "https://sub.login.example.jp/",
    "http://login.example.jp/",
    "http://plain.example.jp/",
    "ftp://login.example.jp/",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/",
    "http://localhost/",
    "http://2130706433/",
    "//login.example.jp/",
    "login.example.jp",
    "",
    "https://[::1",
    "https://\x00/",
]


@pytest.mark.parametrize("url", NOT_LISTED, ids=ascii)
def test_no_other_address_is_called(network: Network, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*_: Any, **__: Any) -> None:
        pytest.fail("a byte went out")

    monkeypatch.setattr(httpx2.Client, "stream", call)
    with pytest.raises(SekishoError) as caught:
        network.get_json(url)
    assert caught.value.code == "net.not_listed"
    with pytest.raises(SekishoError) as caught:
        network.post_form(url, {})
    assert caught.value.code == "net.not_listed"
    with pytest.raises(SekishoError) as caught:
        network.post_bytes(url, b"", seconds=1, bytes_max=1)
    assert caught.value.code == "net.not_listed"


@pytest.mark.parametrize(
    "url", ["https://login.example.jp/x", "https://LOGIN.example.jp:8443/x", "https://plain.example.jp"]
)
def test_a_listed_host_is_called_over_https(
    network: Network, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*_: Any, **__: Any) -> None:
        raise httpx2.ConnectError("here is where a byte would go out")

    monkeypatch.setattr(httpx2.Client, "stream", call)
    with pytest.raises(UnavailableError):
        network.get_json(url)


@given(st.text(max_size=80))
def test_no_text_is_an_address_to_a_network_without_hosts(url: str) -> None:
    nowhere = Network([])
    with pytest.raises(SekishoError) as caught:
        nowhere.get_json(url)
    assert caught.value.code == "net.not_listed"
    nowhere.close()


def test_the_environments_proxies_are_not_asked(
    monkeypatch: pytest.MonkeyPatch, provider: tuple[str, list[Any]]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    network = Network([provider[0]])
    assert network.get_json(provider[0] + "/object") == {"issuer": "x"}
    network.close()
