"""Sign-in for the command line through an identity provider (RFC 8628): the person confirms in a browser.

Nobody is signed in yet, so these two addresses are no commands; what comes out of them is made by identity's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sekisho.http import answers
from sekisho.http import envelope as request_envelope
from sekisho.http.edge import problem
from sekisho.identity import Device, NewToken, Waiting
from sekisho.kernel.errors import BusyError, NotFoundError, SekishoError
from sekisho_wire import problems

BODY_BYTES_MAX = 4096
TOGETHER_MAX = 8
"""Calls to the provider under way at once: strangers may ask, but not make us ask more than this."""


class Outside(Protocol):
    """Identity's sign-in through a provider."""

    def start_device(self) -> Device:
        """Begin a sign-in for the command line."""
        ...

    def poll_device(self, device_code: str) -> NewToken | Waiting:
        """A token once the person has confirmed."""
        ...


class _Poll(msgspec.Struct, forbid_unknown_fields=True):
    device_code: str


class DeviceDoor:
    """Starlette endpoints of the device flow."""

    def __init__(self, outside: Outside | None) -> None:
        """Without a provider both addresses answer `not_found`."""
        self._outside = outside
        self._together = 0

    def routes(self) -> Sequence[BaseRoute]:
        """Start and poll."""
        return (
            Route("/device/start", self.start, methods=["POST"]),
            Route("/device/poll", self.poll, methods=["POST"]),
        )

    async def start(self, request: Request) -> Response:
        """What the person types where, and what the client polls with."""
        request.scope[request_envelope.ROUTE] = "/device/start"
        return await self._answer(request, lambda outside: outside.start_device())

    async def poll(self, request: Request) -> Response:
        """The new token's text, or how long to wait."""
        request.scope[request_envelope.ROUTE] = "/device/poll"
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                refused = SekishoError(problems.INPUT_TOO_LARGE, size=len(body), limit=BODY_BYTES_MAX)
                return problem(request, refused)
        try:
            asked = msgspec.json.decode(body, type=_Poll)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return problem(request, SekishoError(problems.INPUT_MALFORMED, what="device_code"))
        return await self._answer(request, lambda outside: outside.poll_device(asked.device_code))

    async def _answer(
        self, request: Request, ask: Callable[[Outside], Device | NewToken | Waiting]
    ) -> Response:
        if self._outside is None:
            return problem(request, NotFoundError(id=request.url.path))
        if self._together >= TOGETHER_MAX:
            return problem(request, BusyError(seconds=2))
        self._together += 1
        try:
            found = await anyio.to_thread.run_sync(functools.partial(ask, self._outside))
        except SekishoError as error:
            return problem(request, error)
        finally:
            self._together -= 1
        return answers.json_response(found, 200)
