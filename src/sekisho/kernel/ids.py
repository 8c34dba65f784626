"""Sortable ids: a prefix that names the kind, 48 bits of time, 80 bits of chance (ULID, lower case)."""

from __future__ import annotations

import re
import secrets

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PATTERN = re.compile(r"[a-z]{2,5}_[0-7][0-9a-hjkmnp-tv-z]{25}")
_TIME_BITS, _CHANCE_BITS = 48, 80


def new_id(prefix: str, now_ms: int) -> str:
    """`job_01kae7x2m4...`: 26 characters of Crockford base32 after the prefix; sorts by time."""
    number = (now_ms & ((1 << _TIME_BITS) - 1)) << _CHANCE_BITS | secrets.randbits(_CHANCE_BITS)
    digits = [_ALPHABET[(number >> shift) & 31] for shift in range(125, -5, -5)]
    return f"{prefix}_{''.join(digits)}"


def is_id(text: str, prefix: str = "") -> bool:
    """Whether `text` has the shape of an id, and of that kind when a prefix is given."""
    return _PATTERN.fullmatch(text) is not None and (not prefix or text.startswith(prefix + "_"))
