"""What a section of the verdict is: one heading, in one file of its own, put into the report by `sections`.

A section is a pure function from a case to lines, with the sentences those lines say. It gets evidence files with
`case.evidence("name.json")` and never raises a VerifyError: what does not hold becomes a line by `lines.failed`. A
section that finds none of its evidence says `absent`, or nothing where bundles of before it existed said nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from sekisho_verify.lines import Case, Line

Pair = tuple[str, str]
"""A sentence in English and in Japanese, with the same placeholders."""

_none: Mapping[str, Pair] = MappingProxyType({})


class Section(NamedTuple):
    """One section: its heading's key and names, its check, every sentence a line of it can say.

    `not_proven` holds the sentences of the codes that its lines name in `leaves_open`.
    """

    part: str
    names: Pair
    check: Callable[[Case], list[Line]]
    sentences: Mapping[str, Pair]
    not_proven: Mapping[str, Pair] = _none
