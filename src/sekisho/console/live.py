"""The event stream of a live page: parts drawn again, log lines as text, one sentence per change of state.

A stream is a loop of ordinary reads through the gate, for the person who opened it, so that a role that was taken
away ends it. Nothing is pushed from inside: what a stream shows is what loading the page again would show.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sekisho.compute import ReadLog, ShowJob
from sekisho.console import complaints, jobparts, logs, marks
from sekisho.console.door import HEADERS, ROUTE, Door
from sekisho.console.drawing import say
from sekisho.console.jobs import LOG_LEVEL_MAX
from sekisho.console.visit import Visit
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.gate import NOT_FOR_YOU

LOOK_SECONDS = 1.0
RECORDED_LOOK_SECONDS = 30.0
"""At level 2 and above each look is itself a record in the reader's stream."""
SESSION_MS = 15_000
QUIET_SECONDS = 15.0
"""After this a comment is sent, so that nobody in between takes the stream for dead."""
AGAIN_MS = 3000
PIECES_MAX = 8
"""Pieces of a log sent in one look; the rest follows in the next."""


class Event(msgspec.Struct, frozen=True):
    """One event: its kind, its data as JSON, and where a stream goes on after it."""

    kind: str
    data: Any
    place: logs.Place

    def encode(self) -> bytes:
        """As the event stream format wants it; JSON never holds a bare line break."""
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (
            str(self.place).encode(),
            self.kind.encode(),
            msgspec.json.encode(self.data),
        )


class Watch:
    """What one stream has sent so far. Used by one thread at a time."""

    def __init__(self, door: Door, request: Request, place: logs.Place) -> None:
        self._door = door
        self._request = request
        self._job = str(request.path_params["job"])
        self._sent: dict[str, str] = {}
        self._state = ""
        self._last: Visit | None = None
        self._checked_ms = 0
        self.place = place
        self.level = 0
        self.ended = False

    def look(self) -> list[Event]:
        """What changed since the last look. Raises what the page itself would answer."""
        visit = self._visit()
        detail = visit.ask(ShowJob(job=self._job))
        self.level = detail.job.level
        events = self._lines(visit, detail.attempts[-1].number if detail.attempts else 0)
        values = {**jobparts.values(visit, detail), "csrf": visit.who.csrf}
        for part in jobparts.PARTS:
            html = visit.parts.drawing.draw(
                f"_job_{part}.html", values, language=visit.language, now_ms=visit.asked.now_ms
            )
            digest = hashlib.sha256(html.encode()).hexdigest()
            if self._sent.get(part) != digest:
                self._sent[part] = digest
                events.append(Event("part", {"part": part, "html": html}, self.place))
        state = detail.job.state.value
        if self._state not in {"", state}:
            word = say(visit.language, marks.of(marks.JOBS, state).word)
            events.append(
                Event("say", say(visit.language, "live.now", name=detail.job.name, state=word), self.place)
            )
        self._state = state
        self.ended = detail.job.state.ended
        if self.ended:
            events.append(Event("end", state, self.place))
        return events

    def _visit(self) -> Visit:
        """Whoever opened the stream. Their session is looked up again now and then: a session that ended ends it.

        Roles need no such look: the gate loads them for every command.
        """
        asked = self._door.asked(self._request, as_json=False)
        if self._last is None or asked.now_ms - self._checked_ms >= SESSION_MS:
            self._last, self._checked_ms = self._door.visit(self._request, asked), asked.now_ms
        else:
            self._last = Visit(self._door.parts, asked, self._last.who, self._last.look)
        if not self._last.who.signed_in:
            raise SekishoError(NOT_FOR_YOU)
        return self._last

    def _lines(self, visit: Visit, number: int) -> list[Event]:
        """New whole lines of the newest attempt's log."""
        events: list[Event] = []
        if not number or self.level > LOG_LEVEL_MAX:
            return events
        if number != self.place.number:
            if self.place.number:
                events.append(
                    Event("line", say(visit.language, "live.attempt", n=number), logs.Place(number))
                )
            self.place = logs.Place(number)
        for _ in range(PIECES_MAX):
            piece = visit.ask(ReadLog(job=self._job, attempt=number, offset=self.place.offset))
            found = logs.whole_lines(piece.text, self.place.offset, ended=piece.ended)
            events += [Event("line", line, logs.Place(number, offset)) for line, offset in found]
            if not found:
                break
            self.place = logs.Place(number, found[-1][1])
            if piece.ended:
                break
        return events


class Live:
    """Serves streams and knows how many are open."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._open = 0

    async def job(self, request: Request) -> Response:
        """The stream of one job's page. What cannot be shown is refused before the stream begins."""
        request.scope[ROUTE] = "/jobs/{job}/live"
        after = request.headers.get("last-event-id", "") or request.query_params.get("after", "")
        watch = Watch(self._door, request, logs.parse_place(after))
        full = self._open >= self._door.parts.limits.streams
        try:
            first = [] if full else await self._door.in_thread(watch.look)
        except SekishoError as error:
            return await self._refuse(request, error)
        if full:
            return await self._refuse(request, SekishoError(complaints.STREAMS_FULL))
        return StreamingResponse(
            self._stream(watch, first),
            media_type="text/event-stream",
            headers={**HEADERS, "X-Accel-Buffering": "no"},
        )

    async def _refuse(self, request: Request, error: SekishoError) -> Response:
        return await self._door.in_thread(functools.partial(self._door.refuse, request, error, as_json=True))

    async def _stream(self, watch: Watch, first: list[Event]) -> AsyncIterator[bytes]:
        self._open += 1
        limits, stopping = self._door.parts.limits, self._door.parts.stopping
        events = first
        quiet = 0.0
        until = anyio.current_time() + limits.stream_seconds
        try:
            yield b"retry: %d\n\n" % AGAIN_MS
            while True:
                for event in events:
                    yield event.encode()
                if watch.ended or stopping() or anyio.current_time() >= until:
                    return
                quiet = 0.0 if events else quiet
                wait = LOOK_SECONDS if watch.level <= LOG_LEVEL_MAX else RECORDED_LOOK_SECONDS
                for _ in range(round(wait / LOOK_SECONDS)):
                    await anyio.sleep(LOOK_SECONDS)
                    quiet += LOOK_SECONDS
                    if stopping():
                        return
                if quiet >= QUIET_SECONDS:
                    quiet = 0.0
                    yield b": still here\n\n"
                events = await self._door.in_thread(watch.look)
        except SekishoError:
            # The browser opens the stream again and is then told, with its status, why there is none.
            return
        finally:
            self._open -= 1
