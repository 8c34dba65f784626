"""The label join: what level, labels, residency and owners a thing made of several inputs has.

Computed before the charter is asked, because Cedar has no quantifier over sets of entities; every output of a job
inherits it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sekisho.charter.errors import LABELS, CharterError
from sekisho.charter.vocabulary import ANYWHERE

LEVEL_MAX = 5


class Labels(msgspec.Struct, frozen=True):
    """How sensitive something is and whose it is. `residency` holds countries, or the word `any` alone."""

    level: int
    labels: frozenset[str]
    residency: frozenset[str]
    owners: frozenset[str]
    """Organisation ids; each of them approves an export."""


PUBLIC = Labels(0, frozenset(), frozenset({ANYWHERE}), frozenset())
"""Changes nothing it is joined with."""


def join_two(left: Labels, right: Labels) -> Labels:
    """The least sensitive description that is at least as sensitive as both."""
    return Labels(
        max(left.level, right.level),
        left.labels | right.labels,
        _both(left.residency, right.residency),
        left.owners | right.owners,
    )


def join(inputs: Iterable[Labels]) -> Labels:
    """The join over all inputs, whatever their order; `charter.no_inputs` for none."""
    parts = list(inputs)
    if not parts:
        raise CharterError(LABELS)
    result = PUBLIC
    for part in parts:
        result = join_two(result, part)
    return result


def at_least(result: Labels, part: Labels) -> bool:
    """Whether `result` is nowhere laxer than `part`: what every output owes each of its inputs."""
    return join_two(result, part) == join_two(result, PUBLIC)


def _both(left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    """Countries that both allow; an empty answer allows none. `any` beside countries means `any`."""
    if ANYWHERE in left:
        return frozenset({ANYWHERE}) if ANYWHERE in right else right
    return left if ANYWHERE in right else left & right
