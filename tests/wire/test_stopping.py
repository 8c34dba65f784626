"""A signal ends a program, whatever its main thread holds at that moment."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support import tree

PROGRAM = """
import threading
from sekisho_wire.stopping import stop_at
ended = threading.Event()
stop_at(ended.set)
print("ready", flush=True)
while not ended.wait(0):
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_that_looks_at_its_event_all_the_time_ends(number: signal.Signals) -> None:
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=tree.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as program:
            assert program.stdout
            assert program.stdout.readline() == b"ready\n"
            program.send_signal(number)
            program.send_signal(number)
            try:
                assert program.wait(20) == 0
            finally:
                program.kill()
