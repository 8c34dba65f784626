"""The house's own rules as functions from source to violations, so that each rule is itself tested.

A violation is one line: where, then what. An empty list is a clean file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.support.tree import Function, FunctionNode, functions

FUNCTION_LINES_MAX = 70
FUNCTION_LINES_P90 = 35
FUNCTION_LINES_LONG = 60
FUNCTIONS_LONG_SHARE = 0.02
FILE_LINES_MAX = 500
FILE_LINES_P90 = 350
POSITIONAL_MAX = 4
_SUMMARY_LENGTH_MIN = 10

_SUPPRESSION = re.compile(r"#\s*(type|pyrefly|mypy|pyright)\s*:\s*ignore(?P<code>\[[\w\-, ]+\])?(?P<rest>.*)")
_NOQA = re.compile(r"#\s*noqa(?P<code>:\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)?(?P<rest>.*)", re.IGNORECASE)
_SQL = re.compile(
    r"\b(select\b.+\bfrom\s+\w|insert\s+into\s+\w+\s*\(|update\s+\w+\s+set\s|delete\s+from\s+\w|create\s+table\s)",
    re.IGNORECASE | re.DOTALL,
)


def percentile(values: Iterable[int], percent: int) -> int:
    """The smallest value that at least `percent` per cent of the values do not exceed; 0 for none."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1] if ordered else 0


def long_functions(found: Iterable[Function]) -> list[str]:
    """Functions over the limit."""
    return [f"{f.where} {f.name}: {f.lines} lines" for f in found if f.lines > FUNCTION_LINES_MAX]


def positional_arguments(tree: ast.Module, where: str) -> list[str]:
    """Functions that more than four arguments can be handed to by position; `self` does not count."""
    found = []
    for function in functions(tree, where):
        arguments = function.node.args
        decorators = {d.id for d in function.node.decorator_list if isinstance(d, ast.Name)}
        bound = function.method and "staticmethod" not in decorators
        count = len(arguments.posonlyargs) + len(arguments.args) - bound
        if count > POSITIONAL_MAX:
            found.append(f"{function.where} {function.name}: {count} positional arguments")
    return found


def docstrings(tree: ast.Module, where: str) -> list[str]:
    """Public names whose docstring is missing or says no more than the name: modules, classes, functions."""
    found = [f"{where}:1 module: no docstring"] if _silent(tree, "") and tree.body else []
    found += [
        f"{where}:{node.lineno} {node.name}: no docstring worth the name"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and _silent(node, node.name)
    ]
    found += [
        f"{function.where} {function.name}: no docstring worth the name"
        for function in functions(tree, where)
        if function.public and not _overrides(function.node) and _silent(function.node, function.node.name)
    ]
    return sorted(found)


def _silent(node: ast.Module | ast.ClassDef | FunctionNode, name: str) -> bool:
    text = ast.get_docstring(node) or ""
    words = re.sub(r"[^a-z]", "", text.lower())
    return len(text) < _SUMMARY_LENGTH_MIN or words == re.sub(r"[^a-z]", "", name.lower())


def _overrides(node: FunctionNode) -> bool:
    names = {getattr(d, "id", getattr(d, "attr", "")) for d in node.decorator_list}
    return bool(names & {"override", "overload", "setter"})


def suppressions(text: str, where: str) -> list[str]:
    """Silenced checks that do not name the rule and give a reason: `# noqa: S603 - argv is fixed`."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern in (_SUPPRESSION, _NOQA):
            match = pattern.search(line)
            if match is None:
                continue
            if not match["code"]:
                found.append(f"{where}:{number} silences every rule")
            elif len(match["rest"].strip(" -:#")) < _SUMMARY_LENGTH_MIN:
                found.append(f"{where}:{number} gives no reason")
    return found


def sql_texts(tree: ast.Module, where: str) -> list[str]:
    """String literals that are SQL statements; only `tables.py` and the kernel may hold any."""
    documentation = {id(text) for text in _docstring_nodes(tree)}
    return [
        f"{where}:{node.lineno} SQL outside tables.py: {' '.join(node.value.split())[:50]}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documentation
        and _SQL.search(node.value)
    ]


def _docstring_nodes(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield statement.value


def used_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted names a file imports or reaches through an import (`time.time`, `http.client`), with lines."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                aliases[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}", node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dotted = _dotted(node)
            head, _, rest = dotted.partition(".")
            if head in aliases and rest:
                yield f"{aliases[head]}.{rest}", node.lineno


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def doors(tree: ast.Module, where: str, owners: Mapping[str, Sequence[re.Pattern[str]]]) -> list[str]:
    """Uses of a guarded name by a file that does not own it. `owners` maps a dotted name to path patterns."""
    found = {
        f"{where}:{line} {guarded}"
        for name, line in used_names(tree)
        for guarded, paths in owners.items()
        if (name == guarded or name.startswith(guarded + ".")) and not any(p.fullmatch(where) for p in paths)
    }
    return sorted(found)


_COLUMN = re.compile(r"^\s+(?P<name>[a-z_][a-z0-9_]*)\s+(?P<type>\{?[a-z]+\}?)(?!\w)", re.IGNORECASE)
_TABLE = re.compile(
    r"create\s+table\s+(?P<name>\w+)\s*\((?P<body>.*?)^\)", re.IGNORECASE | re.DOTALL | re.MULTILINE
)
_CLAUSES = frozenset({"primary", "unique", "check", "foreign", "constraint", "references"})
_TYPES = frozenset({"text", "bigint", "bytea", "{sequence}"})


def tables(schema: str) -> dict[str, dict[str, str]]:
    """Tables of a schema file with their columns and lower-case types, in the order written."""
    return {match["name"].lower(): dict(_columns(match["body"])) for match in _TABLE.finditer(schema)}


def _columns(body: str) -> Iterator[tuple[str, str]]:
    for line in body.splitlines():
        match = _COLUMN.match(line.partition("--")[0])
        if match and match["name"].lower() not in _CLAUSES:
            yield match["name"].lower(), match["type"].lower()


_UNSEEN = re.compile(
    r"create (?:temp )?(?:view|trigger|rule)|on (?:delete|update) (?:cascade|set)", re.IGNORECASE
)
"""A transaction remembers what it read until a statement writes to a table of that name."""


def schema(text: str, where: str, *, plumbing: frozenset[str]) -> list[str]:
    """Columns of a type that the two databases do not share, tables no record can claim, writes that nobody sees."""
    found = [f"{where}: {each[0].lower()} changes what no statement names" for each in _UNSEEN.finditer(text)]
    for table, columns in tables(text).items():
        found += [
            f"{where} {table}.{name}: type {kind}" for name, kind in columns.items() if kind not in _TYPES
        ]
        found += [
            f"{where} {table}.{name}: a moment in a column that is not bigint"
            for name, kind in columns.items()
            if name.endswith("_ms") and kind != "bigint"
        ]
        if table not in plumbing and columns.get("record_id") != "text":
            found.append(f"{where} {table}: no record_id text")
    return found
