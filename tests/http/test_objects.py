"""Object bytes: a ticket opens what came in for the same thing, and a silent client is in nobody's way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from sekisho.data import AddWorkdir, FetchArtefact, Upload
from sekisho.http import objects
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Actor
from tests.data.world import TEXT, World, digest_of
from tests.support.moulds import Moulds

ResultT = TypeVar("ResultT")


def finish(work: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Run to the end in a thread of its own: this one may hold the loop of a browser that other tests drive."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(anyio.run, work).result(60)


@pytest.fixture
def world(tmp_path: Path, moulds: Moulds) -> Iterator[World]:
    with moulds.cast(World, tmp_path) as made:
        yield made


class Door:
    """The door's endpoints without a socket."""

    def __init__(self, world: World) -> None:
        door = objects.ObjectDoor(world.control.objects, world.control.tickets)
        app = Starlette(routes=list(door.routes()))
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://control")

    def ask(self, method: str, ticket: str, digest: str, content: bytes = b"") -> tuple[int, bytes]:
        async def send() -> tuple[int, bytes]:
            answer = await self.client.request(
                method, f"/objects/{digest}", content=content, headers={"authorization": f"Bearer {ticket}"}
            )
            return answer.status_code, answer.content

        return finish(send)

    def put(self, ticket: str, content: bytes) -> int:
        return self.ask("PUT", ticket, digest_of(content), content)[0]


def workdir(world: World, by: Actor, manifest: bytes = TEXT.manifest) -> Upload:
    return world.perform(by, AddWorkdir(object=digest_of(manifest), size_bytes=TEXT.size_bytes))


def test_what_was_sent_is_read_again(world: World) -> None:
    door, upload = Door(world), workdir(world, world.engineer)
    for content in (TEXT.manifest, *TEXT.contents):
        assert door.put(upload.ticket, content) == 204
    ticket = world.perform(world.engineer, FetchArtefact(artefact=upload.id)).ticket
    for content in (TEXT.manifest, *TEXT.contents):
        assert door.ask("GET", ticket, digest_of(content)) == (200, content)


def test_knowing_a_digest_opens_nothing(world: World) -> None:
    """Somebody names another's files in a manifest of his own; he has the names, and not the bytes."""
    door, theirs = Door(world), workdir(world, world.engineer)
    for content in (TEXT.manifest, *TEXT.contents):
        door.put(theirs.ticket, content)
    with pytest.raises(SekishoError):
        world.perform(world.stranger, FetchArtefact(artefact=workdir(world, world.stranger).id))
    mine = workdir(world, world.stranger)
    assert door.put(mine.ticket, TEXT.manifest) == 204
    ticket = world.perform(world.stranger, FetchArtefact(artefact=mine.id)).ticket
    for content in TEXT.contents:
        assert door.ask("GET", ticket, digest_of(content))[0] == 403
    assert door.ask("GET", ticket, TEXT.object)[0] == 200


def test_other_bytes_under_a_digest_are_not_taken(world: World) -> None:
    door, upload = Door(world), workdir(world, world.engineer)
    status, _ = door.ask("PUT", upload.ticket, TEXT.object, TEXT.manifest + b" ")
    assert status == 422
    with pytest.raises(SekishoError):
        world.perform(world.engineer, FetchArtefact(artefact=upload.id))


def test_a_client_that_falls_silent_is_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "CHUNK_SECONDS", 0.05)
    upload = workdir(world, world.engineer)
    door = objects.ObjectDoor(world.control.objects, world.control.tickets)
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": "PUT",
        "path": f"/objects/{TEXT.object}",
        "path_params": {"digest": TEXT.object},
        "headers": [(b"authorization", f"Bearer {upload.ticket}".encode())],
        "query_string": b"",
    }

    async def silence() -> dict[str, Any]:
        await anyio.sleep_forever()
        return {}

    async def put() -> None:
        with anyio.fail_after(10):
            answer = await door.put(Request(scope, silence))
            sent.append({"status": answer.status_code})

    finish(put)
    assert sent == [{"status": 408}]
    assert not world.control.objects.has(TEXT.object)
