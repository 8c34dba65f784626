"""The loopback port inside the wall, as programs use it that only know TCP proxies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.local import LocalEngine
from tests.agent.engine_suite import finish, make_task

pytestmark = pytest.mark.wall

CLIENT = """
import socket, struct, sys
host, port = sys.argv[1].split(":")

def ask(host, port):
    connection = socket.create_connection(("127.0.0.1", 3128), 10)
    connection.sendall(f"GET http://{host}:{port}/ HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n".encode())
    return connection
"""
RUDE = """
for number in range(30):
    connection = ask(host, port)
    connection.recv(1)
    if number % 3 == 1:
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)
    if number % 3 == 2:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
connection = ask(host, port)
print("got", connection.recv(1000, socket.MSG_WAITALL).count(b"x"))
"""


class Endless:
    """Sends until its peer goes away."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.name = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._send, args=(connection,), daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        with connection:
            try:
                while True:
                    connection.sendall(b"x" * 65_536)
            except OSError:
                return

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def endless() -> Iterator[Endless]:
    running = Endless()
    yield running
    running.close()


def client_task(folder: Path, program: str, upstream: Endless) -> Task:
    return make_task(
        folder,
        "",
        argv=("/usr/bin/python3", "-c", CLIENT + program, upstream.name),
        egress=(upstream.name,),
        egress_private=True,
    )


def test_a_client_that_hangs_up_in_the_middle_harms_nobody_else(
    local_engine: LocalEngine, endless: Endless, tmp_path: Path
) -> None:
    task = client_task(tmp_path, RUDE, endless)
    end = finish(local_engine, task)
    assert local_engine.logs(task.attempt, 0, 10_000) == b"got 1000\n"
    assert end.reason == "finished"


def test_the_first_client_is_not_too_early(
    local_engine: LocalEngine, endless: Endless, tmp_path: Path
) -> None:
    """A shell that asks before anything else finds the port open, also on a machine that is slow to start others."""
    run = "exec 3<>/dev/tcp/127.0.0.1/3128 && echo open"
    task = make_task(tmp_path, "", argv=("/usr/bin/bash", "-c", run), egress=(endless.name,))
    finish(local_engine, task)
    assert local_engine.logs(task.attempt, 0, 10_000) == b"open\n"


def test_a_job_without_destinations_has_no_port(local_engine: LocalEngine, tmp_path: Path) -> None:
    task = make_task(tmp_path, "", argv=("/usr/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/3128"))
    finish(local_engine, task)
    assert b"Connection refused" in local_engine.logs(task.attempt, 0, 10_000)
