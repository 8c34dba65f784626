"""Handing over what an export asks for: the right bytes in the right order, once at a time, no further than asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sekisho_agent.client import ControlClient
from sekisho_agent.errors import UnreachableError
from sekisho_agent.folders import collect
from sekisho_agent.handing import HandOvers
from sekisho_wire.messages import ObjectRef
from sekisho_wire.objects import ObjectError, ObjectsByDigest


class Line(ControlClient):
    """A client whose uploads end here; the way over HTTP is in `tests/journeys/test_exports.py`."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes]] = []
        self.broken = False
        self.go = threading.Event()
        self.go.set()

    # pyrefly: ignore[missing-override-decorator] - typing.override begins with Python 3.12
    def upload(self, digest: str, ticket: str, *, content: Iterator[bytes], size_bytes: int) -> None:
        self.go.wait(10)
        if self.broken:
            raise UnreachableError("object.unreachable", "the line is down")
        body = b"".join(content)
        assert len(body) == size_bytes
        self.sent.append((digest, ticket, body))


@pytest.fixture
def store(tmp_path: Path) -> ObjectsByDigest:
    return ObjectsByDigest.open(f"file://{tmp_path}/store", tmp_path / "scratch")


@pytest.fixture
def line() -> Line:
    return Line()


def tree_of(store: ObjectsByDigest, folder: Path) -> ObjectRef:
    (folder / "out" / "deep").mkdir(parents=True)
    (folder / "copies").mkdir()
    (folder / "out" / "a").write_bytes(b"same")
    (folder / "out" / "deep" / "b").write_bytes(b"same")
    (folder / "out" / "c").write_bytes(b"other")
    found = collect(store, folder / "out", folder / "copies", size_bytes_max=1 << 20)
    return ObjectRef(object=found.digest, kind="tree", size_bytes=found.size_bytes, ticket="t")


def test_a_tree_goes_manifest_first_and_each_content_once(
    store: ObjectsByDigest, line: Line, tmp_path: Path
) -> None:
    wanted = tree_of(store, tmp_path)
    assert HandOvers(line, store).send(wanted) == 3
    assert line.sent[0][0] == wanted.object
    assert [body for _, _, body in line.sent[1:]] == [b"same", b"other"]
    assert {ticket for _, ticket, _ in line.sent} == {"t"}


def test_a_file_is_one_object(store: ObjectsByDigest, line: Line) -> None:
    digest = store.put_bytes(b"log lines")
    wanted = ObjectRef(object=digest, kind="file", size_bytes=9, ticket="t")
    assert HandOvers(line, store).send(wanted) == 1
    assert line.sent == [(digest, "t", b"log lines")]


def test_what_is_not_here_is_not_sent(store: ObjectsByDigest, line: Line) -> None:
    missing = ObjectRef(object="sha256:" + "0" * 64, kind="tree", size_bytes=1, ticket="t")
    with pytest.raises(ObjectError):
        HandOvers(line, store).send(missing)
    assert line.sent == []


def test_an_order_for_what_is_under_way_begins_nothing_and_a_broken_one_can_be_repeated(
    store: ObjectsByDigest, line: Line, tmp_path: Path
) -> None:
    wanted, hand_overs = tree_of(store, tmp_path), HandOvers(line, store)
    line.go.clear()
    for _ in range(3):
        hand_overs.begin(wanted)
    assert sum(thread.name == "hand-over" for thread in threading.enumerate()) == 1
    line.broken = True
    line.go.set()
    _end()
    assert line.sent == []
    line.broken = False
    hand_overs.begin(wanted)
    _end()
    assert len(line.sent) == 3


def _end() -> None:
    for thread in threading.enumerate():
        if thread.name == "hand-over":
            thread.join(10)
            assert not thread.is_alive()
