"""What is read out of a payload's output, and how little of it is told of a job whose log is sealed."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent.engines.log import figures, progress_fields

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


def fields_of(**values: object) -> dict[str, str | int | bool]:
    """As a payload prints them."""
    return progress_fields(json.dumps({"event": "progress", **values}, separators=(",", ":")).encode())


@given(st.floats() | st.integers() | st.booleans())
def test_every_number_is_told_of_a_sealed_job(value: float) -> None:
    found = fields_of(loss=value)
    assert figures(found) == {"loss": found["loss"]}
    assert math.isclose(float(found["loss"]), value, rel_tol=1e-9, abs_tol=1e-300) or not math.isfinite(value)


@given(st.dictionaries(st.text(), SCALARS))
def test_no_text_is_told_of_a_sealed_job(values: dict[str, object]) -> None:
    told = figures(fields_of(**{name: value for name, value in values.items() if name != "event"}))
    for name, value in told.items():
        assert name.isidentifier()
        float(value)


@pytest.mark.parametrize(
    "text", ["patient 1", "1.5 mg", "1e5\n", "", "0x1f", "١", "1" * 21, "--1", "1.", "infinity"]
)
def test_text_that_looks_like_a_number_is_text(text: str) -> None:
    assert fields_of(note=text) == {"event": "progress", "note": text}
    assert figures(fields_of(note=text)) == {}


@pytest.mark.parametrize("name", ["patient 1", "a-b", "1st", "", "x" * 33])
def test_a_name_that_says_more_than_a_name_is_not_told(name: str) -> None:
    assert figures({name: 1}) == {}
