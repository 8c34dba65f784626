"""The witness over HTTP: statuses and media types of C2SP, bounds, slow and rude callers, TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from sekisho_guarantor import door
from sekisho_guarantor.config import LogConfig, WitnessConfig
from sekisho_guarantor.door import GuarantorServer
from sekisho_guarantor.errors import GuarantorError
from sekisho_wire.witnessing import REQUEST_BYTES_MAX
from tests.guarantor.world import LOG, NAME, GrowingLog, House
from tests.verify.builders import ORIGIN


def _config(folder: Path, *, port: int = 0, certificate: str = "", key: str = "") -> WitnessConfig:
    logs = [LogConfig(ORIGIN, [LOG.key.vkey])]
    return WitnessConfig(NAME, str(folder), logs, port=port, certificate=certificate, key=key)


@pytest.fixture
def port(house: House) -> Iterator[int]:
    with GuarantorServer(house.witness, _config(house.folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def _ask(port: int, body: bytes, *, path: str = "/add-checkpoint", method: str = "POST") -> httpx2.Response:
    return httpx2.request(method, f"http://127.0.0.1:{port}{path}", content=body, timeout=10, trust_env=False)


def test_a_checkpoint_is_cosigned_over_http(port: int) -> None:
    log = GrowingLog()
    answer = _ask(port, log.request(0, 4))
    assert answer.status_code == 200
    assert answer.text.startswith(f"\u2014 {NAME} ")
    conflict = _ask(port, log.request(0, 6))
    told = (conflict.status_code, conflict.headers["content-type"], conflict.content)
    assert told == (409, "text/x.tlog.size", b"4\n")


def test_one_connection_carries_many_requests(port: int) -> None:
    log = GrowingLog()
    with httpx2.Client(timeout=10, trust_env=False) as client:
        for old, size in ((0, 1), (1, 2), (2, 9)):
            answer = client.post(f"http://127.0.0.1:{port}/add-checkpoint", content=log.request(old, size))
            assert answer.status_code == 200


def test_it_says_that_it_is_alive(port: int, house: House) -> None:
    answer = _ask(port, b"", path="/healthz", method="GET")
    assert answer.status_code == 200
    assert house.key.vkey in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("POST", "/", 404), ("POST", "/healthz", 404), ("PUT", "/add-checkpoint", 501)],
)
def test_nothing_else_is_there(port: int, method: str, path: str, status: int) -> None:
    assert _ask(port, b"old 0\n", path=path, method=method).status_code == status


def test_a_long_body_is_refused_before_it_is_read(port: int) -> None:
    for length in (str(REQUEST_BYTES_MAX + 1), "9" * 30):
        raw = f"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        assert b" 413 " in _raw(port, raw.encode()).partition(b"\r\n")[0]


@pytest.mark.parametrize("headers", ["", "Content-Length: -1\r\n", "Content-Length: x\r\n"])
def test_a_body_without_a_length_is_refused(port: int, headers: str) -> None:
    raw = f"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
    assert b" 411 " in _raw(port, raw.encode()).partition(b"\r\n")[0]


def test_two_lengths_of_one_body_are_refused(port: int) -> None:
    raw = (
        b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert b" 411 " in _raw(port, raw).partition(b"\r\n")[0]


def _raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        return connection.recv(65536)


def test_a_body_that_ends_early_is_refused(port: int, house: House) -> None:
    body = GrowingLog().request(0, 4)
    head = f"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.recv(65536)
    assert house.size() == 0


def test_who_dribbles_is_cut_off(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte at a time keeps a connection for the length of one request, not for ever."""
    monkeypatch.setattr(door, "REQUEST_SECONDS", 0.5)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setblocking(False)  # noqa: FBT003 - the socket's own way to say it
        while not _ended(connection) and time.monotonic() < began + 8:
            time.sleep(0.1)
    assert time.monotonic() < began + 5


def _ended(connection: socket.socket) -> bool:
    """One more byte; whether the other side has had enough."""
    try:
        connection.send(b"P")
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_one_address_cannot_take_every_place(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PER_PEER", 2)
    held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(2)]
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as third:
        assert third.recv(1) == b""
    for connection in held:
        connection.close()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            assert _ask(port, b"", path="/healthz", method="GET").status_code == 200
            return
        except httpx2.HTTPError:
            time.sleep(0.05)
    pytest.fail("the places were not given back")


def test_a_mistake_of_ours_is_no_answer_and_no_end(
    port: int, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(_body: bytes) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(house.witness, "add_checkpoint", fall)
        with pytest.raises(httpx2.HTTPError):
            _ask(port, b"x")
    assert _ask(port, GrowingLog().request(0, 4)).status_code == 200


def test_a_taken_port_is_said(port: int, house: House) -> None:
    with pytest.raises(GuarantorError) as refused:
        GuarantorServer(house.witness, _config(house.folder, port=port))
    assert refused.value.code == "guarantor.address_unusable"


def test_tls_end_to_end(house: House, tmp_path: Path, tls_files: tuple[Path, Path]) -> None:
    certificate, key = tls_files
    config = _config(house.folder, certificate=str(certificate), key=str(key))
    with GuarantorServer(house.witness, config) as server:
        assert server.url.startswith("https://")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        trusted = ssl.create_default_context(cafile=str(certificate))
        where = f"https://localhost:{server.server_address[1]}/add-checkpoint"
        answer = httpx2.post(where, content=GrowingLog().request(0, 4), verify=trusted, trust_env=False)
        assert answer.status_code == 200
        server.shutdown()
        thread.join()


def test_a_certificate_that_is_none_is_said(house: House, tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("none\n")
    with pytest.raises(GuarantorError) as refused:
        GuarantorServer(
            house.witness,
            _config(house.folder, certificate=str(tmp_path / "none.pem"), key=str(tmp_path / "none.pem")),
        )
    assert refused.value.code == "guarantor.config_invalid"
