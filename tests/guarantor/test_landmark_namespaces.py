"""Landmark and site as two hosts: whole network stacks of the kernel, and a line between them of a known length."""

from __future__ import annotations

import pytest

from sekisho_verify.location import KM_PER_NS
from sekisho_verify.location_text import render
from tests.guarantor import namespaces
from tests.guarantor.landmark_world import landmarks, verdict
from tests.verify.places import territory


@pytest.fixture(scope="module")
def _namespaces() -> None:
    namespaces.needed()


@pytest.mark.usefixtures("_namespaces")
def test_two_hosts_side_by_side_are_accepted() -> None:
    measurers = landmarks(0)
    found = verdict(namespaces.measured(0), measurers)
    assert found.accepted, render(found, "en")


@pytest.mark.usefixtures("_namespaces")
@pytest.mark.parametrize("rtt_ms", [1.35, 3.0, 10.0])
def test_two_hosts_over_a_long_line_are_refused(rtt_ms: float) -> None:
    """1.35 ms are what light needs to the coast opposite Fukuoka and back: the shortest line there can be."""
    measurers = landmarks(0)
    assert territory().nearest_foreign(measurers[0].known.place).distance_km < rtt_ms * 1e6 * KM_PER_NS
    found = verdict(namespaces.measured(rtt_ms / 2), measurers)
    assert [finding.code for finding in found.findings] == ["location.reaches_foreign"] * 2
    assert all(rtt_ms * 1e6 <= finding.rtt_ns for finding in found.findings), "the line was too short"
    assert "north (university)" in render(found, "en")
