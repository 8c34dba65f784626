"""T11, attestation stays home: everything is verified where no address can be reached, and no socket is made for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho_verify import write_bundle
from tests.support import components
from tests.support.tree import ROOT
from tests.verify.attested import FILE, MACHINES, stream_of
from tests.verify.builders import TestLog
from tests.verify.tokens import SHAPES, VERIFIERS

_CLOSED = ("OSError 101", "PermissionError 13")
"""Network is unreachable; or, under some sandboxes, not permitted at all."""


@pytest.fixture
def said(tmp_path: Path) -> dict[str, object]:
    """What a process without any way out has to say, having been handed a bundle and a trust file."""
    unshare = components.program("unshare", package="util-linux")
    closed = [unshare, "--user", "--map-root-user", "--net"]
    if subprocess.run([*closed, "true"], capture_output=True, check=False).returncode:
        components.missing("user namespaces", "sysctl kernel.unprivileged_userns_clone=1")
    log = TestLog()
    data = stream_of(log, FILE)
    (tmp_path / "bundle.zip").write_bytes(write_bundle(log.members("s", files=data)))
    (tmp_path / "trust.json").write_bytes(log.trust(verifiers=VERIFIERS, more=MACHINES))
    done = subprocess.run(
        [*closed, sys.executable, "-m", "tests.claims.attesting", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_t11_all_shapes_are_verified_with_every_address_out_of_reach(said: dict[str, object]) -> None:
    grades = {shape: "D" if shape == "software" else "A" for shape in SHAPES}
    assert said["outside"] in _CLOSED, "the namespace has a way out: this shows nothing"
    assert said["judged"] == grades
    assert said["gate"] == [*grades.values()]
    assert (said["bundle"], said["exit"]) == (["attestation.shown"], 0)
    assert said["sockets"] == [], "nobody may be asked, not even whether he is there"
