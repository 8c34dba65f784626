from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent.egress import EgressProxy, parse_head


class Upstream:
    """Echoes what it gets, and remembers it."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.received: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection:
                content = connection.recv(4096)
                self.received.append(content)
                connection.sendall(b"echo " + content)

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


def talk(proxy: EgressProxy, *pieces: bytes) -> bytes:
    """Send pieces, one after each answer, and return everything that came back."""
    received = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(proxy.socket_path))
        for piece in pieces:
            client.sendall(piece)
            received += client.recv(65536)
        client.shutdown(socket.SHUT_WR)
        while chunk := client.recv(65536):
            received += chunk
    return received


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[EgressProxy]:
    running = EgressProxy([f"127.0.0.1:{upstream.port}", f"localhost:{upstream.port}"])
    yield running
    running.close()


def test_a_listed_destination_is_reached(proxy: EgressProxy, upstream: Upstream) -> None:
    got = talk(proxy, f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode(), b"hello")
    assert got == b"HTTP/1.1 200 OK\r\n\r\necho hello"
    assert (proxy.allowed_count, proxy.refused_count) == (1, 0)


@pytest.mark.parametrize(
    "request_line",
    [
        "CONNECT 127.0.0.1:1 HTTP/1.1",
        "CONNECT other.invalid:443 HTTP/1.1",
        "CONNECT 127.0.0.1 HTTP/1.1",
        "CONNECT 2130706433:{port} HTTP/1.1",
        "CONNECT 0x7f.1:{port} HTTP/1.1",
        "CONNECT 127.1:{port} HTTP/1.1",
        "CONNECT [::ffff:127.0.0.1]:{port} HTTP/1.1",
        "CONNECT 127.0.0.1.:{port} HTTP/1.1",
        "CONNECT user@127.0.0.1:{port} HTTP/1.1",
        "POST http://127.0.0.1:{port}/ HTTP/1.1",
        "GET https://127.0.0.1:{port}/ HTTP/1.1",
        "GET / HTTP/1.1",
        "nonsense",
        "",
        "CONNECT 127.0.0.1:99999999999999999999 HTTP/1.1",
        "CONNECT 127.0.0.1:-1 HTTP/1.1",
    ],
)
def test_everything_else_is_refused(proxy: EgressProxy, upstream: Upstream, request_line: str) -> None:
    line = request_line.format(port=upstream.port)
    assert talk(proxy, f"{line}\r\n\r\n".encode()).startswith(b"HTTP/1.1 403 ")
    assert upstream.received == []
    assert (proxy.allowed_count, proxy.refused_count) == (0, 1)


def test_a_listed_name_cannot_be_pointed_at_this_machine(proxy: EgressProxy, upstream: Upstream) -> None:
    """`localhost` is on the list as a name, but where it leads is not global."""
    assert talk(proxy, f"CONNECT localhost:{upstream.port} HTTP/1.1\r\n\r\n".encode()).startswith(
        b"HTTP/1.1 403 "
    )
    permissive = EgressProxy([f"localhost:{upstream.port}"], permit_private=True)
    got = talk(permissive, f"CONNECT localhost:{upstream.port} HTTP/1.1\r\n\r\n".encode(), b"x")
    assert got.endswith(b"echo x")
    permissive.close()


def test_a_plain_request_is_passed_on_once(proxy: EgressProxy, upstream: Upstream) -> None:
    """A second request on the connection could name another host: it is not passed on."""
    first = (
        f"GET http://127.0.0.1:{upstream.port}/a?b HTTP/1.1\r\nHost: x\r\nProxy-Authorization: s\r\n"
        "Connection: keep-alive\r\n\r\n"
    )
    got = talk(proxy, first.encode() + b"GET http://other.invalid/ HTTP/1.1\r\n\r\n")
    assert upstream.received == [b"GET /a?b HTTP/1.1\r\nHost: x\r\nconnection: close\r\n\r\n"]
    assert got == b"echo " + upstream.received[0]


def test_an_endless_head_is_cut(proxy: EgressProxy) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(proxy.socket_path))
        try:
            for _ in range(100):
                client.sendall(b"x" * 65536)
        except OSError:
            return
        assert client.recv(100).startswith(b"HTTP/1.1 403")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_destination_or_none(head: bytes) -> None:
    found = parse_head(head)
    assert found is None or found.port >= 0


def test_closing_removes_the_socket(upstream: Upstream) -> None:
    running = EgressProxy(["x:1"])
    folder = Path(running.folder)
    assert folder.exists()
    running.close()
    assert not folder.exists()
