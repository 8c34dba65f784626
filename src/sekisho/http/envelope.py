"""What surrounds every request, whoever answers it: an id, safe headers, a log line, figures, and no leak.

The log line and the figures name the route, never the query string, and an address that matched no route only
by its length: a token that somebody put into a URL must not reach a log.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sekisho.http import answers
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import new_id

ROUTE, REQUEST_ID, CODE, ACTOR = "sekisho.route", "sekisho.request_id", "sekisho.code", "sekisho.actor"
UNMATCHED = "unmatched"
_CAUSES_MAX, _FRAMES_MAX = 5, 6
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Set where the answer does not say otherwise, so that the console can carry its own policy."""
_HSTS = "max-age=31536000"

logger = structlog.get_logger("sekisho.http")


class Figures:
    """The edge's metrics, in a registry of the caller's, so that two edges in one process do not collide."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.seconds = Histogram(
            "sekisho_http_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ("method", "route"),
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.answers = Counter(
            "sekisho_http_answers", "Answers by status.", ("method", "route", "status"), registry=registry
        )
        self.problems = Counter("sekisho_http_problems", "Problems by code.", ("code",), registry=registry)
        self.open = Gauge("sekisho_http_open_requests", "Requests being answered.", registry=registry)


class Envelope:
    """ASGI middleware. Owns the request id that answers, problems and log lines share."""

    def __init__(self, app: ASGIApp, *, figures: Figures, clock: Clock) -> None:
        self._app = app
        self._figures = figures
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything but HTTP through untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[REQUEST_ID] = new_id("req", self._clock.now_ms())
        letter = _Letter(scope, send)
        started = time.perf_counter()
        with self._figures.open.track_inprogress():
            try:
                await self._app(scope, receive, letter.send)
            except Exception as error:  # noqa: BLE001 - the last door: nothing of the cause may leave through it
                await self._failed(error, (scope, receive), letter)
            finally:
                self._note(scope, letter.status, time.perf_counter() - started)

    async def _failed(self, error: Exception, asked: tuple[Scope, Receive], letter: _Letter) -> None:
        """A mistake of ours: say so with the request's id, and put where it happened into the log alone.

        The log gets types and places, never messages or values of variables: either may hold a secret.
        """
        scope, receive = asked
        logger.error(
            "request_failed",
            request_id=scope[REQUEST_ID],
            route=scope.get(ROUTE, UNMATCHED),
            cause=places(error),
        )
        if letter.status:
            return
        scope[CODE] = SekishoError.problem.code
        response = answers.problem_response(
            SekishoError(), language=answers.language_of(HTTPConnection(scope)), request_id=scope[REQUEST_ID]
        )
        await response(scope, receive, letter.send)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope.get(ROUTE, UNMATCHED)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._figures.seconds.labels(method, route).observe(seconds)
        self._figures.answers.labels(method, route, str(status)).inc()
        code = scope.get(CODE, "")
        if code:
            self._figures.problems.labels(code).inc()
        logger.info(
            "request",
            request_id=scope[REQUEST_ID],
            method=method,
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            **({"code": code} if code else {}),
            **({"actor": scope[ACTOR]} if ACTOR in scope else {}),
            **({"path_length": len(scope["path"])} if route == UNMATCHED else {}),
        )


def places(error: BaseException) -> list[str]:
    """`Type at file:line in function` for an exception and what caused it, innermost place of each."""
    found: list[str] = []
    link: BaseException | None = error
    while link is not None and len(found) < _CAUSES_MAX:
        frames = traceback.extract_tb(link.__traceback__)[-_FRAMES_MAX:]
        where = " < ".join(
            f"{frame.name} ({Path(frame.filename).name}:{frame.lineno})" for frame in reversed(frames)
        )
        found.append(f"{type(link).__name__} at {where}")
        link = link.__cause__ or link.__context__
    return found


class _Letter:
    """The way out of one answer: remembers its status and adds the headers every answer has."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._scope[REQUEST_ID]
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if self._scope["scheme"] == "https":
                headers.setdefault("Strict-Transport-Security", _HSTS)
        await self._send(message)
