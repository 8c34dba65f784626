"""What `make run` decides before and while an example runs; the run itself is the test of the rest."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.main_job.__main__ import EXAMPLES, chosen
from scripts.main_job.example import folder_of
from scripts.main_job.processes import StepFailedError
from scripts.main_job.relay import Relay
from scripts.main_job.story import Members
from tests.journeys.world import until
from tests.support import components, tree


def test_the_main_job_is_what_nobody_has_to_name() -> None:
    assert chosen({}).name == chosen({"EXAMPLE": ""}).name == "japanese-lm"
    assert chosen({"EXAMPLE": "robot-arm"}).name == "robot-arm"


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_an_example_has_its_files(example: object) -> None:
    found = chosen({"EXAMPLE": getattr(example, "name", "")})
    assert found is example
    for path in (
        found.federation,
        found.lock,
        *(folder_of(found.name) / name for name in ("job.yaml", "work")),
    ):
        assert path.exists(), path


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"EXAMPLE": "../japan"}, "EXAMPLE"),
        ({"EXAMPLE": "Robot-arm"}, "japanese-lm, robot-arm"),
        ({"EXAMPLE": "robot-arm", "TEXT": "folder"}, "TEXT"),
        ({"EXAMPLE": "robot-arm", "IMAGE": "cuda"}, "IMAGE"),
    ],
)
def test_what_no_example_would_heed_is_refused(environment: dict[str, str], word: str) -> None:
    with pytest.raises(StepFailedError, match=word):
        chosen(environment)


def test_a_refusal_is_one_line_and_no_step_was_done() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.main_job"],
        cwd=tree.ROOT,
        env=os.environ | {"EXAMPLE": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_each_change_of_a_member_is_told_once() -> None:
    members = Members()

    def told(*states: str) -> list[str]:
        sites = {"waiting": ""}
        seen = [
            {"index": index, "state": state, "site_name": sites.get(state, "edge")}
            for index, state in enumerate(states)
        ]
        return list(members.changed(seen))

    assert told("waiting", "waiting") == []
    assert told("staging", "waiting") == ["Placed      #0 at edge"]
    assert told("running", "waiting") == []
    assert told("succeeded", "failed") == [
        "Succeeded   #0 at edge",
        "Placed      #1 at edge",
        "Failed      #1 at edge",
    ]
    assert told("succeeded", "failed") == []


# ------------------------------------------------------------------------------------------------ the line
@pytest.fixture
def echo() -> Iterator[int]:
    """A port that answers with what it got."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while content := connection.recv(1 << 16):
                    connection.sendall(content)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def near(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(relay.url.rpartition(":")[2])), timeout=10)


def exchanged(connection: socket.socket, content: bytes) -> bytes:
    """What comes back, or nothing where the line was cut."""
    try:
        connection.sendall(content)
        got = b""
        while len(got) < len(content) and (piece := connection.recv(1 << 16)):
            got += piece
    except OSError:
        return b""
    return got


def test_a_line_passes_bytes_until_it_is_cut_and_again_when_it_is_mended(echo: int) -> None:
    with Relay(echo).running() as relay:
        large = os.urandom(1 << 20)
        with near(relay) as first, near(relay) as second:
            assert exchanged(first, b"hello") == b"hello"
            assert exchanged(second, large[: 1 << 16]) == large[: 1 << 16]
            relay.cut()
            assert exchanged(first, b"lost") == exchanged(second, b"lost") == b""
        with near(relay) as while_cut:
            assert exchanged(while_cut, b"lost") == b""
        relay.mend()
        with near(relay) as again:
            assert exchanged(again, b"hello") == b"hello"


def test_a_line_to_nowhere_ends_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Relay(port).running() as relay, near(relay) as connection:
        assert exchanged(connection, b"hello") == b""


def test_what_runs_in_a_namespace_ends_with_who_started_it() -> None:
    components.program("setpriv", package="util-linux")
    program = (
        "import subprocess, sys; from scripts.main_job.apart import ENDED_WITH_US;"
        " child = subprocess.Popen([*ENDED_WITH_US, 'sleep', '60']); print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=tree.ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        until(lambda: _doing(child) == "sleep", what="the start")
        parent.kill()
    until(lambda: _doing(child) == "", what="the end")


def _doing(pid: int) -> str:
    """The name of what a process runs; nothing where it has ended, taken up by its parent or not."""
    try:
        name, _, state = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except FileNotFoundError:
        return ""
    return "" if state.split()[0] == "Z" else name
