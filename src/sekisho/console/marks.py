"""Marks of states, grades and levels: a sign, a tint and the key of a word, never the colour alone. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from sekisho.sites import SiteView

SILENT_MS: Final = 90_000
"""An agent that was not heard for this long, or half as long again as it may be away, is shown as not answering."""


class Mark(msgspec.Struct, frozen=True):
    """`sign` is for the eye, `tint` names a class of the style sheet, `word` a key of the words."""

    sign: str
    tint: str
    word: str


def _marks(kind: str, table: dict[str, tuple[str, str]]) -> dict[str, Mark]:
    return {name: Mark(sign, tint, f"{kind}.{name}") for name, (sign, tint) in table.items()}


JOBS = _marks(
    "job.state",
    {
        "waiting": ("…", "wait"),
        "staging": ("▶", "run"),
        "starting": ("▶", "run"),
        "running": ("▶", "run"),
        "succeeded": ("✓", "ok"),
        "failed": ("✗", "fail"),
        "cancelled": ("○", "idle"),
    },
)
ATTEMPTS = _marks(
    "attempt.state",
    {
        "offered": ("…", "wait"),
        "staging": ("▶", "run"),
        "starting": ("▶", "run"),
        "running": ("▶", "run"),
        "succeeded": ("✓", "ok"),
        "failed": ("✗", "fail"),
        "cancelled": ("○", "idle"),
        "refused": ("‖", "wait"),
        "lost": ("○", "idle"),
    },
)
FINDINGS = _marks(
    "finding",
    {"counts": ("✓", "ok"), "too_far": ("!", "wait"), "refused": ("✗", "fail")},
)
SITES = _marks(
    "site.state",
    {
        "serving": ("✓", "ok"),
        "draining": ("▼", "wait"),
        "unreachable": ("○", "idle"),
        "control": ("✓", "ok"),
    },
)
CHOICES = _marks(
    "choice",
    {"chosen": ("✓", "ok"), "allowed": ("…", "wait"), "denied": ("⊘", "deny")},
)
ROUTES = _marks(
    "route",
    {"closed": ("✓", "ok"), "open": ("✗", "fail"), "unproven": ("!", "wait")},
)
LINES = _marks(
    "line",
    {"ok": ("✓", "ok"), "note": ("!", "wait"), "absent": ("○", "idle"), "failed": ("✗", "fail")},
)
DATASETS = _marks("dataset.state", {"ready": ("✓", "ok"), "uploading": ("…", "wait")})
KEYS = _marks("key.state", {"serving": ("✓", "ok"), "stopped": ("‖", "wait"), "destroyed": ("○", "idle")})
EVENTS: dict[str, str] = {
    "accepted": "●",
    "placed": "✓",
    "waits": "…",
    "again": "…",
    "wall": "✓",
    "starting": "▶",
    "running": "▶",
    "succeeded": "✓",
    "failed": "✗",
    "cancelled": "○",
    "cancelling": "○",
}
GRADES: dict[str, str] = {letter: f"grade.{letter}" for letter in "MASD"}
LEVELS: dict[int, str] = {level: f"level.{level}" for level in range(6)}

_UNKNOWN = Mark("○", "idle", "state.unknown")


def of(table: dict[str, Mark], name: str) -> Mark:
    """The mark of a state; a state that a newer part invented is shown as unknown, never as good."""
    return table.get(name, _UNKNOWN)


def of_site(site: SiteView, now_ms: int) -> Mark:
    """How a site stands: what it was told to do, unless its agent has fallen silent."""
    if site.control:
        return SITES["control"]
    if now_ms - site.heard_ms >= max(SILENT_MS, site.away_seconds * 1500):
        return SITES["unreachable"]
    return of(SITES, site.state)


def of_choice(decision: str, *, chosen: bool) -> Mark:
    """What a placement round made of one site."""
    if chosen:
        return CHOICES["chosen"]
    return CHOICES["allowed"] if decision == "allow" else CHOICES["denied"]
