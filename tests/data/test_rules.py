"""What a tree, a residency and a fetch may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.data import rules
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.facts import Ref
from sekisho_verify import canonical
from sekisho_wire.trees import MODE_PLAIN, TreeFile
from tests.data.world import TEXT, digest_of

COUNTRIES = st.sampled_from(["JP", "US", "DE", "FR"])
DIGEST = digest_of(b"")


@given(st.lists(COUNTRIES, min_size=1))
def test_a_residency_is_a_set_in_order(countries: list[str]) -> None:
    checked = rules.check_residency(countries)
    assert checked == sorted(set(countries))
    assert rules.check_residency(checked) == checked


@given(st.lists(COUNTRIES, min_size=1))
def test_anywhere_stands_alone(countries: list[str]) -> None:
    assert rules.check_residency(["any", "any"]) == ["any"]
    with pytest.raises(SekishoError) as caught:
        rules.check_residency([*countries, "any"])
    assert caught.value.code == "data.residency"


def test_a_whole_tree_passes() -> None:
    files = rules.check_tree(TEXT.manifest, size_bytes=TEXT.size_bytes, files=len(TEXT.files))
    assert sorted(file.path for file in files) == ["a.txt", "deep/er/b.txt", "empty"]
    rules.check_complete(files, lambda _digest: True)


@pytest.mark.parametrize(("more_bytes", "more_files"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_a_tree_is_as_large_as_was_said(more_bytes: int, more_files: int) -> None:
    with pytest.raises(SekishoError) as caught:
        rules.check_tree(
            TEXT.manifest, size_bytes=TEXT.size_bytes + more_bytes, files=len(TEXT.files) + more_files
        )
    assert caught.value.code == "data.tree"


def manifest(*rows: list[object]) -> bytes:
    """A manifest nobody's encoder would make."""
    return canonical.encode({"v": 1, "files": [list(row) for row in rows]})


BAD_PATHS = [
    "/etc/passwd",
    "../up",
    "a/../../up",
    "a/./b",
    "a//b",
    "a/",
    "",
    ".",
    "..",
    "a\\b",
    "a\nb",
    "a\0b",
    "a\x7f",
    "e\u0301",
    "x" * 256,
    "/".join(["d" * 200] * 6),
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=ascii)
def test_a_path_that_could_leave_its_folder_is_refused(path: str) -> None:
    with pytest.raises(SekishoError) as caught:
        rules.check_tree(manifest([path, 0, DIGEST, MODE_PLAIN]), size_bytes=0, files=1)
    assert caught.value.code == "data.tree"


@pytest.mark.parametrize(
    "rows",
    [
        [["a", 0, DIGEST, MODE_PLAIN], ["a", 0, DIGEST, MODE_PLAIN]],
        [["A", 0, DIGEST, MODE_PLAIN], ["a", 0, DIGEST, MODE_PLAIN]],
        [["D/x", 0, DIGEST, MODE_PLAIN], ["d/y", 0, DIGEST, MODE_PLAIN]],
        [["a", 0, DIGEST, MODE_PLAIN], ["a/b", 0, DIGEST, MODE_PLAIN]],
        [["b", 0, DIGEST, MODE_PLAIN], ["a", 0, DIGEST, MODE_PLAIN]],
        [["a", 0, DIGEST, 0o120777]],
        [["a", 0, DIGEST, 0o4755]],
        [["a", 0, "sha256:" + "G" * 64, MODE_PLAIN]],
        [["a", -1, DIGEST, MODE_PLAIN]],
        [["a", True, DIGEST, MODE_PLAIN]],
        [["a", 0, DIGEST]],
        [["a", 0, DIGEST, MODE_PLAIN, "link to b"]],
    ],
)
def test_collisions_links_and_odd_entries_are_refused(rows: list[list[object]]) -> None:
    with pytest.raises(SekishoError) as caught:
        rules.check_tree(manifest(*rows), size_bytes=0, files=len(rows))
    assert caught.value.code == "data.tree"


@given(st.binary(max_size=200))
def test_bytes_that_are_no_manifest_get_one_problem(content: bytes) -> None:
    with pytest.raises(SekishoError) as caught:
        rules.check_tree(content, size_bytes=0, files=1)
    assert caught.value.code == "data.tree"


@given(st.sets(st.sampled_from([file.digest for file in TEXT.files])))
def test_what_is_missing_is_counted_and_named(there: set[str]) -> None:
    missing = [file.path for file in TEXT.files if file.digest not in there]
    if not missing:
        rules.check_complete(TEXT.files, there.__contains__)
        return
    with pytest.raises(SekishoError) as caught:
        rules.check_complete(TEXT.files, there.__contains__)
    assert caught.value.code == "data.incomplete"
    assert caught.value.params == {"missing": len(missing), "files": len(TEXT.files), "path": missing[0]}


def test_a_long_path_is_cut_in_the_problem() -> None:
    with pytest.raises(SekishoError) as caught:
        rules.check_complete([TreeFile("d" * 200, 0, DIGEST, MODE_PLAIN)], lambda _digest: False)
    assert caught.value.params["path"] == "d" * 120


def test_without_its_manifest_a_tree_is_incomplete() -> None:
    rules.check_complete_manifest(present=True)
    with pytest.raises(SekishoError) as caught:
        rules.check_complete_manifest(present=False)
    assert caught.value.code == "data.incomplete"


@pytest.mark.parametrize("level", range(6))
@pytest.mark.parametrize("owners", [["org_a"], ["org_a", "org_b"]])
def test_above_level_one_or_with_others_nothing_is_fetched(level: int, owners: list[str]) -> None:
    if level <= 1 and owners == ["org_a"]:
        rules.check_fetch(level, owners, "org_a")
        return
    with pytest.raises(SekishoError) as caught:
        rules.check_fetch(level, owners, "org_a")
    assert (caught.value.code, caught.value.params) == ("data.export_needed", {"level": level})


def test_what_the_charter_is_told_of_data() -> None:
    entity = rules.labelled(
        "Dataset", "ds_1", owner="org_a", level=2, labels=["personal", "personal"], residency=["JP"]
    )
    assert entity.ref == Ref("Dataset", "ds_1")
    assert entity.attributes == {
        "owner": Ref("Org", "org_a"),
        "level": 2,
        "labels": frozenset({"personal"}),
        "residency": frozenset({"JP"}),
    }
