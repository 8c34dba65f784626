"""The sections of a verdict that stand in files of their own, in the order they are printed.

A new one is a file `section_<name>.py` with a `SECTION`, and one line here. They come after the integrity of the bundle
and before what the trust file demands.
"""

from __future__ import annotations

from collections.abc import Sequence

from sekisho_verify import (
    section_attestation,
    section_charter,
    section_egress,
    section_job,
    section_keys,
    section_location,
    section_operators,
    section_timestamps,
)
from sekisho_verify.section import Section

SECTIONS: Sequence[Section] = (
    section_timestamps.SECTION,
    section_job.SECTION,
    section_charter.SECTION,
    section_location.SECTION,
    section_attestation.SECTION,
    section_keys.SECTION,
    section_egress.SECTION,
    section_operators.SECTION,
)
