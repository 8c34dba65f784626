"""Object bytes over HTTP, under tickets: people send datasets here, agents fetch inputs and send outputs.

No transaction is opened: the gate decided when the ticket was made, and the ticket says what it opens.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectSendStream
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from sekisho.data import TICKET, WRONG_DIGEST, Grant, Tickets, arrival
from sekisho.http import envelope as request_envelope
from sekisho.http.edge import problem
from sekisho.http.errors import TIMEOUT, RefusedError
from sekisho.kernel.errors import NotFoundError, SekishoError, StorageFullError
from sekisho_wire import problems, trees
from sekisho_wire.objects import ObjectError

ResultT = TypeVar("ResultT")

THREADS = 8
UPLOADS = 64
"""Uploads have threads of their own: one that waits for its client must not be in the way of a read."""
CHUNK_SECONDS = 30
"""How long a client may keep an upload waiting for its next piece."""
QUEUE_CHUNKS = 4
_BEARER = "bearer "


class Store(Protocol):
    """The control plane's object store."""

    def has(self, digest: str) -> bool:
        """Whether the object is there."""
        ...

    def get_bytes(self, digest: str, *, size_bytes_max: int) -> bytes:
        """A small object, checked."""
        ...

    def note(self, key: str, content: bytes) -> None:
        """Keep a small document under a name."""
        ...

    def noted(self, key: str) -> bool:
        """Whether something is kept under this name."""
        ...

    def put_stream(self, chunks: Iterable[bytes], digest: str, *, size_bytes_max: int) -> int:
        """Store what comes in if it has the digest."""
        ...

    def stream(self, digest: str) -> Iterator[bytes]:
        """The stored bytes in chunks."""
        ...


class ObjectDoor:
    """Starlette endpoints for object bytes."""

    def __init__(self, store: Store, tickets: Tickets) -> None:
        """Nothing is handed out or taken in without a ticket of `tickets`."""
        self._store = store
        self._tickets = tickets
        self._limiter: anyio.CapacityLimiter | None = None
        self._uploads: anyio.CapacityLimiter | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """The same objects for people and for agents."""
        return tuple(
            Route(f"{prefix}/objects/{{digest}}", endpoint, methods=[method])
            for prefix in ("", "/agent/v1")
            for method, endpoint in (("GET", self.get), ("PUT", self.put))
        )

    async def get(self, request: Request) -> Response:
        """The bytes of an object that the ticket opens."""
        request.scope[request_envelope.ROUTE] = "/objects/{digest}"
        digest = request.path_params["digest"]
        try:
            await self._thread(functools.partial(self._check, request, "get", digest))
            chunks = self._store.stream(digest)
            first = await self._thread(functools.partial(next, chunks, b""))
        except SekishoError as error:
            return problem(request, error)
        except ObjectError:
            return problem(request, NotFoundError(id=digest[:80]))
        return StreamingResponse(self._send(first, chunks), media_type="application/octet-stream")

    async def put(self, request: Request) -> Response:
        """Take an object in; 204 also when it was here already."""
        request.scope[request_envelope.ROUTE] = "/objects/{digest}"
        digest = request.path_params["digest"]
        try:
            grant, size_max = await self._thread(functools.partial(self._check, request, "put", digest))
            await self._receive(request, digest, size_max)
            await self._thread(functools.partial(self._store.note, arrival(grant.into, digest), b"1"))
        except SekishoError as error:
            return problem(request, error)
        except ObjectError:
            return problem(request, StorageFullError())
        return Response(status_code=204)

    async def _receive(self, request: Request, digest: str, size_max: int) -> None:
        """Feed the request's chunks to the store, which runs in a thread; neither side gets far ahead."""
        send, receive = anyio.create_memory_object_stream[bytes](QUEUE_CHUNKS)

        def chunks() -> Iterator[bytes]:
            with receive:
                while True:
                    try:
                        yield anyio.from_thread.run(receive.receive)
                    except anyio.EndOfStream:
                        return

        errors: list[SekishoError] = []
        if self._uploads is None:
            self._uploads = anyio.CapacityLimiter(UPLOADS)

        async def store() -> None:
            try:
                work = functools.partial(self._store_chunks, chunks(), digest, size_max)
                await anyio.to_thread.run_sync(work, limiter=self._uploads)
            except SekishoError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(store)
            async with send:
                try:
                    await _pass_on(request, send)
                except anyio.BrokenResourceError:
                    pass  # the store refused in the middle; its error says why
                except (ClientDisconnect, TimeoutError):
                    # Said first: that the digest of what came so far does not fit is only a consequence.
                    errors.append(RefusedError(TIMEOUT, seconds=CHUNK_SECONDS))
        if errors:
            raise errors[0]

    def _store_chunks(self, chunks: Iterable[bytes], digest: str, size_max: int) -> None:
        try:
            self._store.put_stream(chunks, digest, size_bytes_max=size_max)
        except ObjectError as error:
            if error.code == "object.too_large":
                raise SekishoError(problems.INPUT_TOO_LARGE, size=f"> {size_max}", limit=size_max) from error
            if error.code == "object.digest_mismatch":
                raise SekishoError(WRONG_DIGEST, digest=digest) from error
            raise StorageFullError from error

    def _check(self, request: Request, want: str, digest: str) -> tuple[Grant, int]:
        """The ticket's grant and how many bytes it allows for this object; problem `data.ticket` when it does not.

        What is asked for must have come in for the same thing: somebody who only knows a digest is told nothing.
        """
        header = request.headers.get("authorization", "")
        if not header.lower().startswith(_BEARER) or trees.DIGEST.fullmatch(digest) is None:
            raise SekishoError(TICKET)
        grant = self._tickets.open(header[len(_BEARER) :].strip())
        if grant.want != want:
            raise SekishoError(TICKET)
        if want == "get" and grant.into and not self._store.noted(arrival(grant.into, digest)):
            raise SekishoError(TICKET)
        if grant.object == digest:
            return grant, trees.MANIFEST_BYTES_MAX if grant.kind == "tree" else grant.size_bytes
        if grant.kind == "tree":
            for file in self._files(grant.object):
                if file.digest == digest:
                    return grant, file.size_bytes
        raise SekishoError(TICKET)

    def _files(self, manifest: str) -> list[trees.TreeFile]:
        """What a tree's manifest names; it must have come before its files."""
        try:
            content = self._store.get_bytes(manifest, size_bytes_max=trees.MANIFEST_BYTES_MAX)
            return trees.decode_tree(content)
        except (ObjectError, trees.TreeError) as error:
            raise SekishoError(TICKET) from error

    async def _send(self, first: bytes, rest: Iterator[bytes]) -> AsyncIterator[bytes]:
        chunk: bytes | None = first
        while chunk is not None:
            yield chunk
            chunk = await self._thread(functools.partial(next, rest, None))

    async def _thread(self, work: Callable[[], ResultT]) -> ResultT:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(THREADS)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


async def _pass_on(request: Request, send: MemoryObjectSendStream[bytes]) -> None:
    """The request's body, piece by piece; TimeoutError when the client lets one wait for too long."""
    stream = request.stream()
    while True:
        with anyio.fail_after(CHUNK_SECONDS):
            chunk = await anext(stream, None)
        if chunk is None:
            return
        if chunk:
            await send.send(chunk)


def scratch(folder: Path) -> Path:
    """Where incoming bytes wait for their digest; inside the data folder so that the rename stays on one disk."""
    return folder / "incoming"
