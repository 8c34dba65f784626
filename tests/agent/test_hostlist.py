"""Slurm's short form of node names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent.engines import hostlist
from sekisho_wire.messages import NODES_MAX


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("tokyo-n[1-3]", ["tokyo-n1", "tokyo-n2", "tokyo-n3"]),
        ("n[08-10,7],x", ["n08", "n09", "n10", "n7", "x"]),
        ("r[1-2]n[1-2]z", ["r1n1z", "r1n2z", "r2n1z", "r2n2z"]),
        (f"n[1-{NODES_MAX}]", [f"n{number}" for number in range(1, NODES_MAX + 1)]),
        (f"n[1-{NODES_MAX + 1}]", []),
        ("n[1-99999999999]", []),
        ("n[1-1000][1-1000][1-1000]", []),
        ("n[2-1]", []),
        ("n[a-b]", []),
        ("n[1", []),
        ("n]1", []),
        ("n[]", []),
    ],
)
def test_it_is_written_out(text: str, names: list[str]) -> None:
    assert hostlist.expand(text) == names


@given(st.text("an1-9,[]", max_size=30))
def test_nothing_but_names_comes_of_any_text(text: str) -> None:
    found = hostlist.expand(text)
    assert len(found) <= NODES_MAX
    assert not any(letter in name for name in found for letter in "[],")
