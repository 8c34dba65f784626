"""The repository as the architecture tests see it: files, syntax trees, public names."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
CAPABILITIES = (
    *("identity", "charter", "ledger", "sites", "data", "compute", "inference"),
    *("trust", "talent", "programme"),
)
"""Modules of `sekisho` that own tables and commands; console, http and background only speak to them."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """One function or method with where it stands. `lines` counts from its first decorator to its end."""

    name: str
    where: str
    lines: int
    node: FunctionNode
    public: bool
    method: bool


def files(*patterns: str) -> list[Path]:
    """Files of the working tree that git tracks or would track, matching any of git's patterns, sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    paths = (ROOT / name for name in sorted(set(listed.split("\0"))) if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def product_files() -> list[Path]:
    """Every Python file of the product."""
    return files("src/*.py")


def capabilities() -> list[Path]:
    """Folders of the capabilities that exist so far."""
    return [SOURCE / "sekisho" / name for name in CAPABILITIES if (SOURCE / "sekisho" / name).is_dir()]


@functools.lru_cache(maxsize=4096)
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file, read once per process."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def relative(path: Path) -> str:
    """A path as a violation names it."""
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module, where: str) -> Iterator[Function]:
    """Every function of a file; a function inside another counts on its own and within its parent."""
    yield from _functions(tree, where, parents=())


def _functions(node: ast.AST, where: str, parents: tuple[ast.AST, ...]) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FunctionNode):
            first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            names = [parent.name for parent in parents if isinstance(parent, ast.ClassDef | FunctionNode)]
            yield Function(
                name=".".join([*names, child.name]),
                where=f"{where}:{child.lineno}",
                lines=(child.end_lineno or child.lineno) - first + 1,
                node=child,
                public=not any(name.startswith("_") for name in [*names, child.name])
                and not any(isinstance(parent, FunctionNode) for parent in parents),
                method=bool(parents) and isinstance(parents[-1], ast.ClassDef),
            )
        inner = (*parents, child) if isinstance(child, ast.ClassDef | FunctionNode) else parents
        yield from _functions(child, where, inner)
