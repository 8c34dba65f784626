"""Merkle arithmetic of RFC 6962 and RFC 9162 over SHA-256: roots, proofs and a growing right edge.

Nothing here reads storage; `tiles.py` builds proofs from stored tiles. Hashes are 32 raw bytes throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from sekisho_verify.errors import ConsistencyError, InclusionError, MerkleError

HASH_BYTES = 32
TILE_HEIGHT = 8
EMPTY_ROOT = sha256(b"").digest()

_hash_lengths = {HASH_BYTES}


class LevelNode(NamedTuple):
    """A finished node at a height that tiles store: `index` counts from the left within tile `level`."""

    level: int
    index: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a log entry's bytes; the prefix keeps leaves and nodes apart (RFC 6962 2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node from its children's hashes."""
    return sha256(b"\x01" + left + right).digest()


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """Root over leaf hashes in order; for no leaves the hash of nothing, as RFC 6962 says."""
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier.root()


def inclusion_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that this path claims; InclusionError where its length cannot belong to (index, size).

    One hash per step and next to nothing else is what makes verification fast.
    """
    inner = _inner_steps(index, size, path)
    hasher, node = sha256, leaf
    for sibling in path[:inner]:
        if index & 1:
            node = hasher(b"\x01" + sibling + node).digest()
        else:
            node = hasher(b"\x01" + node + sibling).digest()
        index >>= 1
    for sibling in path[inner:]:
        node = hasher(b"\x01" + sibling + node).digest()
    return node


def verify_inclusion(leaf: bytes, path: Sequence[bytes], *, index: int, size: int, root: bytes) -> None:
    """InclusionError unless the leaf hash is at `index` of the tree of `size` leaves with this root."""
    if inclusion_root(leaf, index, size, path) != root:
        raise InclusionError("inclusion.root", f"leaf {index} does not lead to the checkpoint's root")


class InclusionVerifier:
    """Verifies many leaves of one tree; neighbours' ways to the root meet, and what is above is hashed once.

    A leaf whose way meets the last verified one at a node, with the same hashes above, needs no more than that
    node to be the same. Accepts exactly what `verify_inclusion` accepts.
    """

    def __init__(self, size: int, root: bytes) -> None:
        self._size, self._root = size, root
        self._index, self._inner = 0, 0
        self._path: list[bytes] = []
        self._nodes: list[bytes] = []

    def verify(self, leaf: bytes, path: list[bytes], *, index: int) -> None:
        """InclusionError unless the leaf hash is at `index`."""
        meeting = (index ^ self._index).bit_length()
        if index >= 0 and meeting < self._inner and path[meeting:] == self._path[meeting:]:
            nodes = _climb(leaf, index, path[:meeting])
            nodes += self._nodes[meeting + 1 :] if nodes[-1] == self._nodes[meeting] else []
        else:
            self._inner = 0
            inner = _inner_steps(index, self._size, path)
            nodes = _climb(leaf, index, path[:inner])
            nodes += _climb(nodes[-1], -1, path[inner:])[1:]
            self._inner = inner
        if nodes[-1] != self._root or len(nodes) != len(path) + 1:
            self._inner = 0
            raise InclusionError("inclusion.root", f"leaf {index} does not lead to the checkpoint's root")
        self._index, self._path, self._nodes = index, path, nodes


def _inner_steps(index: int, size: int, path: Sequence[bytes]) -> int:
    """Steps below the height where the leaf's way and the last leaf's way part; above, siblings are on the left.

    Below it the index's bits say which side a sibling is on.
    """
    if not 0 <= index < size:
        raise InclusionError("inclusion.index", f"no leaf {index} in a tree of {size}")
    inner = (index ^ (size - 1)).bit_length()
    if len(path) != inner + (index >> inner).bit_count():
        raise InclusionError("inclusion.length", f"a path of {len(path)} hashes for leaf {index} of {size}")
    if path and set(map(len, path)) != _hash_lengths:
        raise InclusionError("inclusion.hash", "a hash that is not 32 bytes")
    return inner


def _climb(node: bytes, index: int, path: Sequence[bytes]) -> list[bytes]:
    """The nodes from one upwards while the index's bits say which side the sibling is on (-1: always left)."""
    hasher, nodes = sha256, [node]
    for sibling in path:
        node = hasher(b"\x01" + (sibling + node if index & 1 else node + sibling)).digest()
        nodes.append(node)
        index >>= 1
    return nodes


def verify_consistency(
    path: Sequence[bytes], *, first_size: int, first_root: bytes, second_size: int, second_root: bytes
) -> None:
    """ConsistencyError unless the second tree extends the first (RFC 9162 2.1.4.2).

    The empty tree is extended by every tree and equal sizes need equal roots; both take an empty path.
    """
    if not 0 <= first_size <= second_size:
        raise ConsistencyError(
            "consistency.size", f"a tree of {second_size} cannot extend one of {first_size}"
        )
    if first_size in {0, second_size}:
        expected = second_root if first_size == second_size else EMPTY_ROOT
        if path or first_root != expected or (not first_size and first_root != EMPTY_ROOT):
            raise ConsistencyError("consistency.root", "equal sizes with different roots, or a needless path")
        return
    if set(map(len, path)) != _hash_lengths:
        raise ConsistencyError("consistency.hash", "no path, or a hash that is not 32 bytes")
    first, second = _consistency_roots(path, first_size, second_size, first_root)
    if first != first_root:
        raise ConsistencyError(
            "consistency.first", f"the path does not lead to the root seen at {first_size}"
        )
    if second != second_root:
        raise ConsistencyError("consistency.second", f"the path does not lead to the root at {second_size}")


def _consistency_roots(
    path: Sequence[bytes], first_size: int, second_size: int, first_root: bytes
) -> tuple[bytes, bytes]:
    """Both roots a path leads to; a first tree that is a whole subtree stands in for its first step."""
    steps = list(path)
    if first_size & (first_size - 1) == 0:
        steps.insert(0, first_root)
    trailing = (first_size & -first_size).bit_length() - 1
    position, last = (first_size - 1) >> trailing, (second_size - 1) >> trailing
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ConsistencyError("consistency.length", "a path that is too long")
        if position & 1 or position == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            second = node_hash(second, step)
        position, last = position >> 1, last >> 1
    if last:
        raise ConsistencyError("consistency.length", "a path that is too short")
    return first, second


class Frontier:
    """The right edge of a growing tree: at most 64 hashes, from which root and further growth follow.

    Owned by one writer; not safe to share between threads while it grows.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Restore an edge from `hashes` as `hashes()` gave them: one per set bit of `size`, tallest first."""
        if size < 0 or len(hashes) != size.bit_count() or (hashes and set(map(len, hashes)) != _hash_lengths):
            raise MerkleError(
                "merkle.frontier", f"{len(hashes)} hashes cannot be the right edge at size {size}"
            )
        heights = [height for height in range(size.bit_length()) if size >> height & 1]
        self._waiting = dict(zip(reversed(heights), hashes, strict=True))
        self._size = size

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._size

    def hashes(self) -> list[bytes]:
        """Roots of the whole subtrees that make up the tree, tallest (leftmost) first."""
        return [self._waiting[height] for height in sorted(self._waiting, reverse=True)]

    def root(self) -> bytes:
        """Root at the present size."""
        if not self._waiting:
            return EMPTY_ROOT
        node, *taller = (self._waiting[height] for height in sorted(self._waiting))
        for left in taller:
            node = node_hash(left, node)
        return node

    def extend(self, leaves: Iterable[bytes]) -> list[LevelNode]:
        """Append leaf hashes; returns the nodes finished at tile levels 1 and above (level 0 are the leaves).

        Works height by height over the whole batch, which costs one hash per node and no step per leaf.
        """
        nodes = list(leaves)
        if nodes and set(map(len, nodes)) != _hash_lengths:
            raise MerkleError("merkle.leaf", "a leaf hash that is not 32 bytes")
        finished: list[LevelNode] = []
        hasher, height, first = sha256, 0, self._size
        self._size += len(nodes)
        while nodes:
            if first & 1:
                nodes.insert(0, self._waiting.pop(height))
            if len(nodes) & 1:
                self._waiting[height] = nodes.pop()
            pairs = iter(nodes)
            nodes = [
                hasher(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)
            ]
            height, first = height + 1, first >> 1
            if height % TILE_HEIGHT == 0:
                level = height // TILE_HEIGHT
                finished += [LevelNode(level, first + step, node) for step, node in enumerate(nodes)]
        return finished
