"""A guarantor on a socket: HTTP/1.1 by the standard library, every wait and every size bounded.

A connection has `REQUEST_SECONDS` for each request, idle time included, whatever it dribbles; one address may hold
`PER_PEER` connections and all together `CONNECTIONS`, beyond which a connection is closed unanswered. Whose commands
must never wait behind a crowd gets a server of its own: places are counted for each.

`GET /metrics` counts the answers by path and code, in Prometheus's text format: what was refused too.
"""

from __future__ import annotations

import http.server
import io
import socket
import ssl
import sys
import threading
import time
import traceback
from collections import Counter
from http import HTTPStatus
from typing import Any

import msgspec
import structlog

from sekisho_guarantor.answers import TEXT_MEDIA, Answer, Listening, Program
from sekisho_guarantor.errors import ADDRESS_UNUSABLE, CONFIG_INVALID, GuarantorError

REQUEST_SECONDS = 30.0
CONNECTIONS = 128
PER_PEER = 32
METRICS_MEDIA = "text/plain; version=0.0.4; charset=utf-8"
ANSWERS = "sekisho_guarantor_answers_total"

logger = structlog.get_logger("sekisho.guarantor")


class Counts:
    """Answers by path and code, from any thread. Both come from short lists of our own, never from outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str]] = Counter()

    def add(self, path: str, code: str) -> None:
        """One more answer; `code` is the problem's, or the status where there is none."""
        with self._lock:
            self._answers[path, code] += 1

    def exposed(self) -> bytes:
        """All of them, as Prometheus reads it."""
        with self._lock:
            found = sorted(self._answers.items())
        lines = [f'{ANSWERS}{{path="{path}",code="{code}"}} {count}' for (path, code), count in found]
        return "\n".join([f"# TYPE {ANSWERS} counter", *lines, ""]).encode()


class _Bounded(io.RawIOBase):
    """Reads from a connection until a moment that each request sets anew."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.until = time.monotonic() + REQUEST_SECONDS

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def readable(self) -> bool:
        """Yes."""
        return True

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def readinto(self, buffer: Any) -> int:
        """As a socket's file, but the time left is for the whole request."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection. Its class is made per server, with the program in it."""

    protocol_version = "HTTP/1.1"
    server_version = "sekisho-guarantor"
    sys_version = ""
    disable_nagle_algorithm = (
        True  # head and body are two writes; the second must not wait 40 ms for the first
    )
    program: Program
    counts: Counts

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def setup(self) -> None:
        """The TLS handshake is done here, in the connection's own thread and time."""
        self.request.settimeout(REQUEST_SECONDS)
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        super().setup()
        self._bounded = _Bounded(self.connection)
        self.rfile = io.BufferedReader(self._bounded)

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def handle_one_request(self) -> None:
        """Each request has its own time."""
        self._bounded.until = time.monotonic() + REQUEST_SECONDS
        super().handle_one_request()

    def do_POST(self) -> None:
        """Hand a whole body of bounded length to the program."""
        length = self.headers.get("content-length", "")
        most = self.program.paths.get(self.path)
        if most is None:
            self._answer(_plain(HTTPStatus.NOT_FOUND), close=True)
        elif "transfer-encoding" in self.headers or not length.isascii() or not length.isdecimal():
            self._answer(_plain(HTTPStatus.LENGTH_REQUIRED), close=True)
        elif len(length) > 9 or int(length) > most:  # noqa: PLR2004 - digits of any real length
            self._answer(_plain(HTTPStatus.REQUEST_ENTITY_TOO_LARGE), close=True)
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self._answer(self.program.ends_early(self.path), close=True)
            else:
                scheme, _, token = self.headers.get("authorization", "").partition(" ")
                self._answer(self.program.post(self.path, body, token if scheme == "Bearer" else ""))

    def do_GET(self) -> None:
        """Say that the program is alive, or what it has answered."""
        if self.path == "/healthz":
            self._answer(Answer(200, "application/json", msgspec.json.encode(self.program.alive()) + b"\n"))
        elif self.path == "/metrics":
            self._answer(Answer(200, METRICS_MEDIA, self.counts.exposed()))
        else:
            self._answer(_plain(HTTPStatus.NOT_FOUND))

    def _answer(self, answer: Answer, *, close: bool = False) -> None:
        if self.command == "POST" and self.path in self.program.paths:
            self.counts.add(self.path, answer.code or str(answer.status))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's names
        """Nothing: what was asked is logged by the program, without text from outside."""


class GuarantorServer(http.server.ThreadingHTTPServer):
    """One bound socket; `serve_forever` and `shutdown` as the standard library has them."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, program: Program, config: Listening, counts: Counts | None = None) -> None:
        """Bind; `guarantor.address_unusable` for a taken port, `guarantor.config_invalid` for a wrong certificate.

        Servers of one program share its `counts`.
        """
        self.address_family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        self._guard = threading.Lock()
        self._peers: Counter[str] = Counter()
        handler = type("Handler", (_Handler,), {"program": program, "counts": counts or Counts()})
        tls = _tls(config)
        try:
            super().__init__((config.host, config.port), handler)
        except OSError as error:
            where = f"{config.host}:{config.port}"
            raise GuarantorError(ADDRESS_UNUSABLE, address=where, what=error.strerror or "") from error
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"{'https' if tls else 'http'}://{host}:{self.server_address[1]}"

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more connection from there."""
        peer = str(client_address[0])
        with self._guard:
            room = self._peers[peer] < PER_PEER and self._peers.total() < CONNECTIONS
            if room:
                self._peers[peer] += 1
            return room

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Give the place back at the end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self._peers[str(client_address[0])] -= 1
                self._peers += Counter()

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news; a mistake of ours is, without text from outside."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            logger.error("request_failed", error=type(error).__name__, where=_places(error))


def _places(error: BaseException | None) -> list[str]:
    """Files and lines of a mistake of ours; never its message, which may quote what came from outside."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]


def _plain(status: HTTPStatus) -> Answer:
    return Answer(status, TEXT_MEDIA, f"{status.phrase}\n".encode())


def _tls(config: Listening) -> ssl.SSLContext | None:
    if not config.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.certificate, config.key)
    except (OSError, ssl.SSLError) as error:
        raise GuarantorError(CONFIG_INVALID, name="certificate", what="cannot be read") from error
    return context
