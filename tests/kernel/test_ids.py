"""Ids say what they name, sort by time and are never the same twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.ids import is_id, new_id

MOMENTS = st.integers(0, 2**48 - 1)


@given(prefix=st.from_regex(r"[a-z]{2,5}", fullmatch=True), now_ms=MOMENTS)
def test_an_id_is_its_prefix_and_26_characters(prefix: str, now_ms: int) -> None:
    made = new_id(prefix, now_ms)
    assert is_id(made)
    assert is_id(made, prefix)
    assert not is_id(made, prefix + "x")
    assert len(made) == len(prefix) + 27
    assert set(made.removeprefix(prefix + "_")) <= set("0123456789abcdefghjkmnpqrstvwxyz")


@given(earlier=MOMENTS, later=MOMENTS)
def test_ids_sort_as_their_times(earlier: int, later: int) -> None:
    earlier, later = sorted((earlier, later))
    if earlier < later:
        assert new_id("job", earlier) < new_id("job", later)


def test_a_thousand_of_one_moment_differ() -> None:
    assert len({new_id("rec", 1) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job",
        "job_",
        "job_" + "0" * 25,
        "job_" + "0" * 27,
        "job_8" + "0" * 25,
        "job_" + "0" * 25 + "i",
        "job_" + "0" * 25 + "l",
        "job_" + "0" * 25 + "o",
        "job_" + "0" * 25 + "u",
        "job_" + "0" * 25 + "A",
        "JOB_" + "0" * 26,
        "job-" + "0" * 26,
        "job_" + "0" * 26 + "\n",
        " job_" + "0" * 26,
        "../job_" + "0" * 26,
        "job_" + "٠" * 26,
    ],
)
def test_what_only_looks_like_an_id_is_none(text: str) -> None:
    assert not is_id(text)


def test_an_id_of_another_kind_is_not_the_one_asked_for() -> None:
    made = new_id("job", 1)
    assert not is_id(made, "att")
    assert not is_id(made, "jo")
