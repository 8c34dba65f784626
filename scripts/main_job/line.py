"""The line between a landmark's network namespace and this machine's own: as long as it is told to be.

A landmark in a namespace reaches nothing but Unix sockets in its folder. Streams go to the control plane; datagrams to
the site's agent, each held for half of the line's length on its way there and on its way back.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.main_job.relay import pump
from tests.support.delayline import Held

STREAM, OUT, BACK = "control", "out", "back"
DATAGRAM_BYTES = 2048
_MS_PER_S = 1000


class Line:
    """One landmark's way out. `stretch` sets how many milliseconds it adds there and back."""

    def __init__(self, folder: Path, *, control_port: int, answer_port: int) -> None:
        """The sockets are in `folder`, whose path must be short."""
        self._folder = folder
        self._control_port = control_port
        self._streams = socket.socket(socket.AF_UNIX)
        self._streams.bind(str(folder / STREAM))
        self._streams.listen()
        self._near = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._near.bind(str(folder / OUT))
        self._far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._far.connect(("127.0.0.1", answer_port))
        self._stop, self._stopped = os.pipe()
        self._held = Held(0.0)

    def stretch(self, added_ms: float) -> None:
        """From now on the line adds this much there and back."""
        self._held = Held(added_ms / 2 / _MS_PER_S)

    @contextlib.contextmanager
    def running(self) -> Iterator[Line]:
        """Carry for the length of the block."""
        threads = [threading.Thread(target=work, daemon=True) for work in (self._accept, self._pass)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            os.write(self._stopped, b".")
            # Closing alone would leave the thread waiting in accept.
            self._streams.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for end in (self._streams, self._near, self._far):
                end.close()
            os.close(self._stop)
            os.close(self._stopped)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._streams.accept()
                threading.Thread(target=self._stream, args=(near,), daemon=True).start()

    def _stream(self, near: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            near,
            socket.create_connection(("127.0.0.1", self._control_port)) as far,
        ):
            pump(near, far)

    def _pass(self) -> None:
        back = str(self._folder / BACK)
        nothing: list[int] = []
        while True:
            held = self._held
            ready, _, _ = select.select(
                [self._near, self._far, self._stop], nothing, nothing, held.patience()
            )
            if self._stop in ready:
                return
            arrived = time.monotonic()
            for source in (self._near, self._far):
                if source in ready:
                    with contextlib.suppress(OSError):
                        packet = source.recv(DATAGRAM_BYTES)
                        there = source is self._near
                        go = (
                            functools.partial(self._far.send, packet)
                            if there
                            else functools.partial(self._near.sendto, packet, back)
                        )
                        held.put(arrived, go)
            held.let_go()
