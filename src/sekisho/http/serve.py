"""Runs the edge on a socket: TLS everywhere off loopback, and no start without it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket  # noqa: TID251 - the listening socket of this server; nothing is connected to from here
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette

from sekisho.http.errors import KEY_EXPOSED, TLS_REQUIRED, RefusedError
from sekisho.kernel.errors import UnavailableError

START_SECONDS = 30
STOP_SECONDS = 20
_HEADER_BYTES_MAX = 32 << 10
_OTHERS = 0o077


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen. Port 0 takes a free one. `certificate` and `key` are PEM files."""

    host: str = "127.0.0.1"
    port: int = 0
    certificate: str = ""
    key: str = ""


class Listener:
    """One server on one bound socket. The socket is open from the start, so its port is known before it serves."""

    def __init__(self, app: Starlette, listen: Listen) -> None:
        """Bind; RefusedError for plain HTTP off loopback or a key others can read, OSError for a taken port."""
        _check(listen)
        self._socket = _bind(listen)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if listen.certificate else 'http'}://{_in_url(listen.host)}:{self.port}"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                ssl_certfile=listen.certificate or None,
                ssl_keyfile=listen.key or None,
                http="h11",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                # A forwarded address would decide rate limits and who sees metrics: the peer's own counts.
                proxy_headers=False,
                h11_max_incomplete_event_size=_HEADER_BYTES_MAX,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )

    def run(self) -> None:
        """Serve until a signal (in the main thread) or `stop`."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Ask the server to finish what it has and end; any thread may."""
        self._server.should_exit = True

    @property
    def stopping(self) -> bool:
        """Whether the server was told to end; open streams ask, because it waits for them."""
        return self._server.should_exit

    @property
    def started(self) -> bool:
        """Whether requests are answered by now."""
        return self._server.started


def serve(app: Starlette, listen: Listen) -> None:
    """Serve in this thread until SIGINT or SIGTERM."""
    Listener(app, listen).run()


@contextlib.contextmanager
def serving(app: Starlette, listen: Listen | None = None) -> Iterator[Listener]:
    """A server in a thread of its own for the length of the block."""
    listener = Listener(app, listen or Listen())
    thread = threading.Thread(target=listener.run, name="http", daemon=True)
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not listener.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise UnavailableError(part=listener.url, seconds=START_SECONDS)
        time.sleep(0.01)
    try:
        yield listener
    finally:
        listener.stop()
        thread.join(STOP_SECONDS + 5)


def _check(listen: Listen) -> None:
    if listen.certificate and listen.key:
        if Path(listen.key).stat().st_mode & _OTHERS:
            raise RefusedError(KEY_EXPOSED)
    elif listen.certificate or listen.key or not _is_loopback(listen.host):
        raise RefusedError(TLS_REQUIRED, host=listen.host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bind(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    # Named TCP, so that asyncio recognises the connections and sends an answer's body without waiting for the
    # acknowledgement of its head: 40 ms for each answer otherwise.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listen.host, listen.port))
    except BaseException:
        bound.close()
        raise
    return bound
