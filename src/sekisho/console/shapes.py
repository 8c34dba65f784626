"""How moments, spans, sizes and counts are written for people, in both languages. Pure.

Moments are shown in Japan's time, which has no summer time; their title carries UTC.
"""

from __future__ import annotations

import datetime

from sekisho_wire.problems import Language

JAPAN = datetime.timezone(datetime.timedelta(hours=9), "JST")
_SECOND_MS, _MINUTE_MS, _HOUR_MS, _DAY_MS = 1000, 60_000, 3_600_000, 86_400_000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SIZES = ("kB", "MB", "GB", "TB", "PB", "EB")
_KILO = 1000
_TENS = 100


def moment(time_ms: int, language: Language) -> str:
    """A moment to the second: `2026-11-20 14:03:11 JST`, 2026年11月20日 14:03:11."""
    at = _at(time_ms)
    if language is Language.JA:
        return f"{at.year}年{at.month}月{at.day}日 {at:%H:%M:%S}"
    return f"{at:%Y-%m-%d %H:%M:%S} JST"


def clock_time(time_ms: int) -> str:
    """The time of day alone, for a timeline that names its day: `14:03:11`."""
    return f"{_at(time_ms):%H:%M:%S}"


def day(time_ms: int, language: Language) -> str:
    """The day alone: `2026-11-20`, 2026年11月20日."""
    at = _at(time_ms)
    return f"{at.year}年{at.month}月{at.day}日" if language is Language.JA else f"{at:%Y-%m-%d}"


def utc(time_ms: int) -> str:
    """The moment in UTC, for titles."""
    at = datetime.datetime.fromtimestamp(time_ms // _SECOND_MS, datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def machine(time_ms: int) -> str:
    """The moment as `<time datetime>` wants it."""
    return utc(time_ms).replace(" UTC", "Z").replace(" ", "T")


def ago(time_ms: int, now_ms: int, language: Language) -> str:
    """`29 min ago`; older than a day, its day and time: `19 Nov 14:03`."""
    span_ms = now_ms - time_ms
    if span_ms < _SECOND_MS:
        return "今" if language is Language.JA else "now"
    if span_ms >= _DAY_MS:
        at = _at(time_ms)
        if language is Language.JA:
            return f"{at.month}月{at.day}日 {at:%H:%M}"
        return f"{at.day} {_MONTHS[at.month - 1]} {at:%H:%M}"
    text = _coarse(span_ms, language)
    return f"{text}前" if language is Language.JA else f"{text} ago"


def span(span_ms: int, language: Language) -> str:
    """A duration in its two largest units: `1 h 12 min`, 1時間12分."""
    seconds = max(0, span_ms) // _SECOND_MS
    japanese = language is Language.JA
    units = ("日", "時間", "分", "秒") if japanese else ("d", "h", "min", "s")
    amounts = (seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60)
    found = [(amount, unit) for amount, unit in zip(amounts, units, strict=True) if amount][:2] or [
        (0, units[-1])
    ]
    return "".join(f"{a}{u}" for a, u in found) if japanese else " ".join(f"{a} {u}" for a, u in found)


def size(size_bytes: int) -> str:
    """Decimal units: `12.4 GB`."""
    if size_bytes < _KILO:
        return f"{size_bytes} B"
    amount = float(size_bytes)
    unit = "B"
    for following in _SIZES:
        if amount < _KILO:
            break
        amount, unit = amount / _KILO, following
    return f"{amount:.0f} {unit}" if amount >= _TENS else f"{amount:.1f} {unit}"


def count(number: int) -> str:
    """Thousands apart, alike in both languages: `12,345`."""
    return f"{number:,}"


def yen(amount: int) -> str:
    """`¥1,200`; the sign is the same in both languages."""
    return f"¥{amount:,}"


def _coarse(span_ms: int, language: Language) -> str:
    japanese = language is Language.JA
    if span_ms >= _HOUR_MS:
        return f"{span_ms // _HOUR_MS}時間" if japanese else f"{span_ms // _HOUR_MS} h"
    if span_ms >= _MINUTE_MS:
        return f"{span_ms // _MINUTE_MS}分" if japanese else f"{span_ms // _MINUTE_MS} min"
    return f"{span_ms // _SECOND_MS}秒" if japanese else f"{span_ms // _SECOND_MS} s"


def _at(time_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time_ms // _SECOND_MS, JAPAN)
