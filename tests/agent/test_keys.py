"""Data keys on their whole way: gate, checkpoint, a custodian in a process of its own, an object that opens."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from sekisho.data import RegisterKey, StopKey
from sekisho_agent.errors import AgentError, StoreError
from sekisho_agent.keys import CUSTODIAN_TRIES, KeyRefusedError, Keys
from sekisho_agent.sealed_trees import open_tree, seal_tree
from sekisho_client import sealing, transfer
from sekisho_verify.canonical import from_base64url
from sekisho_wire import messages
from sekisho_wire.custody import CustodyError
from sekisho_wire.keying import KeyPending, WantKey
from sekisho_wire.messages import Body, Envelope
from sekisho_wire.objects import ObjectsByDigest
from tests.compute.world import World, job_file
from tests.data.world import Folder
from tests.guarantor.custodian_process import manage
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
        return Keys(self, (self.order.attempt, self.order.token), check=check)


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
        with sealing.sealed(local, view, sealing.token(str(self.keeper.token_file))) as found:
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


@pytest.fixture
def ward(tmp_path: Path, db_url: str) -> Iterator[Ward]:
    world = World(tmp_path / "world", db_url)
    # The custodian lives by the machine's clock.
    world.clock.advance(int(time.time() * 1000) - world.clock.now_ms())
    world.hear()
    with custodian_of(world, tmp_path / "custodian") as keeper:
        yield Ward(world, keeper, tmp_path)
    world.close()


def test_an_object_opens_and_what_is_left_behind_is_sealed(ward: Ward) -> None:
    assert ward.open("inputs") == TEXT
    assert ward.line.pending == 1, "the order left under a checkpoint only"
    found = seal_tree(
        ward.store,
        ward.folder / "inputs",
        ward.folder / "scratch",
        keys=ward.line.keys(),
        size_bytes_max=1 << 20,
    )
    assert found.envelope.startswith("sha256:")
    stored = b"".join(path.read_bytes() for path in (ward.folder / "store").rglob("*") if path.is_file())
    assert b"patient" not in stored
    assert len({question.recipient for question in ward.line.asked}) == 2, "a one-time key for each question"
    records = ward.world.records(action="data.key.release")
    assert [record["outcome"] for record in records if "order" in record["detail"]] == ["done", "done"]
    assert ward.world.check().findings == []


def test_an_order_opens_once_and_a_lost_answer_is_asked_for_anew(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is lost between release and use opens nothing later; the next question has its own order."""
    post, lost = Keys._post, list[bytes]()

    def loses_one(keys: Keys, url: str, content: bytes) -> bytes:
        answer = post(keys, url, content)
        if not lost:
            lost.append(content)
            raise CustodyError("custody.unreachable", "the answer was lost")
        return answer

    monkeypatch.setattr(Keys, "_post", loses_one)
    assert ward.open("inputs") == TEXT
    assert len({question.recipient for question in ward.line.asked}) == 2
    with pytest.raises(CustodyError, match=r"custody\.order_used"):
        post(ward.line.keys(), ward.keeper.url, lost[0])


def test_a_stopped_key_ends_it_with_the_reason_at_either_end(ward: Ward) -> None:
    assert manage(ward.keeper.config, "stop", KEY) == 0
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("one")
    assert (caught.value.code, "custody.key_stopped" in caught.value.detail) == ("key.custodian", True)
    ward.world.perform(ward.world.engineer, StopKey(key=KEY))
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("two")
    assert caught.value.code == "key.stopped"


def test_a_custodian_that_is_gone_ends_it_and_what_came_is_no_plaintext(ward: Ward) -> None:
    os.kill(ward.keeper.process, signal.SIGKILL)
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("inputs")
    assert caught.value.code == "key.custodian"
    assert list((ward.folder / "inputs").iterdir()) == []


def test_a_custodian_that_lies_is_asked_again_and_never_believed(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers nonsense, then the answer to another order; each time the next question is a new one."""
    post, earlier = Keys._post, list[bytes]()

    def lies(keys: Keys, url: str, content: bytes) -> bytes:
        answer = post(keys, url, content)
        earlier.append(answer)
        return b"nonsense" if len(earlier) == 1 else earlier[0]

    monkeypatch.setattr(Keys, "_post", lies)
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("inputs")
    assert (caught.value.code, "custody.foreign" in caught.value.detail) == ("key.custodian", True)
    assert len({question.recipient for question in ward.line.asked}) == CUSTODIAN_TRIES
    assert list((ward.folder / "inputs").iterdir()) == []


def test_a_custodian_that_hangs_is_not_waited_for(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sekisho_agent.keys.CUSTODIAN", httpx2.Timeout(0.2))
    os.kill(ward.keeper.process, signal.SIGSTOP)
    try:
        with pytest.raises(KeyRefusedError) as caught:
            ward.open("inputs")
    finally:
        os.kill(ward.keeper.process, signal.SIGCONT)
    assert caught.value.code == "key.custodian"


def test_a_decision_that_no_checkpoint_covers_is_given_up(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sekisho_agent.keys.CHECKPOINT_SECONDS_MAX", 0.3)
    monkeypatch.setattr(ward.world, "seal_log", lambda: None)
    with pytest.raises(KeyRefusedError) as caught:
        ward.open("inputs")
    assert caught.value.code == "key.unconfirmed"


def test_an_attempt_that_is_to_stop_asks_for_nothing(ward: Ward) -> None:
    def stop() -> None:
        raise AgentError("lease.lost", "over")

    with pytest.raises(AgentError, match=r"lease\.lost"):
        ward.open("inputs", ward.line.keys(stop))
    assert ward.line.asked == []


def test_bytes_that_were_changed_are_refused(ward: Ward) -> None:
    digest = next(
        path
        for path in (ward.folder / "store" / "objects").rglob("*")
        if path.is_file() and path.read_bytes()[:8] == b"sekienv1"
    )
    content = bytearray(digest.read_bytes())
    content[-1] ^= 1
    digest.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        ward.open("inputs")
    assert caught.value.code == "envelope.forged"
