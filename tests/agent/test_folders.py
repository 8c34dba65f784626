from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from sekisho_agent import folders
from sekisho_agent.checkpoints import CheckpointWatcher
from sekisho_agent.errors import AgentError, ConfigError, EngineError, StoreError
from sekisho_agent.folders import Collected, collect, read_tree, remove_tree, restore
from sekisho_agent.site import open_store
from sekisho_wire.objects import ObjectsByDigest
from sekisho_wire.trees import TreeFile, encode_tree
from tests.agent.support import make_config

MISSING = "sha256:" + "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> ObjectsByDigest:
    return ObjectsByDigest.open(f"file://{tmp_path}/store", tmp_path / "scratch")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def code_of(caught: pytest.ExceptionInfo[AgentError]) -> str:
    return caught.value.code


def test_a_folder_goes_into_the_store_and_out_again(
    store: ObjectsByDigest, source: Path, tmp_path: Path
) -> None:
    (source / "deep" / "日本語").mkdir(parents=True)
    (source / "deep" / "日本語" / "text").write_bytes(b"text")
    (source / "tool").write_bytes(b"#!")
    (source / "tool").chmod(0o755)
    found = collect(store, source, tmp_path / "scratch", size_bytes_max=100)
    assert (found.size_bytes, found.refused) == (6, [])
    target = tmp_path / "target"
    target.mkdir()
    assert restore(store, found.digest, target, size_bytes_max=6) == 6
    assert (target / "deep" / "日本語" / "text").read_bytes() == b"text"
    assert (target / "tool").stat().st_mode & 0o777 == 0o755
    assert (target / "deep").stat().st_mode & 0o777 == 0o755
    assert collect(store, target, tmp_path / "scratch", size_bytes_max=100).digest == found.digest


def test_only_regular_files_are_taken(store: ObjectsByDigest, source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"host secret")
    (source / "kept").write_bytes(b"kept")
    (source / "link").symlink_to(secret / "key")
    (source / "folder").symlink_to(secret)
    (source / "dangling").symlink_to("/no/such/file")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(source, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    (source / "line\nfeed").write_bytes(b"")
    (source / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    found = collect(store, source, tmp_path / "scratch", size_bytes_max=100)
    assert [file.path for file in found.files] == ["kept"]
    assert sorted(found.refused) == [
        "\\udcff\\udcfe (tree.path)",
        "dangling (link)",
        "folder (link)",
        "line\nfeed (tree.path)",
        "link (link)",
        "pipe (pipe)",
        "socket (socket)",
    ]


def test_too_much_is_refused(store: ObjectsByDigest, source: Path, tmp_path: Path) -> None:
    for number in range(3):
        (source / str(number)).write_bytes(b"x" * 40)
    with pytest.raises(EngineError) as caught:
        collect(store, source, tmp_path / "scratch", size_bytes_max=100)
    assert code_of(caught) == "output.too_large"


def test_names_that_differ_in_case_are_refused(store: ObjectsByDigest, source: Path, tmp_path: Path) -> None:
    (source / "a").write_bytes(b"")
    (source / "A").write_bytes(b"")
    with pytest.raises(EngineError) as caught:
        collect(store, source, tmp_path / "scratch", size_bytes_max=100)
    assert code_of(caught) == "tree.collision"


def test_folders_without_a_bottom_are_refused(store: ObjectsByDigest, source: Path, tmp_path: Path) -> None:
    depth = os.open(source, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=depth)
        deeper = os.open("d", os.O_RDONLY, dir_fd=depth)
        os.close(depth)
        depth = deeper
    os.close(depth)
    with pytest.raises(EngineError) as caught:
        collect(store, source, tmp_path / "scratch", size_bytes_max=100)
    assert code_of(caught) == "output.unreadable"
    remove_tree(source)
    assert not source.exists()


def test_what_a_payload_left_can_always_be_removed(source: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    for number in range(3):
        folder = source / f"d{number}" / "a" / "b"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"")
        (folder / "link").symlink_to(outside)
        os.mkfifo(folder / "pipe")
        folder.chmod(0)
        (source / f"d{number}").chmod(0o100)
    (source / ".up-0-0-0").mkdir()
    remove_tree(source)
    assert not source.exists()
    assert (outside / "kept").exists()
    remove_tree(source)


def test_a_tree_larger_than_it_may_be_is_not_restored(
    store: ObjectsByDigest, source: Path, tmp_path: Path
) -> None:
    (source / "a").write_bytes(b"12345")
    found = collect(store, source, tmp_path / "scratch", size_bytes_max=100)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(StoreError):
        restore(store, found.digest, target, size_bytes_max=4)
    assert not list(target.iterdir())


def test_a_manifest_that_lies_about_a_size_is_refused(store: ObjectsByDigest, tmp_path: Path) -> None:
    digest = store.put_bytes(b"12345")
    lying = store.put_bytes(encode_tree([TreeFile(path="a", size_bytes=9, digest=digest, mode=0o644)]))
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(StoreError) as caught:
        restore(store, lying, target, size_bytes_max=100)
    assert code_of(caught) == "object.size_mismatch"


def test_an_object_that_is_no_manifest_is_refused(store: ObjectsByDigest) -> None:
    with pytest.raises(StoreError) as caught:
        read_tree(store, store.put_bytes(b'{"v":1}'))
    assert code_of(caught) == "tree.malformed"


def test_what_the_store_says_reaches_the_agent_as_its_own_error(
    store: ObjectsByDigest, source: Path, tmp_path: Path
) -> None:
    """Only the agent's errors end an attempt in order."""
    (tmp_path / "target").mkdir()
    gone = store.put_bytes(encode_tree([TreeFile(path="a", size_bytes=1, digest=MISSING, mode=0o644)]))
    for reading in (
        lambda: read_tree(store, MISSING),
        lambda: restore(store, gone, tmp_path / "target", size_bytes_max=1),
    ):
        with pytest.raises(StoreError) as caught:
            reading()
        assert code_of(caught) == "object.missing"
    (source / "a").write_bytes(b"x")
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_bytes(b"a file where the store was")
    with pytest.raises(StoreError) as caught:
        collect(store, source, tmp_path / "scratch", size_bytes_max=100)
    assert code_of(caught) == "store.failed"


def test_a_store_that_cannot_be_opened_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    config = make_config("https://control.invalid", tmp_path, store_url="ftp://store.invalid")
    with pytest.raises(ConfigError) as caught:
        open_store(config)
    assert code_of(caught) == "config.store_url"


# --- training checkpoints


class Times:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_checkpoints_wait_until_nothing_moves(
    store: ObjectsByDigest,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = Times()
    monkeypatch.setattr("sekisho_agent.checkpoints.clock", times)
    watcher = CheckpointWatcher(source, tmp_path / "scratch", store, every_seconds=10)

    def look(*, final: bool = False) -> Collected | None:
        return watcher.look(size_bytes_max=100, final=final)

    assert look() is None
    (source / "step.tmp").write_bytes(b"half")
    (source / ".hidden").write_bytes(b"half")
    times.now += 60
    assert look() is None, "unfinished names are no checkpoint"
    (source / "step").write_bytes(b"1")
    assert look() is None, "just changed"
    times.now += 0.5
    assert look() is None, "not settled"
    times.now += 0.6
    first = look()
    assert first is not None
    assert [file.path for file in first.files] == ["step"]
    times.now += 60
    assert look() is None, "nothing new"
    (source / "step").write_bytes(b"22")
    assert look() is None
    times.now += 2
    assert look() is not None
    (source / "step").write_bytes(b"333")
    look()
    times.now += 5
    assert look() is None, "too soon after the last"
    assert look(final=True) is not None, "the payload is gone: nothing to wait for"


def test_a_checkpoint_that_changed_while_it_was_read_is_thrown_away(
    store: ObjectsByDigest,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watcher = CheckpointWatcher(source, tmp_path / "scratch", store, every_seconds=0)
    (source / "step").write_bytes(b"1")
    original = folders.collect

    def meanwhile(*arguments: Any, **options: Any) -> Collected:
        found = original(*arguments, **options)
        (source / "step").write_bytes(b"changed")
        return found

    monkeypatch.setattr("sekisho_agent.checkpoints.collect", meanwhile)
    assert watcher.look(size_bytes_max=100, final=True) is None
