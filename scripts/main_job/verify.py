"""Runs the verifier where nothing can be reached: in a network namespace of its own, empty but for a dead loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """The verifier's exit status and JSON, and how the network was cut."""

    status: int
    answer: dict[str, Any]
    cut_by: str


class Proof(NamedTuple):
    """A job's bundle and what the verifier said of it."""

    job: str
    bundle: Path
    verdict: Verdict


def verify_offline(bundle: Path, trust: Path) -> Verdict:
    """Check a bundle against the trust file that was written when the installation began."""
    cut_by, prefix = _without_network()
    command = [
        *prefix,
        sys.executable,
        "-I",
        "-m",
        "sekisho_verify",
        str(bundle),
        "--trust",
        str(trust),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        answer = {"error": (done.stderr or done.stdout)[-500:]}
    return Verdict(done.returncode, answer, cut_by)


def flipped(bundle: Path, folder: Path) -> Path:
    """A copy with one bit turned in the middle: the verifier must refuse it."""
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    target = folder / "flipped.bundle.zip"
    target.write_bytes(content)
    return target


def _without_network() -> tuple[str, list[str]]:
    """The first way that works here, tried before it is relied on."""
    ways = (("unshare --net", ["unshare", "--net"]), ("unshare --user --net", ["unshare", "--user", "--net"]))
    for name, prefix in ways:
        if (
            shutil.which(prefix[0])
            and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
        ):
            return name, prefix
    return "", []
