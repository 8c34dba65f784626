"""Draws the reward curves of an array as one SVG: the best in colour, the others faint, words in two languages.

Pure: text in, text out, nothing loaded from outside; the same curves give the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

WIDTH, HEIGHT = 960, 600
LEFT, RIGHT, TOP, BOTTOM = 76, 196, 132, 84
INK, SOFT, RULE, EDGE, FAINT, BEST = "#1a2330", "#4a5666", "#d3d9e1", "#78848f", "#9aa5b1", "#0441a4"
FONTS = (
    "Arial, 'Liberation Sans', 'DejaVu Sans', 'Noto Sans CJK JP', 'Noto Sans JP', 'Hiragino Sans', 'Yu Gothic', "
    "IPAexGothic, IPAGothic, sans-serif"
)
DASHES = ("", "7 4", "2 3", "12 4 2 4")
"""A site has its own dash, so that the picture can be read without colour; the fifth site begins anew."""
TICKS_WANTED = 6
LABEL_GAP = 15.0
_STEPS = (1, 2, 2.5, 5, 10)


class Curve(NamedTuple):
    """One try: its index, the site it ran at, its figures on held-out reaches, and (reaches, reward) in order."""

    index: int
    site: str
    reward: float
    success: float
    points: Sequence[tuple[int, float]]


class Scale(NamedTuple):
    """A linear scale from 0 to `high` onto pixels."""

    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies, in pixels, to a tenth."""
        return round(self.start + (self.end - self.start) * value / self.high, 1)


def ticks(largest: float) -> list[float]:
    """Round numbers from 0 up to the first that is not below `largest`, which is above 0."""
    raw = largest / TICKS_WANTED
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in _STEPS if power * factor >= raw * (1 - 1e-9))
    count = math.ceil(largest / step - 1e-9)
    return [float(f"{step * number:.6g}") for number in range(count + 1)]


def parted(wanted: Sequence[float], *, gap: float, end: float) -> list[float]:
    """Places for labels as near as may be to where each is wanted, in the same order, `gap` apart, none below `end`."""
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    places = list(wanted)
    lowest = -math.inf
    for number in order:
        places[number] = lowest = max(wanted[number], lowest + gap)
    highest = end
    for number in reversed(order):
        places[number] = highest = min(places[number], highest)
        highest -= gap
    return places


def drawn(curves: Sequence[Curve], *, best: int, untrained: float, tolerance_mm: float) -> str:
    """The picture. `best` is an index of the curves, `untrained` the reward of a policy that was not trained."""
    across_ticks = ticks(max(1, *(reaches for curve in curves for reaches, _ in curve.points)))
    up_ticks = ticks(max(0.1, untrained, *(reward for curve in curves for _, reward in curve.points)))
    across = Scale(across_ticks[-1], LEFT, WIDTH - RIGHT)
    up = Scale(up_ticks[-1], HEIGHT - BOTTOM, TOP)
    dashes = {site: DASHES[n % len(DASHES)] for n, site in enumerate(sorted({c.site for c in curves}))}
    parts = [
        *_frame(curves, next(curve for curve in curves if curve.index == best), tolerance_mm),
        *_legend(dashes),
        *_axes(across, up, across_ticks, up_ticks),
        *_baseline(across, up, untrained),
        # The best is drawn last, above the others.
        *(_line(c, across, up, dash=dashes[c.site], best=False) for c in curves if c.index != best),
        *(_line(c, across, up, dash=dashes[c.site], best=True) for c in curves if c.index == best),
        *_names(curves, across, up, best=best),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, words: str, *, size: int = 13, ink: str = SOFT, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{ink}"{more}>{escape(words)}</text>'


def _frame(curves: Sequence[Curve], best: Curve, tolerance_mm: float) -> Iterator[str]:
    count, within, success = len(curves), f"{tolerance_mm:g} mm", f"{best.success:.1%}"
    english = f"A two-joint arm learns to bring a workpiece to a hole within {within}: {count} tries, the best succeeds in {success}"
    japanese = (
        f"2関節アームが部品を穴へ{within}以内で運ぶ学習：{count}通りの試行、最良の試行の成功率は{success}"
    )
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    yield f'  font-family={quoteattr(FONTS)} role="img">'
    yield f"<title>{escape(japanese)} / {escape(english)}</title>"
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    yield _text(24, 36, japanese, size=19, ink=INK, more=' font-weight="bold"')
    yield _text(24, 58, english, size=14)


def _legend(dashes: dict[str, str]) -> Iterator[str]:
    """Which dash is which site; a site's name is given room by its length."""
    x = 24.0
    yield _text(x, 86, "拠点 / site:", size=13)
    x += 84
    for site, dash in dashes.items():
        yield f'<path d="M{x} 82h34" fill="none" stroke="{INK}" stroke-width="2" stroke-dasharray="{dash or "none"}"/>'
        yield _text(x + 42, 86, site, size=13, ink=INK)
        x += 72 + 7.5 * len(site)


def _axes(
    across: Scale, up: Scale, across_ticks: Sequence[float], up_ticks: Sequence[float]
) -> Iterator[str]:
    for tick in up_ticks:
        yield f'<path d="M{LEFT} {up(tick)}H{WIDTH - RIGHT}" stroke="{RULE if tick else EDGE}"/>'
        yield _text(LEFT - 10, up(tick) + 4.5, f"{tick:g}", more=' text-anchor="end"')
    for tick in across_ticks:
        yield f'<path d="M{across(tick)} {HEIGHT - BOTTOM}v5" stroke="{EDGE}"/>'
        yield _text(across(tick), HEIGHT - BOTTOM + 22, f"{tick:,.0f}", more=' text-anchor="middle"')
    yield _text(
        LEFT - 52,
        TOP - 16,
        "平均報酬（無単位、1＝常に穴の中心） / mean reward (no unit, 1 = always on the hole's middle)",
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    words = "学習で模擬した動作（回、1回＝1秒） / reaches simulated in training (count, 1 reach = 1 s)"
    yield _text(middle, HEIGHT - BOTTOM + 46, words, more=' text-anchor="middle"')
    words = "曲線：検証用の動作での報酬。成功率：どの試行も学習に使わない動作での値。"
    words += " / Curves: on validation reaches. Success: on reaches that no try trained on."
    yield _text(24, HEIGHT - 14, words, size=11)


def _baseline(across: Scale, up: Scale, untrained: float) -> Iterator[str]:
    y = up(untrained)
    yield f'<path d="M{LEFT} {y}H{across(across.high)}" stroke="{INK}" stroke-dasharray="1 4" stroke-linecap="round"/>'
    yield _text(WIDTH - RIGHT - 6, y - 6, f"学習前 / untrained: {untrained:.2f}", more=' text-anchor="end"')


def _line(curve: Curve, across: Scale, up: Scale, *, dash: str, best: bool) -> str:
    path = "L".join(f"{across(reaches)} {up(reward)}" for reaches, reward in curve.points)
    look = f'stroke="{BEST}" stroke-width="3"' if best else f'stroke="{FAINT}" stroke-width="1.4"'
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{path}" fill="none" stroke-linejoin="round" {look}{dashed}/>'


def _names(curves: Sequence[Curve], across: Scale, up: Scale, *, best: int) -> Iterator[str]:
    """Each try's index and success where the curves end, moved apart where they would lie on each other."""
    wanted = [up(curve.points[-1][1]) for curve in curves]
    places = parted(wanted, gap=LABEL_GAP, end=HEIGHT - BOTTOM)
    edge = across(max(curve.points[-1][0] for curve in curves))
    for curve, place in zip(curves, places, strict=True):
        x, y = across(curve.points[-1][0]), up(curve.points[-1][1])
        chosen = curve.index == best
        ink, weight = (BEST, ' font-weight="bold"') if chosen else (SOFT, "")
        yield f'<path d="M{x + 3} {y}L{edge + 18} {round(place, 1)}" fill="none" stroke="{ink}" stroke-width="0.7"/>'
        words = f"#{curve.index}  {curve.success:.1%}" + ("  最良 / best" if chosen else "")
        yield _text(edge + 22, round(place + 4.5, 1), words, ink=ink, more=weight)
    yield _text(edge + 22, round(min(places) - 14, 1), "# 番号・成功率 / index, success", size=11)
