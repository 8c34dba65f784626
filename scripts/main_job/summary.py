"""What an example found, on one screen."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.main_job.example import Example
from scripts.main_job.story import Found

TAMPERED = range(10, 20)
"""Exit statuses of the verifier for a bundle whose bytes were touched."""


def show(example: Example, found: Found, *, seconds: float, serving: bool) -> bool:
    """Print the summary and what to try next, which needs a server except offline; whether everything held."""
    lines = [*_sites(found), *example.lines(found), *_wall(found), *_proof(found), *found.places]
    width = max(len(name) for name, _ in lines)
    sys.stdout.write("\n" + "\n".join(f"{name:<{width}}  {text}" for name, text in lines))
    sys.stdout.write(f"\n{'time':<{width}}  {seconds:.0f} s\n")
    sys.stdout.write("\nnext  " + "\n      ".join(_commands(found, serving=serving)) + "\n")
    sys.stdout.flush()
    return not _refused(found) and found.flipped_status in TAMPERED


def here(path: Path) -> str:
    """A path from the present folder, as a shell reads it."""
    return shlex.quote(os.path.relpath(path))


def _commands(found: Found, *, serving: bool) -> Iterator[str]:
    """Lines to paste into a shell where this program was started; the programs are those of its environment."""
    programs = Path(sys.executable).parent
    if serving:
        yield f"export SEKISHO_CONFIG={here(found.settings)}"
        yield f"{here(programs / 'sekisho')} why {found.details[0]['job']['id']}"
        yield f"{here(programs / 'sekisho')} job show {found.job}"
    yield f"{here(programs / 'sekisho-verify')} {here(found.proofs[0].bundle)} --trust {here(found.trust)}"


def _sites(found: Found) -> Iterator[tuple[str, str]]:
    """What the charter said of each site, and the one that was chosen; of an array's members it said the same."""
    sites = found.details[0]["sites"]
    yield "sites considered", f"{len(sites)}: {', '.join(site['name'] for site in sites)}"
    for site in sites:
        if site["decision"] != "allow":
            yield (
                "  refused",
                f"{site['name']} ({site['country']}): {', '.join(site['rules'])}  {site['why']}",
            )
    chosen = {site["name"]: site for detail in found.details for site in detail["sites"] if site["chosen"]}
    for site in chosen.values():
        yield "  chosen", f"{site['name']} ({site['country']}, grade D: a stand-in on this machine)"


def _wall(found: Found) -> Iterator[tuple[str, str]]:
    """The canaries of the last attempt that got furthest from all closed."""
    reports = [detail["attempts"][-1]["canaries"] for detail in found.details]
    canaries = min(reports, key=_closed)
    others = ", ".join(f"{name} {result}" for name, result in canaries.items() if result != "closed")
    each = f"closed in each of {len(reports)} jobs" if len(reports) > 1 else "closed"
    yield (
        "canaries",
        f"{_closed(canaries)} of {len(canaries)} {each}{': ' + others if others else ''} (the site's own report, D)",
    )


def _closed(canaries: dict[str, str]) -> int:
    return sum(1 for result in canaries.values() if result == "closed")


def _refused(found: Found) -> list[int]:
    """The verifier's statuses for bundles in which not everything holds."""
    return [proof.verdict.status for proof in found.proofs if proof.verdict.status != 0]


def _proof(found: Found) -> Iterator[tuple[str, str]]:
    for proof in found.proofs[:1]:
        yield "bundle", f"{proof.bundle}  ({proof.bundle.stat().st_size:,} bytes)"
    if len(found.proofs) > 1:
        yield "  others", f"{len(found.proofs) - 1} more beside it, one for each member"
    yield "trust file", str(found.trust)
    refused, cut_by = _refused(found), found.proofs[0].verdict.cut_by
    all_of_them = f" in all {len(found.proofs)}" if len(found.proofs) > 1 else ""
    word = f"REFUSED with {refused[0]}" if refused else f"everything holds{all_of_them}"
    yield "verdict", f"{word}; network {'cut by ' + cut_by if cut_by else 'not cut'}"
    yield "one bit flipped", f"refused with {found.flipped_status}" if found.flipped_status else "ACCEPTED"
