"""Landmarks and a site in network namespaces of their own, as processes; skips loudly where there can be none."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tests.guarantor.landmark_world import Asked
from tests.support import components, tree

YARD = Path(__file__).with_name("landmark_yard.py")
ALONE = ("unshare", "--user", "--map-root-user", "--net")


def needed() -> None:
    components.program("unshare", package="util-linux")
    components.program("ip", package="iproute2")
    probe = [*ALONE, "ip", "tuntap", "add", "mode", "tun", "name", "t0"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        components.missing("a TUN device in a namespace of our own", "/dev/net/tun must be ours to open")


def measured(milliseconds: float, asked: Asked | None = None) -> list[bytes]:
    """Transcripts over a line that holds each packet for so long in each direction."""
    done = subprocess.run(
        [*ALONE, sys.executable, str(YARD), str(milliseconds), json.dumps(asdict(asked or Asked()))],
        env=os.environ | {"PYTHONPATH": f"{tree.SOURCE}:{tree.ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [base64.b64decode(line) for line in done.stdout.split()]
