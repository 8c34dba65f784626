"""Which addresses an agent calls when somebody says that a custodian is there."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from sekisho_agent import egress
from sekisho_agent.client import open_custodian, post
from sekisho_agent.errors import ConfigError, UnreachableError
from sekisho_wire.custody import CustodyError
from tests.support.tls import self_signed


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers the name that it was asked by, and what it was sent."""

    def do_POST(self) -> None:
        said = self.headers["host"].encode() + b" " + self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def echo(files: tuple[Path, Path]) -> Iterator[int]:
    """A server on this machine, over TLS; its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def asked(url: str, ca_file: Path | None = None, *, permit_private: bool = True) -> bytes:
    """What one question is answered."""
    way = open_custodian(url, seconds=5.0, ca_file=ca_file, permit_private=permit_private)
    with way as client:
        return post(client, url + "/release", b"body", media_type="text/plain")[1]


def leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Every name leads to these from now on; answers the names that were looked up."""
    names: list[str] = []
    resolve = socket.getaddrinfo

    def said(host: str, port: int, *rest: Any, **_: Any) -> list[Any]:
        if host in addresses:
            return list(resolve(host, port, *rest))
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(egress.socket, "getaddrinfo", said)
    return names


def test_the_certificate_is_that_of_the_name_at_the_address_that_was_judged(tmp_path: Path) -> None:
    files = self_signed(tmp_path)
    with echo(files) as port:
        assert asked(f"https://localhost:{port}", files[0]) == f"localhost:{port} body".encode()
        with pytest.raises(UnreachableError):
            asked(f"https://127.0.0.1:{port}", files[0])
        with pytest.raises(UnreachableError):
            asked(f"https://localhost:{port}")


def test_a_name_that_leads_elsewhere_after_it_was_judged_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked up once: who answers for a name cannot say one thing to the judge and another to the call."""
    files = self_signed(tmp_path)
    with echo(files) as port:
        names = leads_to(monkeypatch, "127.0.0.1")
        url = f"https://localhost:{port}"
        with open_custodian(url, seconds=5.0, ca_file=files[0], permit_private=True) as client:
            later = leads_to(monkeypatch, "127.0.0.1", "192.0.2.1")
            assert post(client, url, b"", media_type="text/plain")[0] == 200
        assert (names, later) == (["localhost"], [])


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True),
        ("10.0.0.7", True),
        ("fd00::1", True),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("fe80::1", False),
        ("224.0.0.1", False),
        ("::", False),
        ("64:ff9b::a00:1", False),
    ],
)
def test_no_name_leads_into_the_sites_networks(
    monkeypatch: pytest.MonkeyPatch, address: str, *, private: bool
) -> None:
    leads_to(monkeypatch, address)
    for permitted in (False, True):
        if permitted and private:
            open_custodian("https://keys.example", seconds=1.0, ca_file=None, permit_private=True).close()
            continue
        with pytest.raises(CustodyError) as caught:
            open_custodian("https://keys.example", seconds=1.0, ca_file=None, permit_private=permitted)
        assert caught.value.code == "custody.address"


def test_a_name_of_nobodys_and_plain_http_reach_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(host: str, port: int, **_: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} {port}")

    monkeypatch.setattr(egress.socket, "getaddrinfo", nothing)
    with pytest.raises(UnreachableError):
        asked("https://keys.example.invalid")
    with pytest.raises(ConfigError):
        asked("http://192.0.2.1")
