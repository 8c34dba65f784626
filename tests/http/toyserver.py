"""A whole server over the toy capability: real gate, real database, real socket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx2
import msgspec

from sekisho.http import Limits, Listener, Route, build, serving
from sekisho.http.routes import KERNEL
from sekisho.kernel.command import Command, Kind, command
from sekisho.kernel.context import Ctx, Handler
from sekisho.kernel.db import Database, open_database
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Actor, Entity, Ref, Target
from sekisho.kernel.gate import NOT_FOR_YOU
from sekisho.kernel.migrate import migrate
from sekisho.kernel.tx import Tx
from tests.support.toy import (
    ANN,
    BEN,
    START_MS,
    DropThing,
    PutThing,
    SealThing,
    ShowThing,
    Thing,
    TickThing,
    World,
)

TOKENS: Mapping[str, Actor] = {"ann-token": ANN, "ben-token": BEN}


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something nested, so that paths into a body have more than one step."""

    colour: str
    sizes: tuple[int, ...] = ()


class Moments(msgspec.Struct, frozen=True):
    """Everything a schema can hold that the toy does not."""

    created_ms: int
    expires_ms: int
    tags: list[str]
    inner: dict[str, Inner]


class Things(msgspec.Struct, frozen=True):
    """A page of things."""

    items: list[Thing]
    next: str | None = None


@command("toy.moment.echo", kind=Kind.READ, resource="Thing", ja="渡されたものを返します。")
class Echo(Command[Moments]):
    """Answer what was asked, in the API's spelling."""

    expires_ms: int = 0
    tags: tuple[str, ...] = ()
    inner: dict[str, Inner] = msgspec.field(default_factory=dict)


@command("toy.thing.list", kind=Kind.READ, resource="Thing", ja="玩具を一覧します。")
class ListThings(Command[Things]):
    """List things by name."""

    cursor: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 2
    large: bool = False


@command("toy.thing.break", kind=Kind.READ, resource="Thing", ja="必ず壊れます。")
class Break(Command[bool]):
    """Break in a way nobody foresaw."""

    secret: str = ""


@command(
    "toy.door.knock",
    kind=Kind.READ,
    resource="Thing",
    principals=("Anonymous", "User"),
    ja="誰でも叩けます。",
)
class Knock(Command[str]):
    """Knock; anybody may."""

    name: str = "nobody"


@command("toy.file.export", kind=Kind.READ, resource="Thing", ja="バイト列を返します。")
class Export(Command[dict[str, bytes]]):
    """Answer bytes as a file."""


class File(msgspec.Struct, frozen=True):
    """A file as an answer."""

    name: str
    content: bytes


@command("toy.file.fetch", kind=Kind.READ, resource="Thing", ja="ファイルを返します。")
class Fetch(Command[File]):
    """Fetch a file."""

    name: str


def _target(tx: Tx, principal: Entity, command: Any) -> Target:
    del tx, principal, command
    return Target(resource=Entity(Ref("Thing", "any")), stream="any")


def _echo(ctx: Ctx, command: Echo) -> Moments:
    return Moments(ctx.now_ms, command.expires_ms, list(command.tags), command.inner)


def _list(ctx: Ctx, command: ListThings) -> Things:
    rows = ctx.tx.all(
        "select id, name, amount from toy_things where id > :cursor order by id limit :limit",
        cursor=command.cursor,
        limit=command.limit + 1,
    )
    things = [msgspec.convert(row, Thing) for row in rows[: command.limit]]
    return Things(things, things[-1].id if len(rows) > command.limit else None)


def _break(ctx: Ctx, command: Break) -> bool:
    del ctx
    raise ZeroDivisionError(command.secret)


def _fetch(ctx: Ctx, command: Fetch) -> File:
    del ctx
    return File(command.name, b"\x00bytes")


HANDLERS: tuple[Handler[Any], ...] = (
    Handler(Echo, _target, _echo),
    Handler(ListThings, _target, _list),
    Handler(Break, _target, _break),
    Handler(Knock, _target, lambda _ctx, command: command.name),
    Handler(Fetch, _target, _fetch),
)

ROUTES: tuple[Route, ...] = (
    *KERNEL,
    Route(
        "GET",
        "/v1/things",
        ListThings,
        cli=("thing", "list"),
        daily="things",
        columns=("id", "name", "amount"),
    ),
    Route("GET", "/v1/things/{id}", ShowThing, cli=("thing", "show")),
    Route("PUT", "/v1/things/{id}", PutThing, cli=("thing", "put"), words=("name",)),
    Route("DELETE", "/v1/things/{id}", DropThing, cli=("thing", "drop"), daily="drop"),
    Route("POST", "/v1/things/{id}/seal", SealThing, status=201, cli=("thing", "seal")),
    Route("POST", "/v1/moments", Echo, cli=("moment", "echo"), files=()),
    Route("GET", "/v1/broken", Break, cli=("thing", "break")),
    Route("GET", "/v1/knock", Knock, cli=("door", "knock")),
    Route(
        "GET", "/v1/files/{name}", Fetch, cli=("file", "fetch"), download="content", media="application/zip"
    ),
)
NOT_ROUTED = (TickThing, Export)


def authenticate(token: str, source: str) -> Actor:
    """Two tokens, from loopback."""
    if source != "127.0.0.1" or token not in TOKENS:
        raise SekishoError(NOT_FOR_YOU)
    return TOKENS[token]


class Served:
    """A running server, its world, and a client per person."""

    def __init__(self, world: World, listener: Listener) -> None:
        self.world = world
        self.listener = listener
        self.url = listener.url
        self.ready: dict[str, bool] = {"database": True, "charter": True}

    def client(self, token: str = "ann-token", **headers: str) -> httpx2.Client:
        """A raw HTTP client; `token=""` is a stranger."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.Client(base_url=self.url, headers={**bearer, **headers}, trust_env=False)


@contextlib.contextmanager
def kernel_database(folder: Path) -> Iterator[Database]:
    """A SQLite file with the kernel's tables, which is all the toy needs."""
    database = open_database(f"sqlite:{folder / 'toy.db'}")
    try:
        migrate(database, ("kernel",), START_MS)
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def served(
    database: Database, *, log_directory: Path | None = None, limits: Limits | None = None, **parts: Any
) -> Iterator[Served]:
    """The toy capability behind the real edge on loopback."""
    world = World(database, more=HANDLERS, **parts)
    ready: dict[str, bool] = {"database": True, "charter": True}
    app = build(
        world.gate,
        authenticate,
        ready=lambda: ready,
        clock=world.clock,
        routes=ROUTES,
        log_directory=log_directory,
        limits=limits,
    )
    with serving(app) as listener:
        found = Served(world, listener)
        found.ready = ready
        yield found
