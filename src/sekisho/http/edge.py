"""The HTTP edge: find the actor, build a command, call the gate, spell the answer.

The core is synchronous, so a request crosses to a thread once, after its body is here, and comes back with a
response. How many threads there are and how many requests may wait for one is bounded: beyond, the answer is
`busy` at once, because a queue that only grows helps nobody.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from os import PathLike
from typing import Any, Protocol

import anyio
import anyio.to_thread
import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Router
from starlette.routing import Route as PathRoute

from sekisho.http import answers, decode, envelope, openapi
from sekisho.http.errors import IDEMPOTENCY_KEY, MEDIA_TYPE, METHOD, TIMEOUT, RefusedError
from sekisho.http.logfiles import LogFiles
from sekisho.http.route import PREFIX, Route, in_order
from sekisho.http.routes import ROUTES
from sekisho.kernel.clock import Clock, SystemClock
from sekisho.kernel.errors import BusyError, NotFoundError, SekishoError, UnavailableError
from sekisho.kernel.facts import ANONYMOUS, Actor
from sekisho.kernel.gate import NOT_FOR_YOU, Gate
from sekisho.kernel.proposals import Proposed
from sekisho_wire import problems

logger = structlog.get_logger("sekisho.http")

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]{1,4096})")
_KEY = re.compile(r"[!-~]{1,200}")
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9._-]")
_STATUS_CODES: Mapping[int, type[SekishoError]] = {HTTPStatus.SERVICE_UNAVAILABLE: UnavailableError}


class Authenticate(Protocol):
    """Identity's answer to a token; raises SekishoError with an `auth.*` code."""

    def __call__(self, token: str, source: str) -> Actor:
        """The actor of a token shown from the network address `source`."""
        ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the machine one edge may take."""

    body_bytes: int = 1 << 20
    body_seconds: int = 30
    threads: int = 32
    waiting: int = 256
    ready_seconds: int = 5


class Edge:
    """One edge's parts. Made by `build`; its methods are Starlette's endpoints."""

    def __init__(self, gate: Gate, authenticate: Authenticate, limits: Limits) -> None:
        self._gate = gate
        self._authenticate = authenticate
        self._limits = limits
        # Made inside the event loop on first use: a limiter belongs to the loop it was made in.
        self._limiter: anyio.CapacityLimiter | None = None

    async def serve(self, request: Request, by_method: Mapping[str, Route]) -> Response:
        """Answer one request to one path."""
        method = "GET" if request.method == "HEAD" else request.method
        route = by_method[method]
        request.scope[envelope.ROUTE] = route.path
        try:
            body = await self._body(request, route)
            return await self._in_thread(functools.partial(self._perform, request, route, body))
        except SekishoError as error:
            return problem(request, error)

    async def _body(self, request: Request, route: Route) -> bytes:
        """The whole body, refused as soon as it is known to be too long, too slow or of another kind."""
        declared = request.headers.get("content-length", "0")
        limit = max(route.body_bytes, self._limits.body_bytes)
        if declared.isdecimal() and int(declared) > limit:
            raise _too_large(int(declared), limit)
        chunks = bytearray()
        try:
            with anyio.fail_after(self._limits.body_seconds):
                async for chunk in request.stream():
                    chunks += chunk
                    if len(chunks) > limit:
                        raise _too_large(len(chunks), limit)
        except TimeoutError:
            raise RefusedError(TIMEOUT, seconds=self._limits.body_seconds) from None
        if chunks and route.takes_body:
            _check_media_type(request.headers.get("content-type", ""))
        return bytes(chunks)

    async def _in_thread(self, work: Callable[[], Response]) -> Response:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._limits.threads)
        now = self._limiter.statistics()
        if now.borrowed_tokens >= now.total_tokens and now.tasks_waiting >= self._limits.waiting:
            raise BusyError(seconds=answers.RETRY_SECONDS)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    def _perform(self, request: Request, route: Route, body: bytes) -> Response:
        """In a thread: everything that may touch the database."""
        actor = self.actor(request)
        request.scope[envelope.ACTOR] = actor.ref.id
        if actor.ref.type == ANONYMOUS.ref.type and ANONYMOUS.ref.type not in route.spec.principals:
            # Before the body is looked at: a stranger learns nothing, not even what would be well formed.
            raise SekishoError(NOT_FOR_YOU)
        given = decode.Input(path=request.path_params, query=request.scope["query_string"], body=body)
        command = decode.command_from(route, given)
        result: Any = self._gate.perform(actor, command, idempotency_key=_idempotency_key(request))
        return _answer(route, result)

    def actor(self, request: HTTPConnection) -> Actor:
        """Who asks: the bearer of a token, or nobody in particular. Blocking; `auth.*` for a bad token."""
        header = request.headers.get("authorization")
        if header is None:
            return ANONYMOUS
        match = _BEARER.fullmatch(header.strip())
        if match is None:
            raise SekishoError(NOT_FOR_YOU)
        return self._authenticate(match[1], request.client.host if request.client else "")


def build(
    gate: Gate,
    authenticate: Authenticate,
    *,
    ready: Callable[[], Mapping[str, bool]],
    clock: Clock | None = None,
    routes: Sequence[Route] = ROUTES,
    mounts: Sequence[BaseRoute] = (),
    log_directory: str | PathLike[str] | None = None,
    registry: CollectorRegistry | None = None,
    limits: Limits | None = None,
) -> Starlette:
    """The ASGI application.

    `ready` runs in a thread and names what this process needs (`database`, `charter`) with whether it is there.
    `mounts` are asked last: the agents' door, streams of objects, the console. `log_directory` is what the ledger
    publishes to.
    """
    limits = limits or Limits()
    edge = Edge(gate, authenticate, limits)
    figures = envelope.Figures(registry or CollectorRegistry())
    document = _encoded(tuple(routes))
    own: list[BaseRoute] = [
        Mount(PREFIX, Router(routes=_paths(edge, routes), redirect_slashes=False)),
        PathRoute("/healthz", _health, name="/healthz"),
        PathRoute(
            "/readyz", functools.partial(_ready, ready=ready, seconds=limits.ready_seconds), name="/readyz"
        ),
        PathRoute("/metrics", functools.partial(_metrics, registry=figures.registry), name="/metrics"),
        PathRoute("/openapi.json", functools.partial(_document, document=document), name="/openapi.json"),
    ]
    if log_directory is not None:
        own.append(Mount("/log", LogFiles(log_directory), name="/log"))
    app = Starlette(
        routes=[*own, *mounts],
        middleware=[Middleware(envelope.Envelope, figures=figures, clock=clock or SystemClock())],
        exception_handlers={
            HTTPException: _http_exception,
            SekishoError: _sekisho_error,
            ClientDisconnect: _gone,
        },
    )
    # A redirect would make a client send its token twice, and is no answer to an address that does not exist.
    app.router.redirect_slashes = False
    return app


@functools.lru_cache(maxsize=4)
def _encoded(routes: tuple[Route, ...]) -> bytes:
    """The same routes always give the same bytes."""
    return msgspec.json.encode(openapi.document(routes))


def _paths(edge: Edge, routes: Sequence[Route]) -> list[BaseRoute]:
    """One Starlette route per path, so that a wrong method is answered with every method there is."""
    paths: dict[str, dict[str, Route]] = {}
    for route in in_order(routes):
        paths.setdefault(route.path, {})[route.method] = route
    return [
        PathRoute(
            path.removeprefix(PREFIX),
            functools.partial(edge.serve, by_method=by_method),
            methods=sorted(by_method),
            name=path,
        )
        for path, by_method in paths.items()
    ]


def problem(request: HTTPConnection, error: SekishoError) -> Response:
    """The response for an error, noted for log line and figures."""
    request.scope[envelope.CODE] = error.code
    return answers.problem_response(
        error, language=answers.language_of(request), request_id=request.scope.get(envelope.REQUEST_ID, "")
    )


def _answer(route: Route, result: object) -> Response:
    if isinstance(result, Proposed):
        return answers.json_response(result, HTTPStatus.ACCEPTED)
    if route.download:
        name = _UNSAFE_NAME.sub("_", str(getattr(result, "name", "download")))[:100]
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(getattr(result, route.download), media_type=route.media, headers=disposition)
    return answers.json_response(result, route.status)


def _too_large(size: int, limit: int) -> RefusedError:
    return RefusedError(problems.INPUT_TOO_LARGE, size=min(size, decode.LARGEST), limit=limit)


def _check_media_type(header: str) -> None:
    media, _, parameters = header.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media.strip().lower() != "application/json" or charset not in {"", "utf-8"}:
        raise RefusedError(MEDIA_TYPE)


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("idempotency-key", "")
    if "idempotency-key" in request.headers and not _KEY.fullmatch(key):
        raise RefusedError(IDEMPOTENCY_KEY)
    return key


async def _health(request: Request) -> Response:
    request.scope[envelope.ROUTE] = "/healthz"
    return answers.json_response({"status": "ok", "version": version("sekisho")}, 200)


async def _ready(request: Request, ready: Callable[[], Mapping[str, bool]], seconds: int) -> Response:
    """200 when everything this process needs is there, else 503 with what is not."""
    request.scope[envelope.ROUTE] = "/readyz"
    checks: Mapping[str, bool] = {"answered": False}
    try:
        with anyio.fail_after(seconds):
            checks = await anyio.to_thread.run_sync(ready, abandon_on_cancel=True)
    except TimeoutError:
        logger.warning("ready_timeout", seconds=seconds)
    whole = all(checks.values())
    return answers.json_response({"ready": whole, "checks": dict(checks)}, 200 if whole else 503)


async def _metrics(request: Request, registry: CollectorRegistry) -> Response:
    """Figures for whoever is on this machine; for all others the address does not exist."""
    request.scope[envelope.ROUTE] = "/metrics"
    if not _from_this_machine(request):
        return problem(request, NotFoundError(id="/metrics"))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _from_this_machine(request: Request) -> bool:
    """A proxy on this machine also connects from loopback; it says so in a header, and does not count."""
    if request.client is None or {"x-forwarded-for", "forwarded"} & set(request.headers):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def _document(request: Request, document: bytes) -> Response:
    request.scope[envelope.ROUTE] = "/openapi.json"
    return Response(document, media_type="application/json")


async def _http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: no such path, no such method."""
    status = getattr(error, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response = problem(request, RefusedError(METHOD, method=request.method[:20]))
        response.headers.update(getattr(error, "headers", None) or {})
        return response
    if status == HTTPStatus.NOT_FOUND:
        return problem(request, NotFoundError(id=request.scope["path"][:100]))
    return problem(request, _STATUS_CODES.get(status, SekishoError)())


async def _sekisho_error(request: Request, error: Exception) -> Response:
    return problem(request, error if isinstance(error, SekishoError) else SekishoError())


async def _gone(request: Request, error: Exception) -> Response:
    """The caller hung up before its body was here; nobody reads this."""
    del error
    return problem(request, RefusedError(TIMEOUT, seconds=0))
