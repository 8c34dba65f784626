"""C2SP tlog-tiles: coordinates, paths, entry bundles, and proofs built from stored tiles.

A tile is up to 256 consecutive hashes of one level; level L holds the nodes at height 8 L. `TileTree` keeps
tiles expanded with the nodes between levels, and the right edge of each size asked for, so that a warm proof
is a walk of slices without a hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from hashlib import sha256
from threading import Lock
from typing import NamedTuple, Protocol, TypeVar

from sekisho_verify.errors import MerkleError
from sekisho_verify.merkle import EMPTY_ROOT, HASH_BYTES, TILE_HEIGHT, Frontier, node_hash

TILE_WIDTH = 1 << TILE_HEIGHT
ENTRY_BYTES_MAX = 0xFFFF
_LEVEL_MAX = 63

Key = TypeVar("Key")
Value = TypeVar("Value")


class Tile(NamedTuple):
    """Coordinates of a tile: `width` is 256 when full, 1 to 255 when partial."""

    level: int
    index: int
    width: int

    def path(self) -> str:
        """Relative address such as `tile/0/x001/234.p/17`."""
        return f"tile/{self.level}/{_number(self.index)}{_partial(self.width)}"

    def entries_path(self) -> str:
        """Relative address of the entry bundle under a level 0 tile, such as `tile/entries/x001/234`."""
        return f"tile/entries/{_number(self.index)}{_partial(self.width)}"


class TileReader(Protocol):
    """Where tiles come from: a database, files or a server."""

    def __call__(self, tile: Tile) -> bytes:
        """At least the tile's first `width` hashes, 32 bytes each, concatenated."""
        ...


class _Edge(NamedTuple):
    """Right edge of one size, by height.

    `roots`: the subtree that holds the last leaf. `borders`: the left siblings from that height up.
    """

    roots: tuple[bytes, ...]
    borders: tuple[tuple[bytes, ...], ...]


def tile_at(level: int, index: int, size: int) -> Tile:
    """The tile with these coordinates in a tree of `size` leaves; MerkleError where it has none."""
    inside = 0 <= level <= _LEVEL_MAX and index >= 0
    width = min((size >> TILE_HEIGHT * level) - index * TILE_WIDTH, TILE_WIDTH) if inside else 0
    if width < 1:
        raise MerkleError("merkle.tile", f"no tile {level}/{index} in a tree of {size}")
    return Tile(level, index, width)


def tiles_between(old_size: int, new_size: int) -> Iterator[Tile]:
    """Every tile to publish before a checkpoint of `new_size`, if all of `old_size` is out already."""
    level = 0
    while (new_nodes := new_size >> TILE_HEIGHT * level) and level <= _LEVEL_MAX:
        old_nodes = old_size >> TILE_HEIGHT * level
        if new_nodes > old_nodes:
            for index in range(old_nodes // TILE_WIDTH, -(-new_nodes // TILE_WIDTH)):
                yield tile_at(level, index, new_size)
        level += 1


def encode_entries(entries: Iterable[bytes]) -> bytes:
    """Entry bundle: each entry after its length as two big-endian bytes."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise MerkleError("merkle.entry", f"an entry of {len(entry)} bytes")
        parts += [len(entry).to_bytes(2, "big"), entry]
    return b"".join(parts)


def decode_entries(data: bytes) -> list[bytes]:
    """Entries of an entry bundle; MerkleError where its lengths do not add up."""
    entries: list[bytes] = []
    offset = 0
    while offset < len(data):
        start = offset + 2
        offset = start + int.from_bytes(data[offset:start], "big")
        if offset > len(data) or start > len(data):
            raise MerkleError("merkle.entry", "an entry bundle that ends inside an entry")
        entries.append(data[start:offset])
    return entries


class TileTree:
    """Roots and proofs of an append-only tree at any size for which the reader has tiles.

    Safe for many readers at once: cached tiles are immutable bytes and replaced whole, the lock is held only
    while the caches are trimmed. What the reader returns is trusted: proofs from a lying reader simply do not
    verify. A full tile costs 16 KiB of memory; a million leaves have 3,922 of them.
    """

    def __init__(self, read: TileReader, *, tiles_max: int = 8192, edges_max: int = 64) -> None:
        """`tiles_max` and `edges_max` bound the two caches; the oldest entries leave first."""
        self._read = read
        self._tiles: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._edges: dict[int, _Edge] = {}
        self._tiles_max, self._edges_max = tiles_max, edges_max
        self._lock = Lock()

    def root(self, size: int) -> bytes:
        """Root of the first `size` leaves."""
        return self._edge(size).roots[-1] if size else EMPTY_ROOT

    def frontier(self, size: int) -> Frontier:
        """The right edge from which a writer continues at `size`."""
        heights = [height for height in range(size.bit_length()) if size >> height & 1]
        return Frontier(size, [self.node(height, (size >> height) - 1, size) for height in reversed(heights)])

    def node(self, height: int, index: int, size: int) -> bytes:
        """Hash of the whole subtree of 2**height leaves that starts at leaf index * 2**height."""
        level, inside = divmod(height, TILE_HEIGHT)
        tile = self._tile(level, index >> (TILE_HEIGHT - inside), size)
        start = ((TILE_WIDTH >> inside) | (index & ((TILE_WIDTH >> inside) - 1))) * HASH_BYTES
        return tile[start : start + HASH_BYTES]

    def inclusion_path(self, index: int, size: int) -> list[bytes]:
        """Inclusion proof of leaf `index` in the first `size` leaves, bottom up."""
        if not 0 <= index < size:
            raise MerkleError("merkle.index", f"no leaf {index} in a tree of {size}")
        edge = self._edges.get(size) or self._edge(size)
        inner = (index ^ (size - 1)).bit_length()
        if inner == 0:
            return list(edge.borders[0])
        path: list[bytes] = []
        add, cached = path.append, self._tiles.get
        level, rest, whole = 0, index, inner - 1
        while whole > 0:
            width, tile = cached((level, rest >> TILE_HEIGHT), (0, b""))
            if width != TILE_WIDTH:
                tile = self._tile(level, rest >> TILE_HEIGHT, size)
            place = TILE_WIDTH | (rest & (TILE_WIDTH - 1))
            for _ in range(min(whole, TILE_HEIGHT)):
                start = (place ^ 1) << 5
                add(tile[start : start + HASH_BYTES])
                place >>= 1
            level, rest, whole = level + 1, rest >> TILE_HEIGHT, whole - TILE_HEIGHT
        # The subtree that holds the last leaf may be unfinished: only the edge knows its hash.
        add(edge.roots[inner - 1])
        path += edge.borders[inner]
        return path

    def consistency_path(self, first_size: int, second_size: int) -> list[bytes]:
        """Consistency proof between two sizes, bottom up (RFC 9162 2.1.4.1); empty for 0 and equal sizes."""
        if not 0 <= first_size <= second_size:
            raise MerkleError("merkle.size", f"no consistency from {first_size} to {second_size}")
        if first_size in {0, second_size}:
            return []
        path: list[bytes] = []
        start, end, wanted, left_edge = 0, second_size, first_size, True
        while wanted != end - start:
            height = (end - start - 1).bit_length() - 1
            middle = start + (1 << height)
            if start + wanted <= middle:
                path.append(self._range_root(middle, end, second_size))
                end = middle
            else:
                path.append(self._range_root(start, middle, second_size))
                wanted, start, left_edge = wanted - (middle - start), middle, False
        if not left_edge:
            path.append(self._range_root(start, end, second_size))
        path.reverse()
        return path

    def _range_root(self, start: int, end: int, size: int) -> bytes:
        """Root over leaves [start, end) of the tree at `size`: a whole subtree, or one with its last leaf."""
        height = (end - start - 1).bit_length()
        if end - start == 1 << height:
            return self.node(height, start >> height, size)
        return self._edge(size).roots[height]

    def _edge(self, size: int) -> _Edge:
        edge = self._edges.get(size)
        if edge is None:
            edge = self._make_edge(size)
            with self._lock:
                self._edges[size] = edge
                _trim(self._edges, self._edges_max)
        return edge

    def _make_edge(self, size: int) -> _Edge:
        last = size - 1
        roots = [self.node(0, last, size)]
        lefts: list[tuple[int, bytes]] = []
        for height in range(last.bit_length()):
            if last >> height & 1:
                left = self.node(height, (last >> height) - 1, size)
                lefts.append((height, left))
                roots.append(node_hash(left, roots[-1]))
            else:
                roots.append(roots[-1])
        borders = [
            tuple(left for at, left in lefts if at >= height) for height in range(last.bit_length() + 1)
        ]
        return _Edge(tuple(roots), tuple(borders))

    def _tile(self, level: int, index: int, size: int) -> bytes:
        """Expanded tile, at least as wide as `size` demands."""
        wanted = tile_at(level, index, size)
        width, expanded = self._tiles.get((level, index), (0, b""))
        if width < wanted.width:
            data = self._read(wanted)
            if len(data) < wanted.width * HASH_BYTES:
                raise MerkleError("merkle.tile", f"{len(data)} bytes for {wanted.path()}")
            expanded = expand_tile(data[: wanted.width * HASH_BYTES])
            with self._lock:
                self._tiles[level, index] = (wanted.width, expanded)
                _trim(self._tiles, self._tiles_max)
        return expanded


def expand_tile(data: bytes) -> bytes:
    """A tile and all whole nodes above it, as a binary heap of 512 places: root at 1, hashes from 256."""
    heap = [bytes(HASH_BYTES)] * (2 * TILE_WIDTH)
    count = len(data) // HASH_BYTES
    heap[TILE_WIDTH : TILE_WIDTH + count] = [
        data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)
    ]
    hasher, start = sha256, TILE_WIDTH
    while start > 1:
        start, count = start >> 1, count >> 1
        for place in range(start, start + count):
            heap[place] = hasher(b"\x01" + heap[2 * place] + heap[2 * place + 1]).digest()
    return b"".join(heap)


def _trim(cache: MutableMapping[Key, Value], limit: int) -> None:
    while len(cache) > limit:
        del cache[next(iter(cache))]


def _number(index: int) -> str:
    groups = f"{index % 1000:03}"
    while index := index // 1000:
        groups = f"x{index % 1000:03}/{groups}"
    return groups


def _partial(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"
