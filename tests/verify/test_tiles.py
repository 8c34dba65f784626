"""Tiles: coordinates, addresses, entry bundles, and proofs at sizes where tiles are partial."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho_verify.errors import MerkleError
from sekisho_verify.merkle import (
    EMPTY_ROOT,
    Frontier,
    inclusion_root,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from sekisho_verify.tiles import Tile, TileTree, decode_entries, encode_entries, tile_at, tiles_between
from tests.verify.builders import tile_tree

SIZE = 70_000
LEAVES = [sha256(b"%d" % number).digest() for number in range(SIZE)]
TREE = tile_tree(LEAVES)
TREE_READER = TREE._read
ROOTS = {size: tree_root(LEAVES[:size]) for size in (700, 1500, 66_000)}
EDGES = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, SIZE]


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (Tile(2, 999, 17), "tile/2/999.p/17"),
        (Tile(63, 1000, 1), "tile/63/x001/000.p/1"),
    ],
)
def test_addresses(tile: Tile, path: str) -> None:
    assert tile.path() == path


def test_entry_bundle_addresses() -> None:
    assert Tile(0, 5, 256).entries_path() == "tile/entries/005"
    assert Tile(0, 5, 9).entries_path() == "tile/entries/005.p/9"


def test_the_tiles_of_a_tree_as_the_specification_counts_them() -> None:
    tiles = list(tiles_between(0, SIZE))
    full = [sum(tile.level == level and tile.width == 256 for tile in tiles) for level in range(4)]
    partial = {tile.level: tile.width for tile in tiles if tile.width < 256}
    assert full == [273, 1, 0, 0]
    assert partial == {0: 112, 1: 17, 2: 1}


@given(st.integers(0, SIZE), st.integers(0, SIZE))
def test_growing_publishes_what_is_new_and_nothing_that_is_not_there(one: int, other: int) -> None:
    old, new = sorted((one, other))
    grown = set(tiles_between(old, new))
    assert set(tiles_between(0, new)) == grown | (set(tiles_between(0, old)) & set(tiles_between(0, new)))
    for tile in grown:
        assert tile == tile_at(tile.level, tile.index, new)


@pytest.mark.parametrize(
    ("level", "index", "size"), [(0, 0, 0), (0, 1, 256), (1, 0, 255), (64, 0, 1), (-1, 0, 1), (0, -1, 9)]
)
def test_a_tile_that_is_not_there_is_refused(level: int, index: int, size: int) -> None:
    with pytest.raises(MerkleError):
        tile_at(level, index, size)


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_entry_bundles_round_trip(entries: list[bytes]) -> None:
    assert decode_entries(encode_entries(entries)) == entries


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x01", b"\x00\x02a", b"\xff\xff" + bytes(10)])
def test_a_broken_entry_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(MerkleError):
        decode_entries(data)


def test_an_entry_too_long_for_a_bundle_is_refused() -> None:
    with pytest.raises(MerkleError):
        encode_entries([bytes(65_536)])


@pytest.mark.parametrize("size", EDGES)
def test_proofs_at_the_edges_of_tiles(size: int) -> None:
    root = tree_root(LEAVES[:size])
    assert TREE.root(size) == root
    for index in {
        0,
        min(1, size - 1),
        size // 2,
        size - 1,
        max(size - 2, 0),
        min(255, size - 1),
        min(256, size - 1),
    }:
        path = TREE.inclusion_path(index, size)
        verify_inclusion(LEAVES[index], path, index=index, size=size, root=root)
    for first in EDGES:
        if first <= size:
            path = TREE.consistency_path(first, size)
            verify_consistency(
                path, first_size=first, first_root=TREE.root(first), second_size=size, second_root=root
            )


@settings(max_examples=200)
@given(st.integers(1, SIZE), st.integers(0, SIZE - 1), st.integers(0, SIZE))
def test_proofs_anywhere(size: int, index: int, first: int) -> None:
    index, first = index % size, first % (size + 1)
    path = TREE.inclusion_path(index, size)
    verify_inclusion(LEAVES[index], path, index=index, size=size, root=TREE.root(size))
    path = TREE.consistency_path(first, size)
    verify_consistency(
        path, first_size=first, first_root=TREE.root(first), second_size=size, second_root=TREE.root(size)
    )


@given(st.integers(0, SIZE), st.integers(0, 300))
def test_a_writer_continues_from_the_tiles(size: int, more: int) -> None:
    frontier = TREE.frontier(size)
    frontier.extend(LEAVES[size : size + more])
    assert frontier.root() == (TREE.root(min(size + more, SIZE)))


def test_nothing_is_asked_of_an_empty_tree() -> None:
    assert TREE.root(0) == EMPTY_ROOT
    assert TREE.consistency_path(0, 10) == []
    for wrong in (
        lambda: TREE.inclusion_path(0, 0),
        lambda: TREE.inclusion_path(-1, 5),
        lambda: TREE.consistency_path(5, 4),
    ):
        with pytest.raises(MerkleError):
            wrong()


def test_a_reader_that_returns_too_little_is_refused() -> None:
    with pytest.raises(MerkleError):
        TileTree(lambda tile: bytes(32)).root(2)


def test_many_readers_share_a_tree_whose_caches_are_too_small() -> None:
    tree = TileTree(TREE_READER, tiles_max=3, edges_max=2)
    sizes = [700, 1500, 66_000]

    def prove(number: int) -> bool:
        size = sizes[number % 3]
        index = number * 7919 % size
        root = inclusion_root(LEAVES[index], index, size, tree.inclusion_path(index, size))
        return root == ROOTS[size] == tree.root(size)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(prove, range(600)))


def test_caches_stay_within_their_bounds_and_still_answer() -> None:
    levels = {0: LEAVES[:2000], 1: [node.hash for node in Frontier().extend(LEAVES[:2000])]}
    reads: list[Tile] = []

    def read(tile: Tile) -> bytes:
        reads.append(tile)
        return b"".join(levels[tile.level][tile.index * 256 : tile.index * 256 + tile.width])

    tree = TileTree(read, tiles_max=2, edges_max=1)
    for size in (700, 1500, 2000):
        for index in range(0, size, 97):
            path = tree.inclusion_path(index, size)
            verify_inclusion(LEAVES[index], path, index=index, size=size, root=tree_root(LEAVES[:size]))
    assert len(tree._tiles) <= 2
    assert len(tree._edges) == 1
    asked = len(reads)
    warm = TileTree(read)
    for _ in range(2):
        for index in range(2000):
            warm.inclusion_path(index, 2000)
    assert len(reads) - asked == 9
