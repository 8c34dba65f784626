"""A line that is longer than it is: datagrams through this process arrive a given time later, never sooner.

    python delayline.py HOST:PORT MILLISECONDS      prints the port it listens on; ends when its standard input does

The kernel's own delay (netem) is not everywhere. Each datagram is held until its time, the last 1.5 ms by spinning,
because a sleeping process is woken late. Standard library only; runs in a process of its own so that nothing else's
interpreter lock is in the way.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

SPIN_SECONDS = 0.0015
CLIENTS_MAX = 16


@contextlib.contextmanager
def running(host: str, port: int, *, milliseconds: float) -> Iterator[int]:
    """The port of a line to `host:port` that adds this much in each direction."""
    command = [sys.executable, __file__, f"{host}:{port}", str(milliseconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as line:
        assert line.stdin is not None
        assert line.stdout is not None
        try:
            yield int(line.stdout.readline())
        finally:
            line.stdin.close()
            line.wait(10)


class Held:
    """What is on its way, the earliest first; each thing is let go by calling it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def put(self, arrived: float, let_go: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (arrived + self._seconds, self._count, let_go))

    def patience(self) -> float:
        """How long may be slept: half a second where nothing waits."""
        return max(0.0, self._queue[0][0] - time.monotonic() - SPIN_SECONDS) if self._queue else 0.5

    def let_go(self) -> None:
        """Everything that is due."""
        while self._queue and self._queue[0][0] <= time.monotonic():
            with contextlib.suppress(OSError):
                heapq.heappop(self._queue)[2]()


class _Line:
    """The line's two ends: one socket near, one socket far for each client."""

    def __init__(self, target: tuple[str, int], seconds: float) -> None:
        self._target = target
        self._held = Held(seconds)
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._near.bind(("127.0.0.1", 0))
        self._far: dict[tuple[str, int], socket.socket] = {}
        self.port: int = self._near.getsockname()[1]

    def run(self) -> None:
        nothing: list[socket.socket] = []
        while True:
            ways = [self._near, *self._far.values(), sys.stdin]
            ready, _, _ = select.select(ways, nothing, nothing, self._held.patience())
            arrived = time.monotonic()
            if sys.stdin in ready:
                return
            if self._near in ready:
                self._there(arrived)
            for client, way in self._far.items():
                if way in ready:
                    self._back(arrived, client, way)
            self._held.let_go()

    def _there(self, arrived: float) -> None:
        with contextlib.suppress(OSError):
            packet, client = self._near.recvfrom(2048)
            if client not in self._far and len(self._far) < CLIENTS_MAX:
                self._far[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._far[client].connect(self._target)
            if client in self._far:
                self._held.put(arrived, functools.partial(self._far[client].send, packet))

    def _back(self, arrived: float, client: tuple[str, int], way: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._held.put(arrived, functools.partial(self._near.sendto, way.recv(2048), client))


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    line = _Line((host, int(port)), float(sys.argv[2]) / 1000)
    sys.stdout.write(f"{line.port}\n")
    sys.stdout.flush()
    line.run()


if __name__ == "__main__":
    main()
