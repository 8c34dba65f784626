"""Public names say what their signature cannot, calls stay readable, and silenced checks say why."""

from __future__ import annotations

from tests.support import style, tree


def test_public_names_have_docstrings() -> None:
    paths = tree.files("src/*.py", "scripts/*.py")
    assert [line for path in paths for line in style.docstrings(tree.parse(path), tree.relative(path))] == []


def test_at_most_four_arguments_go_by_position() -> None:
    paths = tree.files("src/*.py", "scripts/*.py", "examples/*.py", "benchmarks/*.py")
    assert [
        line for path in paths for line in style.positional_arguments(tree.parse(path), tree.relative(path))
    ] == []


def test_every_silenced_check_names_its_rule_and_its_reason() -> None:
    # This rule's own examples are spelled out in the test that follows them.
    examples = tree.ROOT / "tests" / "architecture" / "test_style.py"
    paths = [path for path in tree.files("*.py") if path != examples]
    assert [
        line for path in paths for line in style.suppressions(path.read_text(), tree.relative(path))
    ] == []
