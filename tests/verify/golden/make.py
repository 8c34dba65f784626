"""Makes a folder of golden evidence: a bundle, its trust file and the verdict in words, the same on every run.

    python -m tests.verify.golden.make FOLDER

A folder that exists is left alone: frozen evidence is never made again, a new version of the format gets a new
folder, and every later verifier has to accept all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sekisho_verify import document, parse_trust, render, verify_bundle, write_bundle
from tests.verify.builders import Body, TestLog, facts, job_log, job_members, record_body


def make(folder: Path) -> None:
    """Write `closed` (a whole job, cosigned, consistent with a head seen) and `denied` (open, unwitnessed)."""
    log = job_log(noise=300)
    _write(
        folder / "closed",
        job_members(log, seen_size=100),
        log.trust(quorum=2, seen_size=100, demand={"closed": True}),
    )
    bare = TestLog(witnesses=())
    denied: Body = {
        "decision": "deny",
        "outcome": "denied",
        "effects": [],
        "rules": ["C01-residency", "C09-egress"],
    }
    bare.append([record_body("job-2", 0, detail={"level": 3}), record_body("job-2", 1, **denied)])
    bare.append_noise(3)
    _write(folder / "denied", bare.members("job-2", facts=[facts()]), bare.trust())


def _write(folder: Path, members: dict[str, bytes], trust: bytes) -> None:
    folder.mkdir(parents=True)
    bundle = write_bundle(members)
    verdict = verify_bundle(bundle, parse_trust(trust))
    (folder / "bundle.zip").write_bytes(bundle)
    (folder / "trust.json").write_bytes(trust)
    for language in ("en", "ja"):
        (folder / f"verdict.{language}.txt").write_text(render(verdict, language), encoding="utf-8")
    text = json.dumps(document(verdict), ensure_ascii=False, indent=1, sort_keys=True)
    (folder / "verdict.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
