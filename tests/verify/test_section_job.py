"""The job in its bundle: its file, and its label as the join of what the record names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.charter import Labels, join
from sekisho_verify import Exit, Verdict, parse_trust, verify_bundle, write_bundle
from sekisho_verify.canonical import digest
from sekisho_verify.lines import Line
from tests.verify.builders import Body, TestLog, record_body

FILE = b"run: train"
COUNTRIES = st.frozensets(st.sampled_from(["JP", "US", "DE", "any"]), max_size=3)


def label(level: int = 0, labels: tuple[str, ...] = (), residency: tuple[str, ...] = ("any",)) -> Body:
    return {"level": level, "labels": [*labels], "residency": [*residency]}


def verdict(*details: Body, files: tuple[bytes, ...] = ()) -> Verdict:
    log = TestLog()
    log.append(record_body("s", number, detail=detail) for number, detail in enumerate(details))
    return verify_bundle(write_bundle(log.members("s", files=files)), parse_trust(log.trust()))


def lines(found: Verdict) -> list[Line]:
    return [line for line in found.lines if line.part == "job"]


def test_the_file_is_there_or_named_as_missing() -> None:
    named: Body = {"files": {"job.yaml": digest(FILE)}}
    (shown,) = lines(verdict(named, named, files=(FILE,)))
    assert (shown.state, shown.code, shown.fields["size"]) == ("ok", "job.file", len(FILE))
    (missing,) = lines(verdict(named))
    assert (missing.state, missing.code) == ("absent", "job.missing")
    assert lines(verdict({})) == []


def test_the_label_is_the_join_of_its_parts() -> None:
    parts = [label(1, ("a",), ("JP", "US")), label(2, ("b",), ("JP", "DE")), label()]
    found = verdict({"join": parts, "label": label(2, ("a", "b"), ("JP",))}, {"level": 2})
    assert found.holds
    (line,) = lines(found)
    assert line.fields == {"level": 2, "labels": "a, b", "residency": "JP", "parts": 3}


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        ({"join": [label(2)], "label": label(1)}, "job.join"),
        ({"join": [label(0, ("a",))], "label": label()}, "job.join"),
        ({"join": [label(0, (), ("JP",))], "label": label()}, "job.join"),
        ({"join": [], "label": label()}, "job.join"),
        ({"join": "x", "label": label()}, "job.join"),
        ({"join": [label()]}, "job.join"),
        ({"join": [5], "label": label()}, "job.join"),
        ({"join": [label() | {"level": "1"}], "label": label()}, "job.join"),
        ({"join": [label() | {"labels": "a"}], "label": label()}, "job.join"),
        ({"join": [label() | {"residency": [1]}], "label": label()}, "job.join"),
        ({"join": [label(1)], "label": label(1), "level": 0}, "job.level"),
    ],
)
def test_another_label_fails(detail: Body, code: str) -> None:
    found = verdict(detail)
    (line,) = lines(found)
    assert line.fields["reason"] == code
    assert found.exit_code is Exit.DECISION


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.frozensets(st.sampled_from("abc")), COUNTRIES), min_size=1, max_size=4
    )
)
def test_it_is_the_join_that_the_control_plane_makes(
    parts: list[tuple[int, frozenset[str], frozenset[str]]],
) -> None:
    joined = join(Labels(level, labels, residency, frozenset()) for level, labels, residency in parts)
    documents = [label(level, tuple(sorted(labels)), tuple(sorted(where))) for level, labels, where in parts]
    result = label(joined.level, tuple(sorted(joined.labels)), tuple(sorted(joined.residency)))
    assert verdict({"join": [*documents], "label": result}).holds
