"""Requests in, answers out: sessions, forms, limits, headers. The only file of the console that speaks HTTP.

Pages are plain functions that run in a thread, because the core behind the gate is synchronous. How many run and
how many wait is bounded; beyond, the answer is `busy` at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from sekisho.console import complaints, forms, frame, look
from sekisho.console.asked import Answer, Asked, Cookie, Download, Page, Redirect, Row
from sekisho.console.settings import Parts
from sekisho.console.visit import Visit, Who
from sekisho.identity import check_form
from sekisho.kernel.errors import BusyError, NotFoundError, SekishoError
from sekisho.kernel.gate import NOT_FOR_YOU
from sekisho_wire import problems
from sekisho_wire.problems import Problem

SESSION, VISITOR, OUTSIDE = "sekisho_session", "sekisho_form", "sekisho_outside"
"""Cookies: whose session, whose forms, and a visit to the identity provider under way."""
ROUTE, REQUEST_ID, CODE, ACTOR = "sekisho.route", "sekisho.request_id", "sekisho.code", "sekisho.actor"
"""What the edge around us reads for its log line and figures, and the id it gave the request."""
HTML, JSON = "text/html; charset=utf-8", "application/json"
LARGEST = 2**53 - 1

ResultT = TypeVar("ResultT")

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    # Forms of ours must be able to say that they are ours; other sites learn nothing.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Door:
    """One console's way in. Made by `routes`; its methods are Starlette's endpoints."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        # Made inside the event loop on first use: a limiter belongs to the loop it was made in.
        self._limiter: anyio.CapacityLimiter | None = None

    async def page(self, request: Request, rows: Mapping[str, Row], *, as_json: bool) -> Response:
        """Answer one request to one page."""
        row = rows["GET" if request.method == "HEAD" else request.method]
        request.scope[ROUTE] = row.path
        try:
            body = await self._body(request, row)
        except SekishoError as error:
            return await self.in_thread(functools.partial(self.refuse, request, error, as_json=as_json))
        return await self.in_thread(functools.partial(self._serve, request, row, body, as_json=as_json))

    async def in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        """Run what may block; `busy` at once where too many wait already."""
        limits = self.parts.limits
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(limits.threads)
        busy = self._limiter.statistics()
        if busy.borrowed_tokens >= busy.total_tokens and busy.tasks_waiting >= limits.waiting:
            raise BusyError(seconds=complaints.RETRY_SECONDS)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)

    def visit(self, connection: HTTPConnection, asked: Asked | None = None) -> Visit:
        """Who asks and how their pages look. Blocking. A session that is over counts as nobody."""
        cookies = connection.cookies
        chosen = look.choose(
            connection.query_params,
            cookies.get(look.COOKIE, ""),
            connection.headers.get("accept-language", ""),
        )
        asked = asked or self.asked(connection, as_json=False)
        secret = cookies.get(SESSION, "")
        if secret:
            try:
                session = self.parts.sign_in.session(secret)
            except SekishoError as error:
                if error.problem is not NOT_FOR_YOU:
                    raise
            else:
                connection.scope[ACTOR] = session.actor.ref.id
                chosen = look.with_session(chosen, session.language, session.theme)
                return Visit(self.parts, asked, Who(session.actor, secret, session.csrf, session), chosen)
        visitor = cookies.get(VISITOR, "")
        token = visitor if forms.is_visitor(visitor) else forms.new_visitor()
        return Visit(self.parts, asked, Who(csrf=token), chosen)

    def asked(
        self, connection: HTTPConnection, *, as_json: bool, form: Mapping[str, str] | None = None
    ) -> Asked:
        """What pages need of a request."""
        page = connection.url.path
        return Asked(
            method=connection.scope.get("method", "GET"),
            page=page.removesuffix(".json") if as_json else page,
            path=dict(connection.path_params),
            cookies=dict(connection.cookies),
            query=dict(connection.query_params),
            form=form or {},
            source=connection.client.host if connection.client else "",
            request_id=connection.scope.get(REQUEST_ID, ""),
            as_json=as_json,
            now_ms=self.parts.clock.now_ms(),
        )

    def _serve(self, request: Request, row: Row, body: bytes, *, as_json: bool) -> Response:
        """In a thread: everything that may touch the database."""
        try:
            form = forms.parse(body, request.headers.get("content-type", "")) if row.method == "POST" else {}
            visit = self.visit(request, self.asked(request, as_json=as_json, form=form))
        except SekishoError as error:
            return self.refuse(request, error, as_json=as_json)
        try:
            self._admit(request, row, visit)
            return self._answer(request, visit, row.handler(visit))
        except SekishoError as error:
            return self.refuse(request, error, as_json=as_json, visit=visit)

    def _admit(self, request: Request, row: Row, visit: Visit) -> None:
        """Refuse forms that are not ours, then whoever is nobody."""
        if row.method == "POST":
            forms.check_origin(request.headers)
            self._check_form(request, visit)
        if not row.open and not visit.who.signed_in:
            raise SekishoError(NOT_FOR_YOU)

    def _check_form(self, request: Request, visit: Visit) -> None:
        given = visit.field(forms.TOKEN)
        if visit.who.session is not None:
            check_form(visit.who.session, given)
        else:
            forms.check_visitor(request.cookies.get(VISITOR, ""), given)

    def _answer(self, request: Request, visit: Visit, answer: Answer) -> Response:
        match answer:
            case Redirect():
                response = Response(status_code=303, headers={**HEADERS, "Location": answer.to})
                self._set(response, request, answer.cookies)
                return response
            case Download():
                shown = {**HEADERS, "Content-Disposition": f'attachment; filename="{answer.name}"'}
                return Response(answer.content, media_type=answer.media, headers=shown)
            case Page() if visit.asked.as_json:
                if answer.data is None:
                    raise NotFoundError(id=visit.asked.page[:100])
                content = msgspec.json.encode(self.parts.spell(answer.data))
                return Response(content, answer.status, headers=dict(HEADERS), media_type=JSON)
            case Page():
                if answer.code:
                    request.scope[CODE] = answer.code
                response = Response(
                    frame.draw(visit, answer), answer.status, headers=dict(HEADERS), media_type=HTML
                )
                self._set(response, request, (*answer.cookies, *_visitor_cookie(request, visit)))
                return response

    def refuse(
        self, request: HTTPConnection, error: SekishoError, *, as_json: bool, visit: Visit | None = None
    ) -> Response:
        """The page, or problem details, for an error; noted for log line and figures. Blocking."""
        request.scope[CODE] = error.code
        headers = {**HEADERS, **complaints.headers(error)}
        asked = visit.asked if visit else self.asked(request, as_json=as_json)
        if visit is None:
            visit = self._visit_in_need(request, asked)
        if as_json:
            content = msgspec.json.encode(complaints.details(error, visit.language, asked.request_id))
            return Response(content, error.problem.status, headers=headers, media_type=complaints.JSON_MEDIA)
        page = frame.problem_page(visit, error)
        response = Response(frame.draw(visit, page), page.status, headers=headers, media_type=HTML)
        self._set(response, request, _visitor_cookie(request, visit))
        return response

    def _visit_in_need(self, request: HTTPConnection, asked: Asked) -> Visit:
        """A visit for an error page, also when what failed was finding out who asks."""
        try:
            return self.visit(request, asked)
        except SekishoError:
            chosen = look.choose(
                request.query_params,
                request.cookies.get(look.COOKIE, ""),
                request.headers.get("accept-language", ""),
            )
            return Visit(self.parts, asked, Who(csrf=forms.new_visitor()), chosen)

    def _set(self, response: Response, request: HTTPConnection, cookies: tuple[Cookie, ...]) -> None:
        secure = self.parts.secure or request.url.scheme == "https"
        for cookie in cookies:
            response.set_cookie(
                cookie.name,
                cookie.value,
                max_age=(cookie.seconds or None) if cookie.value else 0,
                path="/",
                secure=secure,
                httponly=True,
                samesite="lax",
            )

    async def _body(self, request: Request, row: Row) -> bytes:
        """The whole body, refused as soon as it is known to be too long or too slow."""
        limit = row.body_bytes if row.method == "POST" else 0
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            raise _too_large(int(declared), limit)
        chunks = bytearray()
        try:
            with anyio.fail_after(self.parts.limits.body_seconds):
                async for chunk in request.stream():
                    chunks += chunk
                    if len(chunks) > limit:
                        raise _too_large(len(chunks), limit)
        except TimeoutError:
            raise SekishoError(complaints.SLOW, seconds=self.parts.limits.body_seconds) from None
        except ClientDisconnect:
            raise SekishoError(complaints.SLOW, seconds=0) from None
        return bytes(chunks)

    async def not_here(self, request: Request, error: Exception) -> Response:
        """What Starlette itself refuses: no such page, no such method."""
        status = getattr(error, "status_code", 404)
        request.scope[ROUTE] = "console"
        refused: SekishoError = NotFoundError(id=request.url.path[:100])
        if status == METHOD_STATUS:
            refused = SekishoError(complaints.METHOD, method=request.method[:20])
        as_json = request.url.path.endswith(".json")
        return await self.in_thread(functools.partial(self.refuse, request, refused, as_json=as_json))

    async def broken(self, request: Request, error: Exception) -> Response:
        """A mistake of ours. The edge around us logs where; nothing of the cause is shown."""
        refused = error if isinstance(error, SekishoError) else SekishoError()
        as_json = request.url.path.endswith(".json")
        return await anyio.to_thread.run_sync(
            functools.partial(self.refuse, request, refused, as_json=as_json)
        )


METHOD_STATUS = 405


def _visitor_cookie(request: HTTPConnection, visit: Visit) -> tuple[Cookie, ...]:
    """Forms of somebody who is not signed in are tied to their browser by this."""
    if visit.who.signed_in or request.cookies.get(VISITOR) == visit.who.csrf:
        return ()
    return (Cookie(VISITOR, visit.who.csrf),)


def _too_large(size: int, limit: int) -> SekishoError:
    problem: Problem = problems.INPUT_TOO_LARGE
    return SekishoError(problem, size=min(size, LARGEST), limit=limit)
