from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.kernel.errors import SekishoError
from sekisho.ledger import KeyFolder, Publisher, files, publish
from sekisho.ledger.model import RootView, TileBatch, TileFile
from sekisho_verify.checkpoint import parse_checkpoint, parse_key, parse_note, verify_note
from sekisho_verify.merkle import HASH_BYTES, leaf_hash
from sekisho_verify.tiles import Tile, TileTree, decode_entries, tile_at
from tests.ledger.world import World, codes, draft, opened
from tests.support import postgres


def _grow(world: World, count: int) -> None:
    records = [draft(number, stream=f"job_{number % 5}") for number in range(count)]
    world.database.write(lambda tx: world.ledger.append(tx, *records))
    world.sequence()


def _read_as_a_stranger(folder: Path, vkeys: tuple[str, ...]) -> int:
    """Check the published log from its files alone: signature, entries against tiles, tiles against the root."""
    note = parse_note((folder / "checkpoint").read_bytes())
    verify_note(note, log_keys=[parse_key(vkey) for vkey in vkeys])
    head = parse_checkpoint(note.text)

    def read(tile: Tile) -> bytes:
        whole = folder / tile.path().partition(".p/")[0]
        return (whole if whole.is_file() else folder / tile.path()).read_bytes()

    assert TileTree(read).root(head.size) == head.root
    seen = 0
    for index in range(-(-head.size // 256)):
        tile = tile_at(0, index, head.size)
        entries = decode_entries((folder / tile.entries_path()).read_bytes())
        hashes = read(tile)
        assert [leaf_hash(entry) for entry in entries] == [
            hashes[at : at + HASH_BYTES] for at in range(0, tile.width * HASH_BYTES, HASH_BYTES)
        ]
        seen += len(entries)
    assert seen == head.size
    return seen


def test_a_stranger_can_rebuild_the_log_from_files(world: World) -> None:
    for count, size in ((3, 3), (253, 256), (1, 257), (600, 857)):
        _grow(world, count)
        assert world.publish() == size
        assert _read_as_a_stranger(world.published, world.log_keys()) == size
        assert not world.check().findings


def test_partial_tiles_go_when_whole_ones_are_out(world: World) -> None:
    _grow(world, 100)
    world.publish()
    assert (world.published / "tile/0/000.p/100").exists()
    _grow(world, 200)
    world.publish()
    assert not (world.published / "tile/0/000.p").exists()
    assert not (world.published / "tile/entries/000.p").exists()
    assert (world.published / "tile/0/001.p/44").exists()
    assert _read_as_a_stranger(world.published, world.log_keys()) == 300


def test_a_long_log_is_published_in_several_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BATCH_LEAVES", 256)
    _grow(world, 1500)
    sizes = []

    def read(size: int) -> TileBatch:
        batch = world.read_tiles(size)
        sizes.append(batch.size)
        assert bool(batch.checkpoint) == (batch.size == 1500)
        return batch

    assert world.publisher().advance(read) == 1500
    assert sizes == [256, 512, 768, 1024, 1280, 1500]
    assert _read_as_a_stranger(world.published, world.log_keys()) == 1500
    assert not world.check().findings


def test_nothing_is_published_twice_or_changed(world: World) -> None:
    _grow(world, 300)
    world.publish()
    before = {path: path.stat().st_mtime_ns for path in world.published.rglob("*") if path.is_file()}
    world.publish()
    assert {path: path.stat().st_mtime_ns for path in world.published.rglob("*") if path.is_file()} == before


def test_a_published_file_that_differs_stops_the_publisher(world: World) -> None:
    _grow(world, 3)
    world.publish()
    (world.published / "checkpoint").unlink()
    (world.published / "tile/0/000.p/3").write_bytes(b"other")
    with pytest.raises(SekishoError) as caught:
        world.publish()
    assert caught.value.code == "ledger.published_differs"
    assert not (world.published / "checkpoint").exists()


class _PowerCutError(Exception):
    """The machine stops at this file operation."""


@pytest.mark.parametrize("operation", ["fsync", "replace", "rmtree"])
def test_a_power_cut_at_any_file_operation_is_mended(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Whatever stands on disk at that moment is a log that a stranger accepts, and the next start goes on."""
    _grow(world, 250)
    world.publish()
    _grow(world, 20)
    place = 0
    while True:
        place += 1
        copy = world.published.with_name(f"copy-{place}")
        shutil.copytree(world.published, copy)
        with monkeypatch.context() as patch:
            _cut(patch, operation, place)
            try:
                Publisher(copy).advance(world.read_tiles)
                cut = False
            except _PowerCutError:
                cut = True
        assert _read_as_a_stranger(copy, world.log_keys()) in {250, 270}
        publisher = Publisher(copy)
        publisher.start(world.root_at, world.log_keys())
        assert publisher.advance(world.read_tiles) == 270
        assert _read_as_a_stranger(copy, world.log_keys()) == 270
        if not cut:
            break
    assert place > 1


def _cut(patch: pytest.MonkeyPatch, operation: str, place: int) -> None:
    where, name = {
        "fsync": (publish.os, "fsync"),
        "replace": (Path, "replace"),
        "rmtree": (shutil, "rmtree"),
    }[operation]
    real: Callable[..., object] = getattr(where, name)
    count = 0

    def counting(*arguments: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count == place:
            raise _PowerCutError
        return real(*arguments, **options)

    patch.setattr(where, name, counting)


def _start_code(publisher: Publisher, world: World) -> str:
    with pytest.raises(SekishoError) as caught:
        publisher.start(world.root_at, world.log_keys())
    return caught.value.code


def _copy(url: str, request: pytest.FixtureRequest) -> str:
    """The URL of a copy of a database that nobody is connected to."""
    if url.startswith("sqlite:"):
        copy = url.replace("sekisho.db", "copy.db")
        shutil.copyfile(url.removeprefix("sqlite:"), copy.removeprefix("sqlite:"))
        return copy
    server: postgres.Server = request.getfixturevalue("postgres_server")
    name = url.partition("@/")[2].partition("?")[0]
    return server.create(f"{name}_copy", template=name)


def test_a_database_older_than_what_was_published_cannot_go_on(
    db_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with opened(db_url, tmp_path) as world:
        _grow(world, 5)
    older = _copy(db_url, request)
    with opened(db_url, tmp_path) as world:
        _grow(world, 5)
        world.publish()
    with opened(older, tmp_path) as world:
        assert _start_code(Publisher(world.published), world) == "ledger.published_ahead"
        with pytest.raises(SekishoError) as caught:
            Publisher(world.published).advance(world.read_tiles)
        assert caught.value.code == "ledger.published_ahead"
        _grow(world, 7)
        assert _start_code(Publisher(world.published), world) == "ledger.published_differs"
        assert "published.differs" in codes(world.check())
        _grow(world, 300)
        assert "published.differs" in codes(world.check())


def test_a_whole_tile_stands_for_the_partial_one_it_replaced(world: World) -> None:
    """As when another process publishes while the check runs."""
    _grow(world, 100)
    world.publish()
    old = (world.published / "checkpoint").read_bytes()
    _grow(world, 200)
    world.publish()
    (world.published / "checkpoint").write_bytes(old)
    assert not world.check().findings


def test_a_smaller_size_is_never_published(world: World) -> None:
    _grow(world, 5)
    world.publish()
    before = (world.published / "checkpoint").read_bytes()
    smaller = TileBatch(4, [], b"anything")
    with pytest.raises(SekishoError) as caught:
        Publisher(world.published).advance(lambda _size: smaller)
    assert caught.value.code == "ledger.published_ahead"
    assert (world.published / "checkpoint").read_bytes() == before


def test_another_logs_folder_is_refused(world: World, tmp_path: Path) -> None:
    _grow(world, 2)
    world.publish()
    publisher = Publisher(world.published)
    (world.published / "checkpoint").write_bytes(b"not a note")
    assert _start_code(publisher, world) == "ledger.published_unreadable"
    other = KeyFolder.create(tmp_path / "other", world.keys.origin)
    (world.published / "checkpoint").unlink()
    world.publish()
    with pytest.raises(SekishoError) as caught:
        publisher.start(world.root_at, (other.first,))
    assert caught.value.code == "ledger.published_unreadable"


def test_a_root_that_differs_is_refused(world: World) -> None:
    _grow(world, 2)
    world.publish()
    publisher = Publisher(world.published)
    wrong = base64.urlsafe_b64encode(bytes(32)).rstrip(b"=").decode()
    with pytest.raises(SekishoError) as caught:
        publisher.start(lambda _size: RootView(9, wrong), world.log_keys())
    assert caught.value.code == "ledger.published_differs"


@pytest.mark.parametrize("path", ["../outside", "/etc/x", "tile/0/../../x", "checkpoint", "tile/0/000.p/"])
def test_no_file_is_written_outside_the_tiles(tmp_path: Path, path: str) -> None:
    batch = TileBatch(1, [TileFile(path, b"x")], b"")
    with pytest.raises(ValueError, match=re.escape(path)):
        Publisher(tmp_path / "log").advance(lambda _size: batch)
    assert [entry.name for entry in (tmp_path / "log").iterdir()] == [".publishing"]


def test_a_log_of_millions_keeps_its_folder_names() -> None:
    assert publish._partial_folder("0", 1234067) == "tile/0/x001/x234/067.p"
    assert Tile(0, 1234067, 9).path() == publish._partial_folder("0", 1234067) + "/9"


def test_before_the_first_checkpoint_there_is_nothing_to_publish(world: World) -> None:
    with pytest.raises(SekishoError) as caught:
        world.publish()
    assert caught.value.code == "ledger.not_covered"


def test_a_gap_in_the_database_is_not_published(world: World) -> None:
    _grow(world, 5)
    world.damage("delete from ledger_entries where log_index = 2")
    with pytest.raises(SekishoError) as caught:
        world.publish()
    assert caught.value.code == "ledger.tree_damaged"
    assert not (world.published / "checkpoint").exists()
