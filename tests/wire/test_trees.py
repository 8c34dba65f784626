from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_verify import canonical
from sekisho_wire.trees import TreeError, TreeFile, check_path, decode_tree, encode_tree, size_of

DIGEST = "sha256:" + "0" * 64

BAD_PATHS = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "a/../b",
    "a/..",
    ".",
    "./a",
    "a//b",
    "a/",
    "a\0b",
    "a\nb",
    "a\\b",
    "\x7f",
    "cafe\u0301",
    "\udc80",
    "x" * 256,
    "/".join(["d" * 200] * 6),
]


def entry(path: str, **changes: Any) -> TreeFile:
    values: dict[str, Any] = {"path": path, "size_bytes": 1, "digest": DIGEST, "mode": 0o644}
    return TreeFile(**(values | changes))


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_that_could_leave_or_differ(path: str) -> None:
    with pytest.raises(TreeError) as caught:
        check_path(path)
    assert caught.value.code == "tree.path"
    with pytest.raises(TreeError):
        encode_tree([entry(path)])


@pytest.mark.parametrize(
    "path", ["a", "a/b", "日本語/文書.txt", "..a", "a..", "...", " a", "caf\u00e9", "a" * 255]
)
def test_paths_that_are_fine(path: str) -> None:
    check_path(path)
    assert [file.path for file in decode_tree(encode_tree([entry(path)]))] == [path]


@pytest.mark.parametrize(
    "paths",
    [["a", "a"], ["a", "A"], ["x/a", "X/b"], ["a", "a/b"], ["d/e/f", "d/e"], ["stra\u00dfe", "strasse"]],
)
def test_names_that_meet_each_other(paths: list[str]) -> None:
    with pytest.raises(TreeError) as caught:
        encode_tree([entry(path) for path in paths])
    assert caught.value.code == "tree.collision"


@pytest.mark.parametrize(
    "change", [{"mode": 0o777}, {"mode": 0}, {"size_bytes": -1}, {"size_bytes": 2**53}, {"digest": "x"}]
)
def test_entries_out_of_bounds(change: dict[str, object]) -> None:
    with pytest.raises(TreeError):
        encode_tree([entry("a", **change)])


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), max_size=6))
def test_what_is_encoded_decodes_to_the_same(paths: list[str]) -> None:
    try:
        manifest = encode_tree([entry(path) for path in paths])
    except TreeError:
        return
    files = decode_tree(manifest)
    assert sorted(file.path for file in files) == sorted(paths)
    assert encode_tree(reversed(files)) == manifest
    assert size_of(files) == len(paths)


@given(st.binary(max_size=200))
def test_any_bytes_give_one_kind_of_error(content: bytes) -> None:
    with pytest.raises(TreeError):
        decode_tree(content)


@pytest.mark.parametrize(
    "value",
    [
        {"v": 2, "files": []},
        {"files": []},
        {"v": 1},
        {"v": 1, "files": {}},
        {"v": 1, "files": [], "surplus": 1},
        {"v": 1, "files": [["a", 1, DIGEST]]},
        {"v": 1, "files": [["a", True, DIGEST, 420]]},
        {"v": 1, "files": [["a", 1, DIGEST, 420, 1]]},
        {"v": 1, "files": [["b", 1, DIGEST, 420], ["a", 1, DIGEST, 420]]},
        {"v": 1, "files": ["a"]},
    ],
)
def test_manifests_of_the_wrong_shape(value: dict[str, object]) -> None:
    with pytest.raises(TreeError):
        decode_tree(canonical.encode(value))
