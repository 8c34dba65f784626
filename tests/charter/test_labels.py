"""The label join: a lattice, so that order and repetition never matter and nothing gets laxer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.charter import PUBLIC, CharterError, Labels, at_least, join

RESIDENCY = st.one_of(
    st.just(frozenset({"any"})), st.frozensets(st.sampled_from(["JP", "DE", "KR"]), max_size=3)
)
LABELS = st.builds(
    Labels,
    st.integers(0, 5),
    st.frozensets(st.sampled_from(["personal", "special-care", "trade-secret"])),
    RESIDENCY,
    st.frozensets(st.sampled_from(["a", "b"])),
)


@given(LABELS, LABELS, LABELS)
def test_order_and_repetition_do_not_matter(one: Labels, two: Labels, three: Labels) -> None:
    assert join([one, two, three]) == join([three, one, two]) == join([join([one, two]), three])
    assert join([one, join([two, three])]) == join([one, two, three])
    assert join([one, one]) == join([one]) == one


@given(st.lists(LABELS, min_size=1, max_size=5))
def test_the_result_is_nowhere_laxer_than_any_input(inputs: list[Labels]) -> None:
    result = join(inputs)
    for part in inputs:
        assert at_least(result, part)
        assert result.level >= part.level
        assert result.labels >= part.labels
        assert result.owners >= part.owners
        assert part.residency == {"any"} or result.residency <= part.residency


@given(st.lists(LABELS, min_size=1, max_size=4), LABELS)
def test_more_inputs_are_never_laxer(inputs: list[Labels], more: Labels) -> None:
    assert at_least(join([*inputs, more]), join(inputs))
    assert join([*inputs, PUBLIC]) == join(inputs)


@given(LABELS, LABELS)
def test_at_least_is_an_order(one: Labels, two: Labels) -> None:
    assert at_least(one, one)
    if at_least(one, two) and at_least(two, one):
        assert one == two


def test_nothing_has_no_labels() -> None:
    with pytest.raises(CharterError) as caught:
        join([])
    assert caught.value.code == "charter.no_inputs"


def test_any_beside_a_country_is_any() -> None:
    loose = Labels(0, frozenset(), frozenset({"any", "JP"}), frozenset())
    assert join([loose]).residency == {"any"}
    assert join([loose, Labels(0, frozenset(), frozenset({"DE"}), frozenset())]).residency == {"DE"}
