"""Landmark and site as two hosts: whole network stacks of the kernel, and a line between them of a known length."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho_verify.location import KM_PER_NS
from sekisho_verify.location_text import render
from tests.guarantor.landmark_world import landmarks, verdict
from tests.support import components, tree
from tests.verify.places import territory

YARD = Path(__file__).with_name("landmark_yard.py")


@pytest.fixture(scope="module")
def _namespaces() -> None:
    unshare = components.program("unshare", package="util-linux")
    components.program("ip", package="iproute2")
    probe = [
        unshare,
        "--user",
        "--map-root-user",
        "--net",
        "ip",
        "tuntap",
        "add",
        "mode",
        "tun",
        "name",
        "t0",
    ]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        components.missing("a TUN device in a namespace of our own", "/dev/net/tun must be ours to open")


def _measured(milliseconds: float) -> list[bytes]:
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, str(YARD), str(milliseconds)],
        env=os.environ | {"PYTHONPATH": f"{tree.SOURCE}:{tree.ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [base64.b64decode(line) for line in done.stdout.split()]


@pytest.mark.usefixtures("_namespaces")
def test_two_hosts_side_by_side_are_accepted() -> None:
    measurers = landmarks(0)
    found = verdict(_measured(0), measurers)
    assert found.accepted, render(found, "en")


@pytest.mark.usefixtures("_namespaces")
@pytest.mark.parametrize("rtt_ms", [1.35, 3.0, 10.0])
def test_two_hosts_over_a_long_line_are_refused(rtt_ms: float) -> None:
    """1.35 ms are what light needs to the coast opposite Fukuoka and back: the shortest line there can be."""
    measurers = landmarks(0)
    assert territory().nearest_foreign(measurers[0].known.place).distance_km < rtt_ms * 1e6 * KM_PER_NS
    found = verdict(_measured(rtt_ms / 2), measurers)
    assert [finding.code for finding in found.findings] == ["location.reaches_foreign"] * 2
    assert all(rtt_ms * 1e6 <= finding.rtt_ns for finding in found.findings), "the line was too short"
    assert "north (university)" in render(found, "en")
