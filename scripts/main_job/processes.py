"""Programs that the main job starts, each watched and ended with it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

START_SECONDS = 60
STOP_SECONDS = 20


class StepFailedError(Exception):
    """A step did not do what it should; the text says which, and where its log is."""


def program(name: str) -> list[str]:
    """A program of this environment, by its module so that no PATH decides."""
    return [sys.executable, "-m", name]


def run(command: Sequence[str], *, env: dict[str, str], log: Path, stdin: str = "") -> str:
    """Run to the end and answer standard output; StepFailedError with the log's last lines otherwise."""
    with log.open("ab") as errors:
        done = subprocess.run(
            command,
            env=os.environ | env,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            check=False,
        )
    if done.returncode:
        raise StepFailedError(f"{' '.join(command[2:4])} ended with {done.returncode}\n{tail(log)}")
    return done.stdout


@contextlib.contextmanager
def running(command: Sequence[str], *, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server for the length of the block, in a session of its own so that Ctrl-C reaches us first."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=os.environ | env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port(wanted: int) -> int:
    """`wanted` when nobody has it, else one that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found: int = probe.getsockname()[1]
                return found
    raise StepFailedError("no port is free on loopback")


def wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once somebody answers on the port; StepFailedError when the process ends first."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise StepFailedError(f"the server did not start\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])
