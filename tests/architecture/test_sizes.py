"""Sizes of functions and files stay where a person can hold them in mind."""

from __future__ import annotations

import pytest

from tests.support import style, tree

FAMILIES = {
    "product": ("src/*.py",),
    "tests": ("tests/*.py",),
    "others": ("scripts/*.py", "examples/*.py", "benchmarks/*.py"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_function_and_no_file_is_over_its_limit(family: str) -> None:
    paths = tree.files(*FAMILIES[family])
    found = [f for path in paths for f in tree.functions(tree.parse(path), tree.relative(path))]
    long_files = {tree.relative(path): len(path.read_text().splitlines()) for path in paths}
    assert found
    assert style.long_functions(found) == []
    assert {name: lines for name, lines in long_files.items() if lines > style.FILE_LINES_MAX} == {}


def test_the_product_as_a_whole_stays_small_grained() -> None:
    paths = tree.product_files()
    lines = [f.lines for path in paths for f in tree.functions(tree.parse(path), tree.relative(path))]
    long_share = sum(count > style.FUNCTION_LINES_LONG for count in lines) / len(lines)
    assert style.percentile(lines, 90) <= style.FUNCTION_LINES_P90
    assert long_share <= style.FUNCTIONS_LONG_SHARE
    assert (
        style.percentile((len(path.read_text().splitlines()) for path in paths), 90) <= style.FILE_LINES_P90
    )
