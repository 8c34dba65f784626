"""The house's own rules catch what they are for: each is shown something wrong and something right."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support import style, tree, words


def _tree(text: str) -> ast.Module:
    return ast.parse(text)


@pytest.mark.parametrize(
    ("values", "expected"), [([], 0), ([5], 5), (range(1, 11), 9), ([1] * 9 + [100], 1), ([1, 2], 2)]
)
def test_percentile(values: list[int], expected: int) -> None:
    assert style.percentile(values, 90) == expected


def test_a_function_is_measured_with_its_decorators_and_its_inner_functions() -> None:
    found = list(
        tree.functions(_tree("class A:\n @d\n @e\n def f(self):\n  def g():\n   pass\n  return g\n"), "x")
    )
    assert [(f.name, f.lines, f.public, f.method) for f in found] == [
        ("A.f", 6, True, True),
        ("A.f.g", 2, False, False),
    ]


@pytest.mark.parametrize("lines", [69, 70])
def test_long_functions(lines: int) -> None:
    source = "def f():\n" + " x = 1\n" * lines
    found = style.long_functions(tree.functions(_tree(source), "x"))
    assert found == ([] if lines == 69 else ["x:1 f: 71 lines"])


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def f(a, b, c, d, *, e, f): ...", 0),
        ("def f(a, b, c, d, e): ...", 1),
        ("def f(a, b, /, c, d, e): ...", 1),
        ("class A:\n def f(self, a, b, c, d): ...", 0),
        ("class A:\n def f(self, a, b, c, d, e): ...", 1),
        ("class A:\n @staticmethod\n def f(a, b, c, d, e): ...", 1),
    ],
)
def test_positional_arguments(source: str, count: int) -> None:
    assert len(style.positional_arguments(_tree(source), "x")) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('"""What this file is for."""\n', 0),
        ("x = 1\n", 1),
        ('"""What this file is for."""\ndef lease_seconds():\n "Lease seconds."', 1),
        ('"""What this file is for."""\ndef lease_seconds():\n "How long an offer holds."', 0),
        ('"""What this file is for."""\ndef _hidden(): ...\nclass _Hidden:\n def f(self): ...', 0),
        ('"""What this file is for."""\nclass Shown:\n "One of those."\n def f(self): ...', 1),
        ('"""What this file is for."""\nclass Shown:\n "One of those."\n @override\n def f(self): ...', 0),
    ],
)
def test_docstrings(source: str, count: int) -> None:
    assert len(style.docstrings(_tree(source), "x")) == count


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("x = 1  # type: ignore", 1),
        ("x = 1  # type: ignore[assignment]", 1),
        ("x = 1  # pyrefly: ignore[bad-argument-type]", 1),
        ("x = 1  # type: ignore[assignment] - the stub says int, the driver answers text", 0),
        ("x = 1  # noqa", 1),
        ("x = 1  # noqa: S603", 1),
        ("x = 1  # noqa: S603, S607 - a fixed command line of our own", 0),
        ("x = 1  # an ordinary remark", 0),
    ],
)
def test_suppressions(line: str, count: int) -> None:
    assert len(style.suppressions(line, "x")) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('x = "select a from jobs where id = :id"', 1),
        ('x = "INSERT INTO jobs (a) VALUES (1)"', 1),
        ('x = f"delete from {t}"', 0),
        ('x = "delete from jobs"', 1),
        ('"""Reads what `select a from jobs` would."""', 0),
        ('x = "choose one from these"', 0),
    ],
)
def test_sql_texts(source: str, count: int) -> None:
    assert len(style.sql_texts(_tree(source), "x")) == count


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.time()", ["x.py:2 time.time"]),
        ("import time\ntime.monotonic()", []),
        ("import time as t\nt.time_ns()", ["x.py:2 time.time_ns"]),
        ("from time import time", ["x.py:1 time.time"]),
        ("from datetime import datetime\ndatetime.now()", ["x.py:2 datetime.datetime.now"]),
        ("import datetime\nf = datetime.datetime.now", ["x.py:2 datetime.datetime.now"]),
        ("from http import client", ["x.py:1 http.client"]),
        ("import http.client", ["x.py:1 http.client"]),
        ("import subprocess\n", ["x.py:1 subprocess"]),
    ],
)
def test_doors(source: str, found: list[str]) -> None:
    guarded = ("time.time", "time.time_ns", "datetime.datetime.now", "http.client", "subprocess")
    owners = {name: [re.compile(r"owner\.py")] for name in guarded}
    assert style.doors(_tree(source), "x.py", owners) == found
    assert style.doors(_tree(source), "owner.py", owners) == []


@pytest.mark.parametrize(
    ("column", "count"),
    [
        ("size_bytes bigint not null", 0),
        ("body bytea", 0),
        ("id {sequence}", 0),
        ("share real", 1),
        ("made timestamp", 1),
        ("seen_ms text", 1),
        ("open boolean", 1),
        ("primary key (a, b)", 0),
        ("check (a > 0)", 0),
    ],
)
def test_schema_types(column: str, count: int) -> None:
    text = f"create table compute_jobs (\n  record_id text not null,\n  {column}\n);"
    assert len(style.schema(text, "x", plumbing=frozenset())) == count


def test_a_table_needs_a_record_unless_it_is_plumbing() -> None:
    text = "create table kernel_leases (\n  id text primary key\n);\ncreate table compute_jobs (\n  id text\n);\n"
    assert style.schema(text, "x", plumbing=frozenset({"kernel_leases"})) == [
        "x compute_jobs: no record_id text"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "see /work/" + "main/src",
        "https://py" + "pi.org/simple",
        "written by Cl" + "aude",
        "as DES" + "IGN 6 says",
        "fixes issue " + "12",
        "TO" + "DO later",
    ],
)
def test_forbidden_words(text: str) -> None:
    assert len(list(words.forbidden(text, "x"))) == 1


@pytest.mark.parametrize(
    "text",
    ["workdir is mounted at /work/train.py", "HOME=/home", "the agent at the site", "a session of a person"],
)
def test_allowed_words(text: str) -> None:
    assert list(words.forbidden(text, "x")) == []


@pytest.mark.parametrize(
    "hidden", ["create view v as select 1;", "CREATE TRIGGER t", "references b on delete cascade"]
)
def test_schema_that_writes_unseen(hidden: str) -> None:
    assert len(style.schema(f"-- {hidden}", "x", plumbing=frozenset())) == 1
