"""What the main job found, on one screen."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.main_job.verify import Verdict

TAMPERED = range(10, 20)
"""Exit statuses of the verifier for a bundle whose bytes were touched."""


class Found:
    """Filled step by step."""

    def __init__(self) -> None:
        self.detail: dict[str, Any] = {}
        self.log = ""
        self.visitor = ""
        self.settings = Path()
        self.bundle = Path()
        self.trust = Path()
        self.verdict = Verdict(-1, {}, "")
        self.flipped_status = -1


def show(found: Found, *, seconds: float, serving: bool) -> bool:
    """Print the summary and what to try next, which needs a server except offline; whether everything held."""
    lines = [*_sites(found), *_training(found), *_wall(found), *_proof(found)]
    width = max(len(name) for name, _ in lines)
    sys.stdout.write("\n" + "\n".join(f"{name:<{width}}  {text}" for name, text in lines))
    sys.stdout.write(f"\n{'time':<{width}}  {seconds:.0f} s\n")
    sys.stdout.write("\nnext  " + "\n      ".join(_commands(found, serving=serving)) + "\n")
    sys.stdout.flush()
    return found.verdict.status == 0 and found.flipped_status in TAMPERED


def _commands(found: Found, *, serving: bool) -> Iterator[str]:
    """Lines to paste into a shell where this program was started; the programs are those of its environment."""
    programs = Path(sys.executable).parent
    if serving:
        job = found.detail["job"]["id"]
        yield f"export SEKISHO_CONFIG={_here(found.settings)}"
        yield f"{_here(programs / 'sekisho')} why {job}"
        yield f"{_here(programs / 'sekisho')} job show {job}"
    yield f"{_here(programs / 'sekisho-verify')} {_here(found.bundle)} --trust {_here(found.trust)}"


def _here(path: Path) -> str:
    """A path from the present folder, as a shell reads it."""
    return shlex.quote(os.path.relpath(path))


def _sites(found: Found) -> Iterator[tuple[str, str]]:
    sites = found.detail["sites"]
    yield "sites considered", f"{len(sites)}: {', '.join(site['name'] for site in sites)}"
    for site in sites:
        if site["decision"] != "allow":
            yield (
                "  refused",
                f"{site['name']} ({site['country']}): {', '.join(site['rules'])}  {site['why']}",
            )
    chosen = next(site for site in sites if site["chosen"])
    yield "  chosen", f"{chosen['name']} ({chosen['country']}, grade D: a stand-in on this machine)"


def _training(found: Found) -> Iterator[tuple[str, str]]:
    for line in found.log.splitlines():
        if '"done"' in line:
            done = json.loads(line)
            yield "loss", f"first {done['loss_first']}, last {done['loss_last']}"


def _wall(found: Found) -> Iterator[tuple[str, str]]:
    canaries = found.detail["attempts"][-1]["canaries"]
    closed = sum(1 for result in canaries.values() if result == "closed")
    others = ", ".join(f"{name} {result}" for name, result in canaries.items() if result != "closed")
    yield (
        "canaries",
        f"{closed} of {len(canaries)} closed{': ' + others if others else ''} (the site's own report, D)",
    )


def _proof(found: Found) -> Iterator[tuple[str, str]]:
    yield "bundle", f"{found.bundle}  ({found.bundle.stat().st_size:,} bytes)"
    yield "trust file", str(found.trust)
    word = "everything holds" if found.verdict.status == 0 else f"REFUSED with {found.verdict.status}"
    yield (
        "verdict",
        f"{word}; network {'cut by ' + found.verdict.cut_by if found.verdict.cut_by else 'not cut'}",
    )
    yield "one bit flipped", f"refused with {found.flipped_status}" if found.flipped_status else "ACCEPTED"
