"""A control plane, a custodian in a process of its own, data under its key, and an attempt that reads it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sekisho.data import RegisterKey
from sekisho_agent.keys import Keys
from sekisho_agent.sealed_trees import open_tree
from sekisho_client import sealing, transfer
from sekisho_verify.canonical import from_base64url
from sekisho_wire import messages
from sekisho_wire.keying import KeyPending, WantKey
from sekisho_wire.messages import Body, Envelope
from sekisho_wire.objects import ObjectsByDigest
from tests.compute.world import World, job_file
from tests.data.world import Folder
from tests.support.custodians import KEY, Keeper, custodian_of

TEXT = {"a.txt": b"patient 1\n", "deep/b.txt": "患者二\n".encode()}


class Line:
    """The control plane as an agent's keys need it: each pending answer brings the next checkpoint about."""

    def __init__(self, world: World, order: Envelope) -> None:
        self.world = world
        self.order = order
        self.pending = 0
        self.asked: list[WantKey] = []

    @property
    def control_key(self) -> bytes:
        return from_base64url(self.world.control.seals.public_key)

    @property
    def agent_id(self) -> str:
        return self.order.agent

    def send(self, body: Body, attempt: str, token: int, *, wanted: Callable[[], bool]) -> Body:
        assert (attempt, token) == (self.order.attempt, self.order.token)
        assert wanted()
        assert isinstance(body, WantKey)
        self.asked.append(body)
        answer = self.world.home.say(self.order, body)
        if isinstance(answer, KeyPending):
            self.pending += 1
            self.world.seal_log()
        return answer

    def keys(self, check: Callable[[], None] = lambda: None) -> Keys:
        return Keys(self, (self.order.attempt, self.order.token), check=check, permit_private=True)


class Ward:
    """A world at today's time, its custodian, data under the custodian's key, and an attempt that reads it."""

    def __init__(self, world: World, keeper: Keeper, folder: Path) -> None:
        self.world = world
        self.keeper = keeper
        self.folder = folder
        self.store = ObjectsByDigest.open(f"file://{folder / 'store'}", folder / "scratch")
        command = RegisterKey(
            name=KEY,
            address=keeper.url,
            public_key=keeper.public_key,
            statement=keeper.facts.decode() + "\n",
        )
        self.key = world.perform(world.engineer, command)
        self.object = self._add()
        _, order = world.offered(
            job_file(more="data: [{from: wards, mount: /d}, {to: model, mount: /out}]\n")
        )
        world.home.say(order, messages.Accept())
        self.line = Line(world, order)

    def _add(self) -> str:
        """As the command line does it: encrypted, then sent; and the site's store has fetched it."""
        source = self.folder / "source"
        for name, content in TEXT.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
        local = transfer.scan(source, lambda _done, _total: None)
        view = {"id": self.key.id, "name": self.key.name, "address": self.key.address}
        custodian = sealing.Custodian(self.keeper.url, sealing.token(str(self.keeper.token_file)))
        with sealing.sealed(local, view, custodian) as found:
            sent = Folder(
                {
                    file.path: path.read_bytes()
                    for file, path in zip(found.local.files, found.local.paths, strict=True)
                }
            )
            self.world.dataset("wards", sent, **found.named)
        for content in (*sent.contents, sent.manifest):
            self.store.put_bytes(content)
        assert b"patient" not in b"".join(sent.contents)
        return sent.object

    def open(self, name: str, keys: Keys | None = None) -> dict[str, bytes]:
        """What the object holds, written below a folder of the attempt."""
        target = self.folder / name
        target.mkdir()
        open_tree(
            self.store,
            self.object,
            target,
            keys=keys or self.line.keys(),
            size_bytes_max=1 << 20,
            check=lambda: None,
        )
        return {
            str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()
        }


@contextmanager
def ward_in(folder: Path, db_url: str) -> Iterator[Ward]:
    """All of it, for the length of the block."""
    world = World(folder / "world", db_url)
    # The custodian lives by the machine's clock.
    world.clock.advance(int(time.time() * 1000) - world.clock.now_ms())
    world.hear()
    with custodian_of(world, folder / "custodian", world.office) as keeper:
        yield Ward(world, keeper, folder)
    world.close()
