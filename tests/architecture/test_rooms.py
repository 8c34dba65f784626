"""A capability looks like every other: the same files, SQL in one place, a README that names its promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sekisho.kernel.tx import PLUMBING
from tests.support import style, tree

PRESENT = tree.capabilities()
SCHEMAS = sorted((tree.SOURCE / "sekisho").glob("*/schema/*.sql"))
# server/staging.py speaks to a PostgreSQL server about its databases, not about our tables.
SQL_HOMES = re.compile(r"src/sekisho/(\w+/tables(_\w+)?\.py|kernel/.*|server/staging\.py)")


def test_the_first_capabilities_are_there() -> None:
    assert {"identity", "charter", "ledger"} <= {path.name for path in PRESENT}


@pytest.mark.parametrize("folder", PRESENT, ids=lambda folder: folder.name)
def test_a_capability_has_the_same_file_names_as_all_others(folder: Path) -> None:
    expected = {"__init__.py", "README.md", "model.py", "tables.py", "actions.py", "rules.py", "schema"}
    assert expected - {path.name for path in folder.iterdir()} == set()


@pytest.mark.parametrize("folder", PRESENT, ids=lambda folder: folder.name)
def test_its_readme_names_promise_states_and_evidence(folder: Path) -> None:
    parts = re.findall(r"^(?:#+ |\*\*)(\w+)", (folder / "README.md").read_text(), re.MULTILINE)
    assert {"Promise", "States", "Evidence"} - set(parts) == set()


@pytest.mark.parametrize("folder", PRESENT, ids=lambda folder: folder.name)
def test_its_tests_mirror_it(folder: Path) -> None:
    tests = tree.ROOT / "tests" / folder.name
    assert {f"test_{name}.py" for name in ("rules", "tables", "actions")} - {
        p.name for p in tests.glob("*.py")
    } == set()


def test_sql_is_written_in_tables_only() -> None:
    paths = [path for path in tree.files("src/sekisho/*.py") if not SQL_HOMES.fullmatch(tree.relative(path))]
    assert [line for path in paths for line in style.sql_texts(tree.parse(path), tree.relative(path))] == []


def test_a_function_of_tables_takes_a_transaction_or_a_row_first() -> None:
    found = [
        f"{function.where} {function.name}"
        for path in tree.files("src/sekisho/*/tables*.py")
        for function in tree.functions(tree.parse(path), tree.relative(path))
        if function.public
        and not function.method
        and [argument.arg for argument in [*function.node.args.posonlyargs, *function.node.args.args]][:1]
        not in (["tx"], ["row"])
    ]
    assert found == []


def test_schema_files_are_numbered_without_a_gap() -> None:
    assert SCHEMAS
    for folder in {path.parent for path in SCHEMAS}:
        names = sorted(path.name for path in folder.glob("*.sql"))
        assert [name[:5] for name in names] == [f"{number:04}_" for number in range(1, len(names) + 1)]


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: f"{file.parts[-3]}-{file.stem}")
def test_a_schema_file_keeps_to_what_both_databases_share(file: Path) -> None:
    assert style.schema(file.read_text(), tree.relative(file), plumbing=PLUMBING) == []


def test_tables_without_claims_are_a_closed_list() -> None:
    tables = {name for file in SCHEMAS for name in style.tables(file.read_text())} | {"kernel_migrations"}
    assert PLUMBING - tables == set(), "listed, but no such table"
    assert {name for name in PLUMBING if name.partition("_")[0] not in {"kernel", "ledger"}} == set()


def test_a_table_carries_the_name_of_its_module() -> None:
    found = {
        f"{tree.relative(file)}: {table}"
        for file in SCHEMAS
        for table in style.tables(file.read_text())
        if not table.startswith(file.parts[-3] + "_")
    }
    assert found == set()
