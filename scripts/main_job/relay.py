"""A line between a site and the control plane that can be cut, as a factory's now and then is."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator

CHUNK_BYTES = 1 << 16


class Relay:
    """Passes bytes on to one port of this machine until it is cut; then every connection ends, also new ones."""

    def __init__(self, port: int) -> None:
        """Listen on a port that the system gives."""
        self._port = port
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._cut = False
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Where the site finds the control plane."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Relay]:
        """Serve for the length of the block."""
        thread = threading.Thread(target=self._accept, name="relay", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            # Closing alone would leave the thread waiting in accept.
            self._listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            self._listener.close()
            self.cut()

    def cut(self) -> None:
        """End what is open and let nothing through any more."""
        with self._guard:
            self._cut = True
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections through again."""
        with self._guard:
            self._cut = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(near,), name="relay-line", daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            near,
            socket.create_connection(("127.0.0.1", self._port)) as far,
        ):
            ends = {near, far}
            with self._guard:
                if self._cut:
                    return
                self._open |= ends
            try:
                pump(near, far)
            finally:
                with self._guard:
                    self._open -= ends


def pump(near: socket.socket, far: socket.socket) -> None:
    """Copy both ways until either end closes."""
    with selectors.DefaultSelector() as ready:
        ready.register(near, selectors.EVENT_READ, far)
        ready.register(far, selectors.EVENT_READ, near)
        while True:
            for key, _ in ready.select():
                source, target = key.fileobj, key.data
                if not isinstance(source, socket.socket):
                    return
                content = source.recv(CHUNK_BYTES)
                if not content:
                    return
                target.sendall(content)
