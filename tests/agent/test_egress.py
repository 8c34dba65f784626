from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent import egress
from sekisho_agent.egress import EgressProxy, Tally, is_own
from sekisho_agent.hello import HelloError, asked_name
from sekisho_agent.listeners import host_address
from sekisho_wire.egress import ADDRESSES_MAX, REFUSED_MAX, Held, Reached


def hello(name: str | None) -> bytes:
    """The first words of a real TLS client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def split(whole: bytes, size: int) -> bytes:
    """The same handshake in records of at most `size` bytes."""
    body = whole[5:]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(whole[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def with_extensions(*extensions: tuple[int, bytes]) -> bytes:
    """A hello of our own with these extensions."""
    content = b"".join(
        kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body for kind, body in extensions
    )
    body = bytes(34) + b"\0" + b"\0\2\x13\1" + b"\1\0" + len(content).to_bytes(2, "big") + content
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return b"\x16\3\1" + len(message).to_bytes(2, "big") + message


def named(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    entries = b"".join(bytes([kind]) + len(name).to_bytes(2, "big") + name for name in names)
    return 0, len(entries).to_bytes(2, "big") + entries


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
def proxy(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[EgressProxy]:
    monkeypatch.setattr(egress, "HEAD_SECONDS_MAX", 0.5)
    names = [f"127.0.0.1:{upstream.port}", f"localhost:{upstream.port}"]
    running = EgressProxy(names, permit_private=True)
    yield running
    running.close()


def test_a_listed_destination_is_reached(proxy: EgressProxy, upstream: Upstream) -> None:
    first = hello("localhost")
    got = talk(proxy, f"CONNECT localhost:{upstream.port} HTTP/1.1\r\n\r\n".encode(), first)
    assert got == b"HTTP/1.1 200 OK\r\n\r\necho " + first
    proxy.close()
    seen = Reached(f"localhost:{upstream.port}", 1, len(first), len(first) + 5, ["127.0.0.1"])
    assert proxy.tally.report("m").reached == [seen]
    assert proxy.tally.report("m").refused_count == 0


def test_an_address_that_is_listed_is_reached_by_a_client_that_names_none(
    proxy: EgressProxy, upstream: Upstream
) -> None:
    got = talk(proxy, f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode(), hello(None))
    assert got.startswith(b"HTTP/1.1 200 OK\r\n\r\necho \x16")


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (hello("other.example"), "other_name"),
        (hello(None), "other_name"),
        (hello("localhost.example"), "other_name"),
        (b"SSH-2.0-x\r\n", "not_tls"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not_tls"),
        (hello("localhost")[:40], "not_tls"),
        (with_extensions(named(b"localhost"), (0xFE0D, b"x")), "not_tls"),
        (with_extensions(named(b"localhost"), named(b"other.example")), "not_tls"),
        (with_extensions(named(b"localhost", b"other.example")), "not_tls"),
    ],
    ids=["other", "none", "longer", "ssh", "http", "cut", "hidden", "twice", "two names"],
)
def test_only_tls_for_the_very_name_is_passed_on(
    proxy: EgressProxy, upstream: Upstream, first: bytes, reason: str
) -> None:
    talk(proxy, f"CONNECT localhost:{upstream.port} HTTP/1.1\r\n\r\n".encode(), first)
    proxy.close()
    assert b"".join(upstream.received) == b"", "connected, and not a byte of it came through"
    assert proxy.tally.report("m").refused == [Held(f"localhost:{upstream.port}", reason, 1)]


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
        "CONNECT  127.0.0.1:{port} HTTP/1.1",
        "CONNECT 127.0.0.1:{port} HTTP/1.1 ",
        " CONNECT 127.0.0.1:{port} HTTP/1.1",
        "CONNECT 127.0.0.1:{port} HTTP/1.2",
        "CONNECT 127.0.0.1:{port} HTTP/2",
        "CONNECT 127.0.0.1:{port} http/1.1",
        "connect 127.0.0.1:{port} HTTP/1.1",
        "CONNECT 127.0.0.1:+{port} HTTP/1.1",
        "CONNECT 127.0.0.1:0{port} HTTP/1.1",
        "CONNECT 127.0.0.1:{port}\tHTTP/1.1",
        "CONNECT 127.0.0.1:{port}\x0bHTTP/1.1",
        "GET http://127.0.0.1:{port}/ HTTP/1.1\nHost: other.invalid",
        "GET http://127.0.0.1:{port}/\nX: HTTP/1.1",
        "GET http://127.0.0.1:{port}/\rGET / HTTP/1.1",
        "GET http://127.0.0.1:{port}/ HTTP/1.1\x00",
        "GET http://127.0.0.1:{port}/ HTTP/0.9",
        "GET http://127.0.0.1:{port}/ HTTP/1.1 X",
        "GET http://127.0.0.1:{port}/%0 HTTP/1.1",
        "GET http://127.0.0.1:{port}/# HTTP/1.1",
        "GET http://127.0.0.1:{port}\\@other.invalid/ HTTP/1.1",
        "GET http://127.0.0.1:{port}@other.invalid/ HTTP/1.1",
        "GET http://o\tther@127.0.0.1:{port}/ HTTP/1.1",
        "GET http:127.0.0.1:{port}/ HTTP/1.1",
        "OPTIONS http://127.0.0.1:{port}/ HTTP/1.1",
    ],
)
def test_everything_else_is_refused(proxy: EgressProxy, upstream: Upstream, request_line: str) -> None:
    line = request_line.format(port=upstream.port)
    assert talk(proxy, f"{line}\r\n\r\n".encode()).startswith(b"HTTP/1.1 403 ")
    assert upstream.received == []
    assert (proxy.tally.report("m").reached, proxy.tally.report("m").refused_count) == ([], 1)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_nothing_that_is_listed_leads_to_this_machine(upstream: Upstream, host: str) -> None:
    """Neither a name that leads here nor the address itself: the list is the job's, the network the operator's."""
    strict = EgressProxy([f"{host}:{upstream.port}"])
    answer = talk(strict, f"CONNECT {host}:{upstream.port} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert strict.tally.report("m").refused == [Held(f"{host}:{upstream.port}", "address", 1)]
    assert upstream.received == []
    strict.close()


def test_a_name_that_leads_elsewhere_the_next_time_is_looked_at_again(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a good address, then one of this machine's: what was found for one connection is not kept for the next."""
    answers = iter(["127.0.0.1", "169.254.169.254"])

    def resolve(_host: str, port: int, **_: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(egress.socket, "getaddrinfo", resolve)
    proxy = EgressProxy([f"rebound.example:{upstream.port}"], permit_private=True)
    line = f"CONNECT rebound.example:{upstream.port} HTTP/1.1\r\n\r\n".encode()
    assert b"200 OK" in talk(proxy, line, hello("rebound.example"))
    assert talk(proxy, line).startswith(b"HTTP/1.1 403 ")
    proxy.close()


def test_one_that_does_not_answer_is_no_refusal() -> None:
    gone = Upstream()
    gone.close()
    proxy = EgressProxy([f"127.0.0.1:{gone.port}"], permit_private=True)
    answer = talk(proxy, f"CONNECT 127.0.0.1:{gone.port} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 502 ")
    proxy.close()
    assert proxy.tally.report("m").refused_count == 0


def test_the_machine_knows_its_own_addresses() -> None:
    assert is_own(socket.AF_INET, ("127.0.0.1", 443))
    assert is_own(socket.AF_INET, ("127.1.2.3", 443))
    assert not is_own(socket.AF_INET, ("203.0.113.7", 443))
    host = host_address()
    assert host is None or is_own(socket.AF_INET, (host, 443))


def test_an_address_of_this_machine_is_private_however_public_it_is(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if its loopback were an address of the whole world."""

    def anything(_address: str, **_: bool) -> bool:
        return True

    monkeypatch.setattr(egress, "permitted", anything)
    line = f"CONNECT 127.0.0.1:{upstream.port} HTTP/1.1\r\n\r\n".encode()
    for operator_permits, answer in ((False, b"HTTP/1.1 403 "), (True, b"HTTP/1.1 200 ")):
        running = EgressProxy([f"127.0.0.1:{upstream.port}"], permit_private=operator_permits)
        assert talk(running, line).startswith(answer)
        running.close()


def test_a_plain_request_is_passed_on_once(proxy: EgressProxy, upstream: Upstream) -> None:
    """A second request on the connection could name another host: it is not passed on."""
    first = (
        f"GET http://127.0.0.1:{upstream.port}/a?b HTTP/1.1\r\nHost: 127.0.0.1\r\nRange:bytes=0-  \r\n"
        "X-Forwarded-Host: other.invalid\r\nProxy-Authorization: s\r\nConnection: keep-alive\r\n\r\n"
    )
    got = talk(proxy, first.encode() + b"GET http://other.invalid/ HTTP/1.1\r\n\r\n")
    host = f"host: 127.0.0.1:{upstream.port}\r\n"
    passed = f"GET /a?b HTTP/1.1\r\n{host}range: bytes=0-\r\nconnection: close\r\n\r\n".encode()
    assert upstream.received == [passed], "the Host is the listed one, with its port"
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


def test_closing_removes_the_socket(upstream: Upstream) -> None:
    running = EgressProxy(["x:1"])
    folder = Path(running.folder)
    assert folder.exists()
    running.close()
    assert not folder.exists()


@given(st.binary(max_size=400))
def test_any_first_bytes_are_a_name_or_an_error_or_too_few(content: bytes) -> None:
    for received in (content, b"\x16\3\1" + content, b"\x16\3\1" + len(content).to_bytes(2, "big") + content):
        try:
            assert asked_name(received) is None or received[0] == 22
        except HelloError:
            continue


HELLO = hello("data.example.jp")


@given(cut=st.integers(0, len(HELLO) - 1), size=st.integers(1, 400))
def test_a_hello_is_read_however_it_is_cut(cut: int, size: int) -> None:
    assert asked_name(HELLO[:cut]) is None
    assert asked_name(split(HELLO, size)) == "data.example.jp"
    assert asked_name(HELLO + b"early data") == "data.example.jp"


def test_names_are_compared_without_case_and_must_be_one_host() -> None:
    assert asked_name(with_extensions(named(b"Data.Example.JP"))) == "data.example.jp"
    assert asked_name(with_extensions()) == ""
    for extension in (named(b"a", kind=1), named("\u30c7".encode()), (0, b""), (0, b"\0\7\0")):
        with pytest.raises(HelloError):
            asked_name(with_extensions(extension))
    with pytest.raises(HelloError):
        asked_name(b"\x16\3\1\x40\0\1\1\0\0" + bytes(100))


def test_the_tally_stays_small_whatever_is_asked_for() -> None:
    tally = Tally()
    for number in range(3 * REFUSED_MAX):
        tally.refuse(f"{number}.example:443", "not_listed")
    for number in range(3 * ADDRESSES_MAX):
        tally.connect("a.example:443", f"203.0.113.{number}")
    report = tally.report("m")
    assert (len(report.refused), report.refused_count) == (REFUSED_MAX, 3 * REFUSED_MAX)
    (reached,) = report.reached
    assert (reached.connections, len(reached.addresses)) == (3 * ADDRESSES_MAX, ADDRESSES_MAX)
