"""What the overlay between the walls of a gang costs: bytes per second and round trips, against plain loopback TCP.

Two payloads of one gang of the local engine send to each other over their interfaces; so do two plain processes of this
machine over loopback, with the same program, in turns. On one machine both relays are threads of one process and share
the processors with the payloads: on two machines each has its own, and the network between them is the other bound.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.harness import goal, report
from sekisho_agent.config import AgentConfig
from sekisho_agent.engines.local import LocalEngine
from tests.agent.engine_suite import make_task, wait_end

ROUNDS, WARM_UP = 7, 1
PYTHON = "/usr/bin/python3"
PROGRAM = """
import json, os, socket, time
RANK, HOST, PORT = int(os.environ["RANK"]), os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
STREAM_BYTES, CHUNK, TRIPS = 1 << 29, bytes(1 << 20), 2000

def exactly(connection, size):
    buffer = bytearray(1 << 20)
    while size:
        size -= connection.recv_into(buffer, min(size, len(buffer)))

if RANK == 0:
    server = socket.create_server((HOST, PORT))
    connection, _ = server.accept()
else:
    while True:
        try:
            connection = socket.create_connection((HOST, PORT))
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
if RANK == 0:
    begun = time.perf_counter()
    exactly(connection, STREAM_BYTES)
    rate = STREAM_BYTES / (time.perf_counter() - begun)
    for _ in range(TRIPS):
        connection.sendall(connection.recv(1))
    print(json.dumps({"event": "progress", "bytes_per_second": int(rate)}), flush=True)
    connection.recv(1)
else:
    for _ in range(STREAM_BYTES // len(CHUNK)):
        connection.sendall(CHUNK)
    connection.sendall(b"x")
    connection.recv(1)
    begun = time.perf_counter()
    for _ in range(TRIPS - 1):
        connection.sendall(b"x")
        connection.recv(1)
    trip = (time.perf_counter() - begun) / (TRIPS - 1)
    print(json.dumps({"event": "progress", "trip_us": int(trip * 1e6)}), flush=True)
"""


def over_the_overlay(engine: LocalEngine, folder: Path) -> tuple[float, float]:
    """Bytes per second and microseconds of a round trip, between two walls."""
    task = make_task(folder, "", argv=(PYTHON, "-c", PROGRAM), nodes=2)
    engine.submit(task)
    wait_end(engine, task)
    lines = engine.logs(task.attempt, 0, 1 << 20).decode().replace("[1] ", "").splitlines()
    return _figures(lines)


def over_loopback() -> tuple[float, float]:
    """The same between two plain processes."""
    port = str(20_000 + os.getpid() % 10_000)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PATH": "/usr/bin:/bin"}
    processes = [
        subprocess.Popen(
            [PYTHON, "-c", PROGRAM], env={**place, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    return _figures([process.communicate(timeout=60)[0].strip() for process in processes])


def _figures(lines: list[str]) -> tuple[float, float]:
    found: dict[str, float] = {}
    for line in lines:
        found |= json.loads(line)
    return found["bytes_per_second"], found["trip_us"]


def main() -> int:
    """Both in turns."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        values = {"control_url": "https://control.invalid", "state_dir": name, "capacity": {"attempts": 4}}
        engine = LocalEngine(msgspec.convert(values, AgentConfig))
        hindrance = engine.capabilities().limits["nodes"]
        if engine.capabilities().nodes == 1:
            print(f"NOT MEASURED, no overlay: {hindrance}", file=sys.stderr)
            return 1
        ways: dict[str, Callable[[], tuple[float, float]]] = {
            "overlay": lambda: over_the_overlay(engine, folder),
            "loopback": over_loopback,
        }
        rounds = [{way: run() for way, run in ways.items()} for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
        engine.close()
    for way in ways:
        figures[f"{way}_mb_per_s"] = statistics.median(one[way][0] for one in rounds) / 1e6
        figures[f"{way}_trip_us"] = statistics.median(one[way][1] for one in rounds)
    rate = statistics.median(one["overlay"][0] / one["loopback"][0] for one in rounds)
    trip = statistics.median(one["overlay"][1] / one["loopback"][1] for one in rounds)
    goals = [goal("peers_throughput", rate, ">=", 0.08), goal("peers_round_trip", trip, "<=", 25.0)]
    return report("peers", goals, figures)


if __name__ == "__main__":
    sys.exit(main())
