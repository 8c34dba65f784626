"""Merkle arithmetic against a naive recursive reading of RFC 6962, and proofs that must not verify."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify.errors import ConsistencyError, InclusionError, MerkleError
from sekisho_verify.merkle import (
    EMPTY_ROOT,
    Frontier,
    InclusionVerifier,
    inclusion_root,
    leaf_hash,
    node_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.verify.builders import tile_tree

SIZES = 300
LEAVES = [leaf_hash(b"leaf %d" % number) for number in range(SIZES)]
TREE = tile_tree(LEAVES)


def split(size: int) -> int:
    """The largest power of two below size."""
    return 1 << (size - 1).bit_length() - 1


@cache
def naive_root(start: int, end: int) -> bytes:
    """MTH(D[start:end]) of RFC 6962 2.1."""
    if end - start == 1:
        return LEAVES[start]
    middle = start + split(end - start)
    return sha256(b"\x01" + naive_root(start, middle) + naive_root(middle, end)).digest()


def naive_path(index: int, start: int, end: int) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962 2.1.1."""
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if index < middle:
        return [*naive_path(index, start, middle), naive_root(middle, end)]
    return [*naive_path(index, middle, end), naive_root(start, middle)]


def naive_consistency(size: int, start: int, end: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 6962 2.1.2; `size` is counted from `start`."""
    if size == end - start:
        return [] if whole else [naive_root(start, end)]
    middle = start + split(end - start)
    if size <= middle - start:
        return [*naive_consistency(size, start, middle, whole=whole), naive_root(middle, end)]
    left = middle - start
    return [*naive_consistency(size - left, middle, end, whole=False), naive_root(start, middle)]


def test_known_roots() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree_root([]) == EMPTY_ROOT
    # sha256 of one zero byte: the leaf of an empty entry.
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert tree_root([leaf_hash(b"")]) == leaf_hash(b"")
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert tree_root([left, right]) == sha256(b"\x01" + left + right).digest() == node_hash(left, right)


def test_roots_and_inclusion_paths_of_all_sizes() -> None:
    for size in range(1, SIZES + 1):
        root = naive_root(0, size)
        assert tree_root(LEAVES[:size]) == TREE.root(size) == root
        verifier = InclusionVerifier(size, root)
        for index in range(size):
            path = TREE.inclusion_path(index, size)
            assert path == naive_path(index, 0, size)
            verify_inclusion(LEAVES[index], path, index=index, size=size, root=root)
            verifier.verify(LEAVES[index], path, index=index)


def test_consistency_of_all_sizes() -> None:
    for second in range(1, SIZES + 1, 7):
        for first in range(1, second + 1):
            path = TREE.consistency_path(first, second)
            assert path == naive_consistency(first, 0, second, whole=True)
            verify_consistency(
                path,
                first_size=first,
                first_root=naive_root(0, first),
                second_size=second,
                second_root=naive_root(0, second),
            )


indices = st.integers(1, SIZES).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@given(indices, st.data())
def test_a_changed_inclusion_path_fails(place: tuple[int, int], data: st.DataObject) -> None:
    size, index = place
    path, root = TREE.inclusion_path(index, size), TREE.root(size)
    changed = list(path)
    change = data.draw(st.sampled_from(["flip", "drop", "repeat", "swap", "append", "shorten"]))
    at = data.draw(st.integers(0, max(len(path) - 1, 0)))
    if change == "append" or not path:
        changed.append(LEAVES[0])
    elif change == "flip":
        changed[at] = bytes([changed[at][0] ^ 1]) + changed[at][1:]
    elif change == "drop":
        del changed[at]
    elif change == "repeat":
        changed.insert(at, changed[at])
    elif change == "swap":
        other = data.draw(st.integers(0, len(path) - 1))
        changed[at], changed[other] = changed[other], changed[at]
    else:
        changed[at] = changed[at][:31]
    verifier = InclusionVerifier(size, root)
    verifier.verify(LEAVES[index], path, index=index)
    if changed == path:
        return
    with pytest.raises(InclusionError):
        verify_inclusion(LEAVES[index], changed, index=index, size=size, root=root)
    with pytest.raises(InclusionError):
        verifier.verify(LEAVES[index], changed, index=index)
    verifier.verify(LEAVES[index], path, index=index)


@given(indices, st.integers(-2, SIZES + 2), st.integers(0, SIZES + 2))
def test_another_index_or_size_fails(place: tuple[int, int], index: int, size: int) -> None:
    path, root = TREE.inclusion_path(place[1], place[0]), TREE.root(place[0])
    if (size, index) == place:
        verify_inclusion(LEAVES[index], path, index=index, size=size, root=root)
        return
    if size == place[0]:
        with pytest.raises(InclusionError):
            verify_inclusion(LEAVES[place[1]], path, index=index, size=size, root=root)
    elif not 0 <= index < size:
        with pytest.raises(InclusionError):
            inclusion_root(LEAVES[place[1]], index, size, path)


@given(
    st.integers(1, SIZES), st.lists(st.tuples(st.integers(-1, SIZES), st.integers(0, SIZES - 1)), max_size=40)
)
def test_verifying_many_accepts_exactly_what_verifying_one_accepts(
    size: int, claims: list[tuple[int, int]]
) -> None:
    """Claims name an index and the leaf whose proof is shown for it, so that most near misses are wrong."""
    root = TREE.root(size)
    verifier = InclusionVerifier(size, root)
    for index, shown in claims:
        leaf, path = LEAVES[shown % size], TREE.inclusion_path(shown % size, size)
        alone = accepted(partial(verify_inclusion, leaf, path, index=index, size=size, root=root))
        among_many = accepted(partial(verifier.verify, leaf, path, index=index))
        assert alone == among_many == (index == shown % size)


def accepted(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InclusionError:
        return False
    return True


@given(st.integers(1, SIZES), st.integers(1, SIZES), st.data())
def test_a_changed_consistency_path_fails(one: int, other: int, data: st.DataObject) -> None:
    first, second = sorted((one, other))
    path = TREE.consistency_path(first, second)
    changed = list(path)
    change = data.draw(st.sampled_from(["flip", "drop", "repeat", "append", "shorten"]))
    if change == "append" or not path:
        changed.append(LEAVES[0])
    else:
        at = data.draw(st.integers(0, len(path) - 1))
        if change == "flip":
            changed[at] = bytes([changed[at][0] ^ 1]) + changed[at][1:]
        elif change == "drop":
            del changed[at]
        elif change == "repeat":
            changed.insert(at, changed[at])
        else:
            changed[at] = changed[at][1:]
    with pytest.raises(ConsistencyError):
        verify_consistency(
            changed,
            first_size=first,
            first_root=TREE.root(first),
            second_size=second,
            second_root=TREE.root(second),
        )


def test_consistency_edges() -> None:
    root = TREE.root(9)
    verify_consistency([], first_size=0, first_root=EMPTY_ROOT, second_size=9, second_root=root)
    verify_consistency([], first_size=9, first_root=root, second_size=9, second_root=root)
    verify_consistency([], first_size=0, first_root=EMPTY_ROOT, second_size=0, second_root=EMPTY_ROOT)
    wrong = [(9, root, 8, root), (0, root, 9, root), (9, TREE.root(8), 9, root), (-1, root, 9, root)]
    wrong += [(0, EMPTY_ROOT, 0, root), (0, root, 0, root), (0, root, 0, EMPTY_ROOT)]
    for first_size, first_root, second_size, second_root in wrong:
        with pytest.raises(ConsistencyError):
            verify_consistency(
                [],
                first_size=first_size,
                first_root=first_root,
                second_size=second_size,
                second_root=second_root,
            )
    with pytest.raises(ConsistencyError):
        verify_consistency(
            TREE.consistency_path(5, 9),
            first_size=5,
            first_root=TREE.root(5),
            second_size=9,
            second_root=bytes(32),
        )


@given(st.lists(st.integers(0, 40), max_size=12))
def test_a_frontier_grown_in_batches_equals_the_whole(batches: list[int]) -> None:
    frontier, size = Frontier(), 0
    levels: dict[tuple[int, int], bytes] = {}
    for wished in batches:
        count = min(wished, SIZES - size)
        for node in frontier.extend(LEAVES[size : size + count]):
            levels[node.level, node.index] = node.hash
        size += count
        restored = Frontier(size, frontier.hashes())
        assert restored.root() == frontier.root() == tree_root(LEAVES[:size])
        assert frontier.size == restored.size == size
    expected = {(1, index): naive_root(index * 256, index * 256 + 256) for index in range(size // 256)}
    assert levels == expected


@pytest.mark.parametrize(
    ("size", "hashes"), [(1, []), (0, [bytes(32)]), (3, [bytes(32)]), (2, [bytes(31)]), (-1, [])]
)
def test_a_frontier_that_cannot_be_is_refused(size: int, hashes: list[bytes]) -> None:
    with pytest.raises(MerkleError):
        Frontier(size, hashes)


def test_a_leaf_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(MerkleError):
        Frontier().extend([b"short"])
