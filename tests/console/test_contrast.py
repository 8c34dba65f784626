"""Every pair of colours that meets on a page, computed from the one file that names colours."""

from __future__ import annotations

import re
from importlib import resources

import pytest

STATIC = resources.files("sekisho.console") / "static"
TOKENS = (STATIC / "tokens.css").read_text()
COLOURS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", TOKENS
    )
}
STATES = ("ok", "run", "wait", "deny", "fail", "idle")
SURFACES = ("page", "panel", "sunken")
TEXT = [
    *[(ink, surface) for ink in ("ink", "ink-soft", "link", "visited") for surface in SURFACES],
    *[(state, f"{state}-bg") for state in STATES],
    *[(state, "panel") for state in STATES],
    ("fail", "sunken"),
    ("on-accent", "link"),
    ("panel", "ink"),
    ("ink", "sea"),
    ("ink", "land"),
]
BOUNDARIES = [
    *[("edge", surface) for surface in SURFACES],
    *[("focus", surface) for surface in SURFACES],
    *[(state, "panel") for state in STATES],
    ("edge", "sea"),
    *[(f"chart-{number}", "panel") for number in range(1, 7)],
]


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_formula() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_tokens_were_found() -> None:
    assert len(COLOURS) >= 30


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT)
def test_text_can_be_read(ink: str, ground: str, theme: int) -> None:
    assert contrast(COLOURS[ink][theme], COLOURS[ground][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("line", "ground"), BOUNDARIES)
def test_what_must_be_seen_can_be_seen(line: str, ground: str, theme: int) -> None:
    assert contrast(COLOURS[line][theme], COLOURS[ground][theme]) >= 3.0


def test_only_the_tokens_name_colours_sizes_and_faces() -> None:
    rest = (STATIC / "console.css").read_text()
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(|light-dark\(", rest) == []
    assert re.findall(r"font-family: (?!var\()", rest) == []


def test_a_theme_changes_colours_and_nothing_else() -> None:
    """So that a page that is well made in one theme needs only its colours looked at in the other."""
    styles = "".join(entry.read_text() for entry in STATIC.iterdir() if entry.name.endswith(".css"))
    assert "prefers-color-scheme" not in styles
    assert styles.count("light-dark(") == len(COLOURS)
    themed = re.findall(r"\[data-theme=[^{]*{([^}]*)}", styles)
    assert themed
    assert {rule.strip() for rule in themed} == {"color-scheme: light;", "color-scheme: dark;"}


def test_nothing_is_fetched_from_anywhere() -> None:
    for entry in STATIC.iterdir():
        text = entry.read_text().replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?://|@import|url\(", text) == [], entry.name
